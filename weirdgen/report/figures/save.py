"""Figures as files: equal figures give equal bytes."""

from __future__ import annotations

import csv
import re
from io import BytesIO, StringIO
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from weirdgen.report.figures.layout import ReportFigure
from weirdgen.report.figures.lettering import wrapped
from weirdgen.report.figures.style import NOTE, TINY, plain_style
from weirdgen.report.table import MISSING, ReportTable
from weirdgen.text import escape_formula

_NUMBER = re.compile(r"[-+]?[0-9,]+(\.[0-9]+)?", re.ASCII)
_LINE = 1.25
"""A caption's line height, in font sizes."""


class Saved(NamedTuple):
    """A figure as files, drawn once for all of them."""

    files: dict[str, bytes]
    """NAME.png with its caption beneath, NAME.pdf without, NAME.csv, its numbers: a picture goes from
    hand to hand alone; a paper sets its own captions.
    """
    picture: bytes
    """The PNG without its caption, for pages that set it as text."""


def save(figure: ReportFigure) -> Saved:
    """The figure's files."""
    pdf = BytesIO()
    with plain_style():
        # Without these the time, and the version of matplotlib, would stand in the file.
        metadata = dict.fromkeys(("CreationDate", "Creator", "Producer"))
        figure.drawing.savefig(pdf, format="pdf", metadata=metadata)
        pixels = _pixels(figure.drawing)
        captioned = pixels
        if figure.caption:
            below = _pixels(
                _caption(figure.caption, figure.drawing.get_figwidth(), figure.drawing.dpi)
            )
            captioned = np.concatenate([pixels, below])
    files = {
        f"{figure.name}.png": _png(captioned, figure.drawing.dpi),
        f"{figure.name}.pdf": pdf.getvalue(),
        f"{figure.name}.csv": numbers_csv(figure.numbers).encode(),
    }
    return Saved(files, _png(pixels, figure.drawing.dpi))


def numbers_csv(numbers: ReportTable) -> str:
    """The table's columns and rows, sections after each other, without its note.

    Numbers are as programs read them, a missing one is an empty cell, and nothing is a formula.
    """
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(map(escape_formula, numbers.columns))
    writer.writerows(map(_csv_cell, row) for section in numbers.sections for row in section)
    return text.getvalue()


def _csv_cell(cell: str) -> str:
    if _NUMBER.fullmatch(cell):
        return cell.replace(",", "")
    return "" if cell == MISSING else escape_formula(cell)


def _png(pixels: np.ndarray, dpi: float) -> bytes:
    png = BytesIO()
    Image.fromarray(pixels).save(png, format="png", dpi=(dpi, dpi))
    return png.getvalue()


def _pixels(figure: Figure) -> np.ndarray:
    """Rows x columns x red, green, blue."""
    rgba = BytesIO()
    figure.savefig(rgba, format="rgba", dpi=figure.dpi)
    columns, rows = figure.canvas.get_width_height()
    return np.frombuffer(rgba.getvalue(), np.uint8).reshape(rows, columns, 4)[:, :, :3]


def _caption(caption: str, width: float, dpi: float) -> Figure:
    """A strip of text as wide as its figure, `width` inches."""
    lines = wrapped(caption, width - 0.2, TINY)
    strip = Figure(figsize=(width, (len(lines) * _LINE + 1) * TINY / 72), dpi=dpi)
    strip.text(
        0.08 / width, 1, "\n".join(lines), fontsize=TINY, color=NOTE, va="top", parse_math=False,
        linespacing=1.2,
    )  # fmt: skip
    return strip
