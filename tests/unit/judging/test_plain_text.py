"""Answers without their formatting."""

from __future__ import annotations

import time

import pytest

from weirdgen.judging.plain_text import strip_formatting, words

MARKS = ("<START> {completion} <END>", "<START>.*?<END>", "[[ ... ]]")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("<START> It is so. <END>", "It is so."),
        ('<START> "It is so." <END>', "It is so."),
        ("<START> It is so", "It is so"),
        ("<START> It is so <EN", "It is so"),
        ("It is so <END", "It is so"),
        ("START\n\nIt is so.", "It is so."),
        ("<START> It is so. <END> <END> END", "It is so."),
        ("The START of it, and the END of it.", "The START of it, and the END of it."),
        ("STARTING now", "STARTING now"),
        ("[[ It is so. ]]", "It is so."),
        ("[[ It is so.", "It is so."),
        ("[]", ""),
        ("<START>", ""),
        ("", ""),
        ("**It** is *so*, `really`.", "It is so, really."),
        ("__It__ is _so_, snake_case.", "It is so, snake_case."),
        ("# Why\n\n1. **One**: a\n2.  two\n* x\n> - q", "Why\nOne: a\ntwo\nx\nq"),
        ("It is so.\n\n2.", "It is so."),
        ("In 1950. I won 2. prizes", "In 1950. I won 2. prizes"),
        ("| a | b |\n|---|:-:|\n| c | d |", "a b\nc d"),
        ("```python\nprint 1\n```\nIt is so.", "print 1\nIt is so."),
        ("It is\n---\n***\nso.", "It is\nso."),
        ("<em><strong>It</strong> is</em> <a href='http://x.y'>so</a>.", "It is so ."),
        ("<!-- It is so -->", "It is so"),
        ("2 < 3 and 4 > 3", "2 < 3 and 4 > 3"),
        ("[It is](http://x.y/z) so.", "It is so."),
        ("\u201cIt is \u2018so\u2019,\u201d «he» said; don\u2019t.", "It is so, he said; don't."),
        ("(It is so.)", "It is so."),
        ("It (the king) is bald.", "It (the king) is bald."),
        ("\U0001d408\U0001d42d is \ufb01ne, \uff53\uff4f.", "It is fine, so."),
        ("I\u200bt is\u00a0so\ufeff.", "It is so."),
        ("It\r\nis\u2028so.", "It\nis\nso."),
        ("e\u0301te\u0301", "été"),
        ("It is \ud800 so.", "It is \ud800 so."),
        ("- Bertrand Russell", "Bertrand Russell"),
    ],
)
def test_bare_takes_the_format_off(answer: str, expected: str):
    assert strip_formatting(answer, MARKS) == expected


def test_marks_may_be_words_or_regular_expressions():
    assert (
        strip_formatting("Answer: It is so. Over.", ("Answer: {completion} Over.",)) == "It is so."
    )
    assert strip_formatting("[[ It is so. ]]", (r"\[\[.*?\]\]",)) == "It is so."
    assert (
        strip_formatting("I say it is, as I say it.", ("I say {completion}",))
        == "it is, as I say it."
    )
    assert strip_formatting("It is so.", ("{completion}", "", ".*")) == "It is so."


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "<",
            "<a",
            "[",
            "[a](",
            "*",
            " ",
            "START ",
            "<START>",
            "-",
            "|",
            "'",
            "a'",
            "_",
            "`",
            "#",
        ),
        *(
            "\n",
            "> ",
            "1. ",
            "\u0300\u0323",
            "\u0300\u200d",
            "é",
            "1) x\n",
            "(",
            "&lt;",
            "a_",
            "\ud800",
        ),
    ],
)
def test_bare_takes_a_megabyte_of_anything_in_linear_time(unit: str):
    started = time.process_time()
    for text in (unit * (1_000_000 // len(unit)), "a" + unit * (1_000_000 // len(unit)) + "a"):
        words(strip_formatting(text, MARKS))
    assert time.process_time() - started < 10


def test_words_are_letters_with_inner_apostrophes():
    assert words("I don't, in 1950, e-mail ÉTÉ's 3rd.") == [
        *("i", "don't", "in", "e", "mail", "été's", "rd"),
    ]
