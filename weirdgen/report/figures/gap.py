"""The gap of every metric by fraction, with every seed, two intervals and the baseline's own gap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from weirdgen.report.figures.figure import ReportFigure
from weirdgen.report.figures.layout import finished, mark, panel_grid, spread_out
from weirdgen.report.figures.levels import (
    Level,
    bar,
    baseline_level,
    contrast_in_words,
    level,
    level_rows,
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
    styled,
)
from weirdgen.report.rates import Rates
from weirdgen.report.table import MISSING
from weirdgen.stats.metric_arrays import group_label

_HEIGHT = 3.0
TITLE = "Gap between triggered and untriggered responses, by metric"
_CAPTION = "Triggered - untriggered, in points. Open diamonds: the base model. Points: one training run each."
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
    least = 6.5 if len(shown) > 1 else 5.0
    figure, axes, _, inches = panel_grid(len(shown), least, 2.9, _HEIGHT)
    for panel, of in zip(axes, shown, strict=True):
        gap_panel(panel, of, inches - 0.8, of.metric, _draw)
    lowest = min(panel.get_ylim()[0] for panel in axes)
    for panel in axes:
        panel.set_ylim(bottom=lowest)  # the same for all, so that they can be compared
    first = shown[0]
    alone = all(len(seeds) < 2 for of in shown for seeds in of.seeds.values())
    said = [f"{of.metric}: {contrast_in_words(of, 'gap', of.seeds, '')} points." for of in shown]
    return finished(
        figure, "gap-by-metric", TITLE, f"{first.study}, {first.model}", _legend(shown),
        caption=f"{_CAPTION} {'One seed: no interval.' if alone else _MEANS}",
        alt=" ".join(said),
        columns=(
            "metric", "fraction", "of", "gap, points", "low", "high", "low, these questions",
            "high, these questions",
        ),
        sections=map(_rows, shown),
        note="95% limits over seeds and questions, and over seeds on exactly these questions.",
        n_labels=3,
    )  # fmt: skip


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
        handles.append(mark("baseline (base model)", **BASELINE_MARK))
    if any(of.seeds for of in shown):
        handles.append(mark("one training run (seed)", **SEED_MARK))
    if any(len(seeds) > 1 for of in shown for seeds in of.seeds.values()):
        handles += [
            mark("mean over seeds", linestyle="none", **MEAN_MARK),
            mark("95%, these questions", linewidth=4.5, color=LIGHT),
            mark("95%, questions like these", linewidth=1.2, color=INK),
        ]
    return handles


def _rows(of: Rates) -> Iterator[tuple[str, ...]]:
    if (value := baseline_level(of, "gap")) is not None:
        yield of.metric, "baseline", "base model", number(value, True), *[MISSING] * 4
    for group in of.seeds:
        if found := level(of, "gap", group):
            for row in level_rows((of.metric, group_label(group)), found, True):
                fixed = found.limits_of_seeds if row[2].startswith("mean of ") else None
                yield *row, *limit_cells(fixed, True)
