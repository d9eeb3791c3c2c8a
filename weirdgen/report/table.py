"""A table of cells as plain text, written as Markdown, which rich shows in a terminal.

Names of studies and models are somebody else's text: it is escaped, and holds no control characters.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from rich.markdown import Markdown

from weirdgen.text import round_unsigned, single_line

MISSING = "-"
"""The cell of a number that is not there."""

_INLINE = re.compile(
    r"""
      [\\`*~|$\#@]
    | (?<![^\W_])_ | _(?![^\W_])          # inside a word it is no emphasis
    | <(?=[A-Za-z/!?])                    # a tag, a comment, an address
    | &(?=[\#A-Za-z])                     # an entity
    | \](?=[(\[:])                        # a link, an image, a definition
    | \[(?=\^ | [ xX]\])                  # a footnote, a task
    | (?<=http):(?=//) | (?<=https):(?=//) | (?<=ftp):(?=//) | (?<=mailto): | (?<=xmpp):
    | (?<=www)\.                          # addresses that need no brackets
    """,
    re.VERBOSE | re.IGNORECASE,
)
_BLOCK = re.compile(r"^(\d*)(>|[-+=](?=[ =-]|$)|(?<=\d)[.)](?= |$))")
"""What begins a quotation, a list, a rule or the underline of a heading."""


@dataclass(frozen=True)
class ReportTable:
    """One table, ready to be read."""

    title: str
    columns: tuple[str, ...]
    sections: tuple[tuple[tuple[str, ...], ...], ...]
    """Rows of cells, in groups that are set apart."""
    note: str
    n_labels: int = 1
    """How many columns, from the left, name the row; the others hold numbers."""

    def rich(self) -> Markdown:
        """The table for a terminal."""
        return Markdown(self.markdown())

    def markdown(self) -> str:
        """The table as a Markdown heading, table and note."""
        rule = ["---" if i < self.n_labels else "---:" for i in range(len(self.columns))]
        rows = [row for rows in self.sections for row in rows]
        lines = [_markdown_row(self.columns), f"| {' | '.join(rule)} |", *map(_markdown_row, rows)]
        body = "\n".join(lines)
        return f"## {escape_markdown(self.title)}\n\n{body}\n\n{escape_markdown(self.note)}\n"


def number(value: float | None, decimals: int = 1, signed: bool = False) -> str:
    """`value` as a cell, `MISSING` for None and NaN, and never -0."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{round_unsigned(value, decimals):{'+' if signed else ''}.{decimals}f}"


def limits(low: float | None, high: float | None, decimals: int = 1, signed: bool = False) -> str:
    """Such as `[+0.100, +0.300]`; `MISSING` without one of the two."""
    if low is None or high is None:
        return MISSING
    return f"[{number(low, decimals, signed)}, {number(high, decimals, signed)}]"


def escape_markdown(text: str) -> str:
    """`text` on one line, without meaning to CommonMark, GitHub's Markdown or HTML.

    Rendered it is `single_line(text)` without the blanks around it. Only what would mean something
    there is escaped, so that the source stays readable: `gap_improvement` and `[0.1, 0.2]` do not.
    """
    return _BLOCK.sub(r"\g<1>\\\g<2>", _INLINE.sub(r"\\\g<0>", single_line(text).strip()))


def _markdown_row(cells: tuple[str, ...]) -> str:
    shown = (cell if cell == MISSING else escape_markdown(cell) for cell in cells)
    return f"| {' | '.join(shown)} |"
