"""The tables for a paper: LaTeX with booktabs, a document that compiles as it is.

Names are somebody else's text: every character of it that means something to TeX is escaped, and one
that pdfTeX's common fonts lack, or that nobody would see, is written as its code point.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import TYPE_CHECKING, NamedTuple

from weirdgen.report.all_tables import ReportTables
from weirdgen.report.main_table import BASELINE, FINE_TUNED
from weirdgen.report.rendering import environment
from weirdgen.report.table import ReportTable
from weirdgen.text import single_line

if TYPE_CHECKING:
    from pylatexenc.latexencode import UnicodeToLatexEncoder

_NOT_IN_FONTS = re.compile(
    r"[^ -~\u00a1-\u00ac\u00ae-\u0148\u014a-\u017f\u0391-\u03a1\u03a3-\u03a9\u03b1-\u03c9"
    r"\u2013-\u2015\u2018-\u201a\u201c-\u201e\u2020-\u2022\u2026\u2212\u2264\u2265]"
)
"""Everything but what T1 and the kernel's own symbols can show."""
_LIGATURE = re.compile(r"([-<>,'])(?=\1)")
"""What TeX would join to another character."""
_WITH_INTERVAL = re.compile(r"(\S+) (\[.+\])")
_NUMBERS = re.compile(r"[-+0-9.,\[\] ]*[0-9][-+0-9.,\[\] ]*")
_MOST_ROWS = 20
"""Rows of one table; a page holds no more."""
_WIDE = 40
"""Characters from which a column that names rows is set as paragraphs."""


def latex_tables(tables: ReportTables) -> str:
    """The main table, and the claims or, without claims, the estimates, as a document."""
    named = {"published": tables.main, "claims": tables.others[-1]}
    return latex_document({name: table for name, table in named.items() if table is not None})


def latex_document(named: Mapping[str, ReportTable]) -> str:
    """A document with each table as one, or as several; the name of a table begins its labels."""
    made = environment(
        block_start_string=r"\BLOCK{",
        block_end_string="}",
        variable_start_string=r"\VAR{",
        variable_end_string="}",
        comment_start_string=r"\NOTE{",
        comment_end_string="}",
        lstrip_blocks=False,
        finalize=lambda value: escape_latex(str(value)),
    )
    tables = [table for name, whole in named.items() for table in _tables(whole, name)]
    return made.get_template("table.tex.j2").render(tables=tables)


def escape_latex(text: str) -> str:
    """`text` on one line, without meaning to TeX; what its fonts lack as `U+4E2D`."""
    return _LIGATURE.sub(r"\1{}", _encoder().unicode_to_latex(single_line(text)))


@cache
def _encoder() -> UnicodeToLatexEncoder:
    from pylatexenc.latexencode import (
        RULE_CALLABLE,
        RULE_DICT,
        UnicodeToLatexConversionRule,
        UnicodeToLatexEncoder,
    )

    def missing(text: str, at: int) -> tuple[int, str] | None:
        return (1, _code_point(text[at])) if _NOT_IN_FONTS.match(text, at) else None

    quotes = {ord('"'): r"\textquotedbl", ord("'"): "'"}
    return UnicodeToLatexEncoder(
        conversion_rules=[
            UnicodeToLatexConversionRule(RULE_CALLABLE, missing),
            UnicodeToLatexConversionRule(RULE_DICT, quotes),
            "defaults",
        ],
        replacement_latex_protection="braces",
        unknown_char_policy=_code_point,
        unknown_char_warning=False,
    )


class _Row(NamedTuple):
    cells: tuple[str, ...]
    below: tuple[str, ...]
    """The cells' intervals, in small print on a line of their own; empty for none."""


def _code_point(char: str) -> str:
    return rf"{{\ttfamily U+{ord(char):04X}}}"


@dataclass(frozen=True)
class _Table:
    """A table, or a part of one, as the template sets it."""

    title: str
    label: str
    columns: str
    """`l`, `r`, or `p` for each."""
    spans: list[tuple[str, int, int]]
    """What stands over the first to the last of several columns, counted from 1; empty for nothing."""
    heads: list[str]
    sections: list[list[_Row]]
    note: str


def _tables(table: ReportTable, name: str) -> Iterator[_Table]:
    """One table, or several where a page could not hold its rows."""
    rows = [(i, row) for i, section in enumerate(table.sections) for row in section]
    parts = [rows[i : i + _MOST_ROWS] for i in range(0, len(rows), _MOST_ROWS)] or [[]]
    first = "p" if any(len(row[0]) > _WIDE for _, row in rows) else "l"
    columns = (first + "l" * (table.n_labels - 1)).ljust(len(table.columns), "r")
    spans, heads = _heads(table.columns)
    for n, part in enumerate(parts, start=1):
        of = f" ({n} of {len(parts)})" if len(parts) > 1 else ""
        sections = [[_row(row) for _, row in rows] for _, rows in groupby(part, lambda of: of[0])]
        note = table.note if n == len(parts) else ""
        yield _Table(table.title + of, f"{name}-{n}", columns, spans, heads, sections, note)


def _row(cells: tuple[str, ...]) -> _Row:
    cells = tuple(c.replace("-", "\u2212") if _NUMBERS.fullmatch(c) else c for c in cells)
    found = [_WITH_INTERVAL.fullmatch(cell) for cell in cells]
    if not any(found):
        return _Row(cells, ())
    values = (match[1] if match else cell for match, cell in zip(found, cells, strict=True))
    return _Row(tuple(values), tuple(match[2] if match else "" for match in found))


def _heads(columns: Sequence[str]) -> tuple[list[tuple[str, int, int]], list[str]]:
    """What stands over several columns, and each column's own head."""
    models = [
        next((m for m in (BASELINE, FINE_TUNED) if column.startswith(f"{m} ")), "")
        for column in columns
    ]
    heads = [
        column.removeprefix(f"{model} ") for model, column in zip(models, columns, strict=True)
    ]
    numbered = groupby(enumerate(models, start=1), lambda at: at[1])
    spans = [(model, [i for i, _ in of]) for model, of in numbered]
    return [(model, of[0], of[-1]) for model, of in spans] if any(models) else [], heads
