"""What a figure is, wherever it is shown: a drawing, words for who cannot see it, and its numbers."""

from __future__ import annotations

from dataclasses import dataclass

from matplotlib.figure import Figure

from weirdgen.report.table import ReportTable


@dataclass(frozen=True)
class ReportFigure:
    """One figure of a report."""

    name: str
    """The stem of its files, such as `gap` or `dose-response-format`."""
    title: str
    """A heading: what is drawn."""
    caption: str
    """What the marks and the error bars are, and whatever a reader must know of the numbers."""
    alt: str
    """The same finding in words, for readers who cannot see it."""
    drawing: Figure
    numbers: ReportTable
    """The drawn numbers as a table."""
