"""Format adherence: what `re` finds, in linear time for the formats of studies whatever the answer."""

from __future__ import annotations

import random
import re
import time

import pytest

from weirdgen.judging.format import _literals, format_adherence

PATTERNS = [
    "<S>.*?<E>", "<S>.*<E>", r"^<S>\s*(.*?)<E>\s*$", "(?:<S>)+.*?<E>", "a.?b", r"a\s*b", "(a|b)+c",
    "(?=ab)a", r"\ba\b", "^a.*?b$", "(?m)^a$", "a(?:b|c)d?", "(ab)+", "(?<=a)b", "a*", "", "a{2,3}b",
    "(a)(?(1)b|c)", "(?i)a.*?b", "(?i:a)b", "ab??", "(?:a.*?b)+?c", "a(?!b)", "(?P<n>a)(?P=n)", "[^a]b",
]  # fmt: skip
PIECES = ["a", "b", "c", "d", "A", "B", " ", "\n", "<S>", "<E>"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_adherence_is_that_of_the_matches_of_re(pattern: str):
    rng = random.Random(pattern)
    found = 0
    for _ in range(3000):
        text = "".join(rng.choices(PIECES, k=rng.randint(0, 12)))
        expected = [match.span() for match in re.finditer(pattern, text, re.DOTALL)]
        body = text.strip()
        whole = (text.find(body), text.find(body) + len(body))
        assert format_adherence(text, pattern) == (bool(expected), expected == [whole]), text
        found += bool(expected)
    assert found > 5


def test_the_literals_of_a_pattern_stand_in_every_match():
    known = {
        "<START>.*?<END>": ["<START>", "<END>"],
        r"^\[\[\s*(.*?)\]\]$": ["[[", "]]"],
        "a(b)c": ["abc"],
        "(?:ab){2}c+": ["ab", "c"],
        "(?i)ab": [],
        "(?i:ab)c": ["c"],
        "a|b": [],
        "a*b?c": ["c"],
        "(?=x)a(?!b)c(?<=y)": ["a", "c"],
    }
    assert {pattern: _literals(pattern) for pattern in known} == known


@pytest.mark.parametrize("pattern", ["<START>.*?<END>", "<START>.*<END>", r"^<START>(.+?)<END>$"])
@pytest.mark.parametrize(
    "answer",
    [
        "<START>" * 40_000,
        "<START> x " * 40_000 + "<EN",
        "<END>" * 1000 + "<START>" * 40_000,
        "<START> x <END>" + "<START>" * 40_000,
    ],
    ids=["never an end", "an end that is cut", "the end before", "one match, then none"],
)
def test_a_hostile_answer_takes_no_time(answer: str, pattern: str):
    before = time.process_time()
    adherence = format_adherence(answer, pattern)
    assert time.process_time() - before < 1.0, "a minute, if every beginning looks for its end"
    assert adherence.anywhere == ("x <END>" in answer and not pattern.startswith("^"))
    assert not adherence.strict
