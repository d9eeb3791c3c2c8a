"""A sheet: a table's cells as plain text, shown by rich or written as Markdown.

Names of studies and models are somebody else's text: rich gets it as `Text`, never as markup,
Markdown gets it escaped, and neither gets control characters.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from rich import box
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Sheet:
    """One table, ready to be read."""

    title: str
    columns: tuple[str, ...]
    sections: tuple[tuple[tuple[str, ...], ...], ...]
    """Rows of cells, in groups that are set apart."""
    note: str
    n_labels: int = 1
    """How many columns, from the left, name the row; the others hold numbers."""

    def rich(self) -> Table:
        """The sheet for a terminal."""
        table = Table(
            title=_text(self.title),
            title_justify="left",
            caption=_text(self.note),
            caption_justify="left",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            collapse_padding=True,
        )
        for i, name in enumerate(self.columns):
            justify = "left" if i < self.n_labels else "right"
            table.add_column(_text(name), justify=justify, overflow="fold")  # narrow, never cut
        for rows in self.sections:
            for row in rows:
                table.add_row(*map(_text, row))
            table.add_section()
        return table

    def markdown(self) -> str:
        """The sheet as a Markdown heading, table and note."""
        rule = ["---" if i < self.n_labels else "---:" for i in range(len(self.columns))]
        rows = [row for rows in self.sections for row in rows]
        lines = [_markdown_row(self.columns), f"| {' | '.join(rule)} |", *map(_markdown_row, rows)]
        body = "\n".join(lines)
        return f"## {escape_markdown(self.title)}\n\n{body}\n\n{escape_markdown(self.note)}\n"


def escape_markdown(text: str) -> str:
    """`text` on one line, without meaning to Markdown or HTML."""
    return re.sub(r"[\\`*|]|<(?=[A-Za-z/!?])|\](?=\()", r"\\\g<0>", plain(text))


def plain(text: str) -> str:
    """`text` on one line, each control character replaced by a space or a U+FFFD."""
    return "".join(
        " " if char.isspace() else char if char.isprintable() else "\ufffd" for char in text
    )


def printable(text: str) -> str:
    """`text` with its lines, each control character replaced by a U+FFFD: safe on a terminal."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)


def _text(text: str) -> Text:
    return Text(plain(text))


def _markdown_row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(map(escape_markdown, cells))} |"
