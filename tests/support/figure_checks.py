"""Checks that a figure's texts lie inside it and do not overlap."""

from __future__ import annotations

from itertools import combinations

from matplotlib.text import Text

from weirdgen.report.figures.layout import ReportFigure


def check_texts(figure: ReportFigure) -> None:
    """Every text is inside the figure, and upright ones do not overlap."""
    width, height = figure.drawing.get_size_inches() * figure.drawing.dpi
    seen = []
    for text in _texts(figure):
        box = text.get_window_extent()
        words = f"{figure.name}: {text.get_text()!r}"
        assert min(box.x0, box.y0) >= -1, words
        assert max(box.x1 - width, box.y1 - height) <= 1, words
        if text.get_rotation() in (0, 90):
            seen.append((box.padded(-1.5), words))
    for (a, one), (b, other) in combinations(seen, 2):
        assert not a.overlaps(b), f"{one} and {other}"


def _texts(figure: ReportFigure) -> list[Text]:
    """All texts that are drawn: labels of ticks beyond an axis' ends are not."""
    found = list(figure.drawing.texts)
    for legend in figure.drawing.legends:
        found += legend.get_texts()
    for panel in figure.drawing.axes:
        found += [panel.title, panel.xaxis.label, panel.yaxis.label, *panel.texts]
        for axis in (panel.xaxis, panel.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in axis.get_major_ticks():
                if low - 1e-9 <= tick.get_loc() <= high + 1e-9 and tick.label1.get_visible():
                    found.append(tick.label1)
    return [text for text in found if text.get_text()]
