"""A figure and its frame: title, subtitle and legend above panels, and axes that never touch or overlap."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from weirdgen.report.figures.lettering import legible, text_width, wrapped
from weirdgen.report.figures.style import GRID, NOTE, SMALL
from weirdgen.report.table import ReportTable

Along = Literal["x", "y"]
Limits = tuple[float, float]

_MARGIN = 0.08
"""Inches that stay free at the edges."""


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


_LEGEND = 0.9
"""The share of a figure's width that a legend may take: on a coarse screen its letters are wider."""


class Panel(Axes):
    """One panel of a figure."""

    def dress(self, title: str = "", inches: float = 3.0, along: Along = "y") -> None:
        """Set grid, spines and wrapped title; `inches`: its width; `along`: the axis of values."""
        self.grid(axis=along, color=GRID, linewidth=0.6)
        self.set_axisbelow(True)
        self.spines[["top", "right"]].set_visible(False)
        if title:
            self.set_title("\n".join(wrapped(title, inches, 9.5, 3)), parse_math=False)

    def categories(self, labels: Sequence[str], inches: float) -> None:
        """Put names at 0, 1, ...: in two lines, or slanted, where they would touch on `inches`."""
        room = inches / len(labels)
        labels = [legible(label) for label in labels]
        if _touch(labels, room):
            broken = ["\n".join(wrapped(label, 0.9 * room, SMALL, 2)) for label in labels]
            whole = all(new.split() == old.split() for new, old in zip(broken, labels, strict=True))
            labels = broken if whole else labels
        self.set_xticks(range(len(labels)), labels)
        self.set_xlim(-0.55, len(labels) - 0.4)
        for label in self.get_xticklabels():
            label.set_parse_math(False)
        if _touch(labels, room):
            self.tick_params(axis="x", rotation=40)
            for label in self.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")

    def name_axis(self, axis: Along, text: str, inches: float) -> None:
        """Label an axis, wrapped to its length."""
        self.set(**{f"{axis}label": "\n".join(wrapped(text, inches, 9, 3))})
        getattr(self, f"{axis}axis").label.set_parse_math(False)

    def say_empty(self, words: str = "no complete responses yet") -> None:
        """Say in an empty panel why it is empty."""
        self.text(0.5, 0.5, words, transform=self.transAxes, ha="center", va="center", fontsize=SMALL,
                  color=NOTE)  # fmt: skip

    def interval(
        self, at: float, middle: float, limits: Limits | None, across: bool = False, **style: Any
    ) -> None:
        """Draw an interval through `middle`, upright or `across`; nothing without limits."""
        if limits is None:
            return
        # A middle that lies outside by rounding alone must not turn a length negative.
        reach = np.array([[max(middle - limits[0], 0.0)], [max(limits[1] - middle, 0.0)]])
        x, y = ([middle], [at]) if across else ([at], [middle])
        self.errorbar(x, y, **{"xerr" if across else "yerr": reach}, linestyle="none", **style)


def _touch(labels: Sequence[str], room: float) -> bool:
    """Whether neighbours, `room` inches apart, leave less than a blank between them."""
    widths = [max(text_width(line, SMALL) for line in label.split("\n")) for label in labels]
    return any((a + b) / 2 > 0.92 * room for a, b in pairwise(widths))


def mark(label: str, **style: Any) -> Line2D:
    """An entry of a legend."""
    return Line2D([], [], label=label, **style)


def panel_grid(
    n: int, least: float, width: float, height: float, **more: Any
) -> tuple[Figure, list[Panel], list[Panel], float]:
    """A figure of n panels, each `width` x `height` inches, and at least `least` inches wide in all.

    Gives the figure, its panels, those at its left edge, and the inches of one with its axis.
    """
    rows, columns = grid_shape(n)
    width = max(least, width * columns)
    figure, axes = panels(rows, columns, width, height * rows, **more)
    for panel in axes.flat[n:]:
        panel.remove()
    return figure, [*axes.flat[:n]], [*axes[:, 0]], width / columns


def finished(
    drawing: Figure,
    name: str,
    title: str,
    subtitle: str,
    handles: Sequence[Artist],
    caption: str,
    alt: str,
    columns: tuple[str, ...],
    sections: Iterable[Iterable[tuple[str, ...]]],
    note: str,
    n_labels: int,
) -> ReportFigure:
    """`drawing` under its title, subtitle and legend, with its caption, words and numbers."""
    head(drawing, title, subtitle, handles)
    numbers = ReportTable(title, columns, tuple(map(tuple, sections)), note, n_labels)
    return ReportFigure(name, title, caption, f"{title}. {alt}", drawing, numbers)


def panels(
    rows: int, columns: int, width: float, height: float, **more: Any
) -> tuple[Figure, np.ndarray]:
    """A figure of rows x columns panels, `width` and `height` inches in all, and the panels."""
    figure = Figure(figsize=(width, height), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    kind = {"axes_class": Panel}
    return figure, figure.subplots(rows, columns, squeeze=False, subplot_kw=kind, **more)


def metric_panels(
    metrics: Sequence[str], conditions: Sequence[str], height: float, inches: float, **more: Any
) -> tuple[Figure, np.ndarray, list[tuple[str, str, Panel]]]:
    """A row of panels for each metric, a panel for each condition, with the same values upright.

    `height`: of a row; `inches`: of a panel's axis. Gives the figure, its panels, and each with its metric
    and condition.
    """
    width = max(5.0, 2.9 * len(conditions))
    shape = len(metrics), len(conditions)
    figure, axes = panels(*shape, width, height * len(metrics) + 0.3, sharey=True, **more)
    places = [(m, c, axes[i, j]) for i, m in enumerate(metrics) for j, c in enumerate(conditions)]
    for metric, condition, panel in places:
        panel.dress(f"{metric}, {condition}", inches)
    return figure, axes, places


def head(figure: Figure, title: str, subtitle: str, handles: Sequence[Artist] = ()) -> None:
    """Puts title, subtitle and legend above the panels, which keep their size: the figure grows."""
    width, height = figure.get_figwidth(), figure.get_figheight()
    inner = width - 2 * _MARGIN
    texts = (
        (wrapped(title, inner, 11, 2), 11, "black"),
        (wrapped(subtitle, inner, SMALL, 3), SMALL, NOTE),
    )
    down = _MARGIN
    for lines, size, color in texts:
        figure.text(0, 1, "\n".join(lines), fontsize=size, color=color, va="top", parse_math=False,
                    transform=_below_top(figure, down), linespacing=1.2).set_in_layout(False)  # fmt: skip
        down += len(lines) * size * 1.3 / 72
    if handles:
        down += 0.05
        down += _legend(figure, handles, down, inner)
    down += 0.05
    figure.set_size_inches(width, height + down)
    engine: Any = figure.get_layout_engine()
    engine.set(rect=(0, 0, 1, height / (height + down)))


def _below_top(figure: Figure, down: float) -> Any:
    """Figure coordinates, moved in by the margin and `down` inches below the top."""
    return figure.transFigure + ScaledTranslation(_MARGIN, -down, figure.dpi_scale_trans)


def _legend(figure: Figure, handles: Sequence[Artist], down: float, inner: float) -> float:
    """The legend in as many columns as fit; gives its height in inches."""
    for columns in range(len(handles), 0, -1):
        legend = figure.legend(
            handles=handles, ncols=columns, loc="upper left", bbox_to_anchor=(0, 1),
            bbox_transform=_below_top(figure, down), borderaxespad=0, borderpad=0.2, frameon=False,
            columnspacing=1.4, handletextpad=0.6,
        )  # fmt: skip
        legend.set_in_layout(False)
        for text in legend.get_texts():
            text.set_parse_math(False)
        extent = legend.get_window_extent()
        if extent.width / figure.dpi <= _LEGEND * inner or columns == 1:
            return extent.height / figure.dpi
        legend.remove()
    return 0.0


def grid_shape(n: int) -> tuple[int, int]:
    """Rows and columns for n panels: at most three beside each other, and no lonely last one of four."""
    columns = 2 if n == 4 else min(n, 3)
    return math.ceil(n / columns), columns


def spread_out(n: int, half: float) -> np.ndarray:
    """n places from -half to half; 0 for one."""
    return np.linspace(-half, half, n) if n > 1 else np.zeros(1)
