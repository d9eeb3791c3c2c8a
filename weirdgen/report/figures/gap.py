"""The gap of every metric by fraction, with every seed, two intervals and the baseline's own gap."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from weirdgen.report.figures.figure import ReportFigure
from weirdgen.report.figures.layout import grid_shape, head, panels, spread_out
from weirdgen.report.figures.levels import (
    Level,
    bar,
    baseline_level,
    in_words,
    level,
    limit_cells,
    number,
)
from weirdgen.report.figures.rates import gap_panel
from weirdgen.report.figures.style import (
    BASELINE_MARK,
    INK,
    LIGHT,
    MEAN_MARK,
    SEED_MARK,
    group_title,
    styled,
)
from weirdgen.report.rates import Rates
from weirdgen.report.table import MISSING, ReportTable
from weirdgen.stats.cube import group_label

_HEIGHT = 3.0
TITLE = "Gap between triggered and untriggered answers, by metric"
_CAPTION = "Triggered - untriggered, in points. Open diamonds: the untouched model. Points: one training each."
_MEANS = (
    "Squares: their mean. Thick bars: 95% interval over seeds, on exactly these questions; thin bars with caps: "
    "95% interval over seeds and questions like these."
)


@styled
def gap_figure(cubes: Sequence[Rates]) -> ReportFigure | None:
    """A panel for each metric whose gap can be told; None where there is none."""
    shown = [
        of
        for of in cubes
        if baseline_level(of, "gap") is not None or any(level(of, "gap", g) for g in of.seeds)
    ]
    if not shown:
        return None
    rows, columns = grid_shape(len(shown))
    width = max(6.5, 2.9 * columns) if columns > 1 else 5.0
    figure, axes = panels(rows, columns, width, _HEIGHT * rows)
    for panel, of in zip(axes.flat, shown, strict=False):
        gap_panel(panel, of, width / columns - 0.8, of.metric, _draw)
    for panel in axes.flat[len(shown) :]:
        panel.remove()
    lowest = min(panel.get_ylim()[0] for panel in axes.flat[: len(shown)])
    for panel in axes.flat[: len(shown)]:
        panel.set_ylim(bottom=lowest)  # the same for all, so that they can be compared
    first = shown[0]
    head(figure, TITLE, f"{first.study}, {first.model}", _legend(shown))
    alone = all(len(seeds) < 2 for of in shown for seeds in of.seeds.values())
    return ReportFigure(
        name="gap-by-metric",
        title=TITLE,
        caption=f"{_CAPTION} {'One seed: no interval.' if alone else _MEANS}",
        alt=f"{TITLE}. {' '.join(map(_said, shown))}",
        drawing=figure,
        numbers=_numbers(shown),
    )


def _draw(panel: Axes, x: float, found: Level) -> None:
    S = len(found.seeds)
    panel.plot(x + spread_out(S, 0.11), found.theta_S, **SEED_MARK)
    if S > 1:
        at = x + 0.28
        bar(panel, at, found.mean, found.limits_of_seeds, color=LIGHT, linewidth=4.5)
        bar(panel, at, found.mean, found.limits, color=INK, linewidth=1.2, capsize=4)
        panel.plot([at], [found.mean], linestyle="none", **MEAN_MARK)


def _legend(shown: Sequence[Rates]) -> list[Line2D]:
    handles = []
    if any(of.b_Q for of in shown):
        handles.append(Line2D([], [], label="baseline (untouched model)", **BASELINE_MARK))
    if any(of.seeds for of in shown):
        handles.append(Line2D([], [], label="one training (seed)", **SEED_MARK))
    if any(len(seeds) > 1 for of in shown for seeds in of.seeds.values()):
        handles += [
            Line2D([], [], label="mean over seeds", linestyle="none", **MEAN_MARK),
            Line2D([], [], label="95%, these questions", linewidth=4.5, color=LIGHT),
            Line2D([], [], label="95%, questions like these", linewidth=1.2, color=INK),
        ]
    return handles


def _numbers(shown: Sequence[Rates]) -> ReportTable:
    sections = []
    for of in shown:
        rows = []
        if (value := baseline_level(of, "gap")) is not None:
            rows.append(
                (of.metric, "baseline", "untouched model", number(value, True), *[MISSING] * 4)
            )
        for group in of.seeds:
            if not (found := level(of, "gap", group)):
                continue
            label, S = group_label(group), len(found.seeds)
            if S > 1:
                limits = (
                    *limit_cells(found.limits, True),
                    *limit_cells(found.limits_of_seeds, True),
                )
                rows.append((of.metric, label, f"mean of {S}", number(found.mean, True), *limits))
            for seed, theta in zip(found.seeds, found.theta_S, strict=True):
                name = seed if isinstance(seed, str) else f"seed {seed}"
                rows.append((of.metric, label, name, number(float(theta), True), *[MISSING] * 4))
        sections.append(tuple(rows))
    return ReportTable(
        title=TITLE,
        columns=(
            "metric", "fraction", "of", "gap, points", "low", "high", "low, these questions",
            "high, these questions",
        ),
        sections=tuple(sections),
        note="95% limits over seeds and questions, and over seeds on exactly these questions.",
        n_labels=3,
    )  # fmt: skip


def _said(of: Rates) -> str:
    said = []
    if (value := baseline_level(of, "gap")) is not None:
        said.append(f"baseline {number(value, True)}")
    for group in of.seeds:
        if found := level(of, "gap", group):
            said.append(f"{group_title(group)} {in_words(found, '', True)}")
    return f"{of.metric}: {', '.join(said)} points."
