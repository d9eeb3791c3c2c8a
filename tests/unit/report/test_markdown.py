"""What a report writes as Markdown: whoever named something, it is shown as it is and does nothing."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from html import unescape
from io import StringIO

import pyarrow as pa
import pytest
from hostile import HOSTILE
from markdown_it import MarkdownIt
from rich.console import Console
from rich.markdown import Markdown
from tiny_results import report_data, results, study, summary

from weirdgen.report.claims import verdict_lines
from weirdgen.report.data import ReportData
from weirdgen.report.summary import _shortened
from weirdgen.report.table import ReportTable, escape_markdown
from weirdgen.results.table import SCHEMA
from weirdgen.text import printable, single_line

MORE = {
    "numbered": "1. one",
    "numbered in parentheses": "12) twelve",
    "bullet": "- one",
    "empty bullet": "-",
    "plus": "+ one",
    "rule": "---",
    "underline of a heading": "===",
    "quotation": "> one",
    "code by indentation": "     code",
    "underscores": "_a_ __b__ snake_case_name _c d_e_ f__g",
    "task": "[ ] open [x] done",
    "definition": "[x]: https://example.invalid",
    "image by reference": "![a][b] [a][] [a]",
    "bare addresses": "see HTTPS://example.invalid, http://a.b www.example.invalid ftp://x/y mailto:a@b.c",
    "mentions": "@someone and #12 by some@body.invalid",
    "mathematics": "$x^2$ $$y$$ $`z`$",
    "entities": "&lt;b&gt; &#60;b&#62; &#x3c; &copy; &notanentity; AT&T",
    "backslashes": "a\\* b\\\\ c\\",
    "closing hashes": "title ##",
    "pipes": "a | b \\| c || d",
    "two spaces": "a  ",
}
TEXTS = HOSTILE | MORE
GFM = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
CALM = {
    "heading_open", "heading_close", "paragraph_open", "paragraph_close", "inline", "text",
    "bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close", "table_open",
    "table_close", "thead_open", "thead_close", "tbody_open", "tbody_close", "tr_open", "tr_close",
    "th_open", "th_close", "td_open", "td_close", "text_special",
}  # fmt: skip
"""The tokens of which a summary is made: no emphasis, link, image, code, HTML or rule."""


def kinds(markdown: str) -> set[str]:
    tokens = GFM.parse(markdown)
    return {each.type for each in tokens} | {c.type for each in tokens for c in each.children or ()}


def texts(markdown: str) -> list[str]:
    """The text of every heading, paragraph and cell, as it is rendered."""
    return [
        "".join(child.content for child in token.children or ())
        for token in GFM.parse(markdown)
        if token.type == "inline"
    ]


@pytest.mark.parametrize("name", TEXTS)
def test_a_text_is_shown_as_it_is_wherever_it_stands(name: str):
    text = TEXTS[name]
    escaped, shown = escape_markdown(text), single_line(text).strip()
    assert "\n" not in escaped
    rendered = GFM.render(escaped)
    paragraph = re.fullmatch(r"(?:<p>(.*)</p>\n)?", rendered, re.DOTALL)
    assert paragraph is not None, rendered
    assert "<" not in (paragraph[1] or "")
    assert unescape(paragraph[1] or "") == shown
    inside = f"## {escaped}\n\n- {escaped}\n- x: {escaped}\n\n| a | b |\n| --- | --- |\n| {escaped} | {escaped} |\n"
    assert kinds(inside) <= CALM
    told = [each.strip() for each in texts(inside)]
    assert told == [shown, *[shown] * bool(shown), f"x: {shown}".strip(), "a", "b", shown, shown]


@pytest.mark.parametrize("name", TEXTS)
def test_nothing_becomes_an_address_on_a_site_that_links_bare_ones(name: str):
    # GitHub's extension looks for these in the source; an escaped colon or dot ends its search.
    escaped = escape_markdown(TEXTS[name])
    assert not re.search(r"(https?|ftp)://|www\.|mailto:|xmpp:", escaped, re.IGNORECASE)
    assert not re.search(r"(?<!\\)(\\\\)*[@#$]", escaped)


def test_what_means_nothing_stays_readable():
    for text in (
        "gap_improvement >= 0.00",
        "[+0.100, -0.300]",
        "a - b",
        "p < 0.05",
        "3 of 4.",
        "+0.5",
    ):
        assert escape_markdown(text) == text


@pytest.mark.parametrize("name", TEXTS)
def test_nothing_reaches_a_terminal_as_a_control(name: str):
    for text in (single_line(TEXTS[name]), printable(TEXTS[name])):
        assert all(char.isprintable() or char in "\n\t" for char in text)
        # C0 and C1 controls, DEL, zero widths, tags, and everything that turns the direction.
        assert not re.search(
            "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
            "\ud800-\udfff\U000e0000-\U000e007f]",
            text,
        )


@cache
def found() -> ReportData:
    return report_data(results(), study())


def hostile_data(text: str) -> ReportData:
    shown = found()
    rows = [row | {"study": text, "model": text} for row in shown.results.to_pylist()]
    return replace(
        shown,
        name=text,
        results=pa.Table.from_pylist(rows, SCHEMA),
        notes={"format": text},
        cautions=[text],
        lines=[text],
        methods=text,
        progress=text,
    )


NAMES = [name for name, text in TEXTS.items() if len(text) < 1000 and text.strip()]


@pytest.mark.parametrize("name", NAMES)
def test_a_whole_summary_holds_headings_lists_and_tables_alone(name: str):
    shown, text = hostile_data(TEXTS[name]), single_line(TEXTS[name]).strip()
    table = ReportTable(text, (text, "b"), (((text, text),),), text)
    markdown = f"{summary(shown)}\n{table.markdown()}"
    assert kinds(markdown) <= CALM
    told = texts(markdown)
    assert told[0] == told[1] == text, "the title, and how far it is"
    assert told.count(text) >= 8


def test_a_terminal_gets_no_links_and_no_codes_but_richs_own():
    console = Console(file=StringIO(), width=200, force_terminal=True, color_system="standard")
    for name in NAMES:
        console.print(Markdown(escape_markdown(TEXTS[name])))
        console.print(
            ReportTable(TEXTS[name], (TEXTS[name],), (((TEXTS[name],),),), TEXTS[name]).rich()
        )
    assert isinstance(console.file, StringIO)
    printed = re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue())
    assert not set(printed) & set(map(chr, [*range(10), *range(11, 32), *range(0x7F, 0xA0)]))
    assert "[link=https://example.invalid]y[/link]" in printed


def test_the_verdicts_come_first_then_the_published_form_and_last_the_methods():
    shown = replace(
        found(), cautions=["Mind this."], methods="It was made.",
        progress="in progress: 1 of 2 training runs", lines=["training 3 failed"],
    )  # fmt: skip
    markdown = summary(shown)
    lines = markdown.splitlines()
    assert lines[:3] == ["# tiny", "", "in progress: 1 of 2 training runs"]
    heads = [line for line in lines if line.startswith("## ")]
    assert heads == [
        "## Verdicts",
        "## tiny: baseline and fine-tuned",
        "## tiny: format of org/tiny",
        "## tiny: length of the responses",
        "## tiny: sources of variance",
        "## tiny: claims",
        "## What to bear in mind",
        "## Methods",
        "## Notes",
    ]
    for verdict in verdict_lines(shown.analysis.verdicts):
        assert f"- {escape_markdown(verdict)}" in lines
    assert lines[-1] == "- training 3 failed"
    assert "\n\n\n" not in markdown
    assert "95% interval" in lines[lines.index("## Verdicts") + 2]
    alone = summary(report_data(results(), study([])))
    assert "## Verdicts" not in alone
    assert "## tiny: estimates" in alone


def test_equal_findings_give_equal_text():
    table = results()
    reverse = table.take(list(range(table.num_rows))[::-1])
    assert summary(found()) == summary(report_data(reverse, study()))


def test_a_long_table_is_printed_without_its_middle():
    rows = [f"| {i} |\n" for i in range(500)]
    before, after = "# Long\n\n| n |\n| --- |\n", "\nThe end.\n"
    short = _shortened("".join([before, *rows[:60], after]), "there")
    assert short == "".join([before, *rows[:60], after]), "as it is"
    short = _shortened("".join([before, *rows, after]), "there/summary.md")
    head, tail = short.split("\n422 rows between these are in there/summary.md\n\n")
    assert head == "".join([before, *rows[:38]])
    assert tail == "".join(["| n |\n| --- |\n", *rows[-40:], after])
