"""Rates of a metric by condition and the gap between conditions: fine-tuned against the base model, every seed a point."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
from matplotlib.lines import Line2D

from weirdgen.config.claims import ADAPTERS
from weirdgen.report.figures.layout import (
    Panel,
    ReportFigure,
    finished,
    mark,
    panel_grid,
)
from weirdgen.report.figures.levels import (
    contrast_in_words,
    draw_level,
    groups_of,
    level,
    level_rows,
    limit_cells,
)
from weirdgen.report.figures.style import (
    BASELINE_MARK,
    INK,
    LIGHT,
    MEAN_MARK,
    RATE_LABELS,
    SEED_MARK,
    group_title,
    plain_style,
    rate_label,
)
from weirdgen.report.rates import Rates, has_gap, rates
from weirdgen.report.rendering import prose
from weirdgen.stats.judge_error import BASELINE
from weirdgen.stats.metric_arrays import Group, group_label

_HEIGHT, _GAP_HEIGHT = 3.4, 3.0
"""Inches of one row of panels."""
GAP_TITLE = "Gap between triggered and untriggered responses, by metric"


@plain_style()
def rates_figure(table: pa.Table, metric: str, note: str = "") -> ReportFigure:
    """One metric of one study's results: a panel per fraction, and the gap by fraction.

    `note`: what a reader must know of who labelled it. Raises ValueError as `rates`.
    """
    of = rates(table, metric)
    groups = list(of.seeds) or [BASELINE]  # the baseline alone has a panel too
    n = len(groups) + has_gap(of)
    figure, axes, left, inches = panel_grid(n, 6.5, 2.9, _HEIGHT)
    for panel, group in zip(axes, groups, strict=False):
        _rate_panel(panel, of, group, inches - 0.8)
    for panel in left:
        panel.name_axis("y", rate_label(metric, of.graded), _HEIGHT - 1)
    if has_gap(of):  # in the rest of the last row
        place = axes[-1].get_subplotspec()
        assert place is not None  # it stands in a grid
        grid, row, column = place.get_gridspec(), place.rowspan.start, place.colspan.start
        axes[-1].set_subplotspec(grid[row, column:])
        _gap_panel(axes[-1], of, (inches - 0.8) * (grid.ncols - column))
    label = RATE_LABELS.get(metric, metric).removesuffix(", %")
    title = f"{label[0].upper() + label[1:] if metric in RATE_LABELS else label}, by condition"
    said = [f"{c}: {contrast_in_words(of, c, of.seeds, '%')}" for c in of.conditions]
    return finished(
        figure, metric, title, f"{of.study}, {of.model}", _legend([of]),
        caption=_caption(of, note),
        alt=f"{'; '.join(said)}.",
        columns=("fraction", "condition", "of", "% or points", "low", "high"),
        sections=level_table(of, [*of.conditions, *["gap"] * has_gap(of)], of.seeds),
        note="Low and high: 95% limits over seeds and questions. The gap is in points.",
        n_labels=3,
    )  # fmt: skip


def _rate_panel(panel: Panel, of: Rates, group: Group, inches: float) -> None:
    """Rates in % by condition, of the baseline and of one group's training runs."""
    panel.dress(group_title(group), inches)
    panel.categories(of.conditions, inches)
    panel.set_ylim(-4, 104)
    for x, condition in enumerate(of.conditions):
        for each in dict.fromkeys([BASELINE, group]):
            if found := level(of, condition, each):
                draw_level(panel, x - 0.3 * (each == BASELINE), found)
    if not panel.lines:
        panel.say_empty()


@plain_style()
def gap_figure(cubes: Sequence[Rates]) -> ReportFigure | None:
    """A panel for each metric whose gap can be told; None where there is none."""
    shown = [of for of in cubes if any(level(of, "gap", group) for group in groups_of(of))]
    if not shown:
        return None
    least = 6.5 if len(shown) > 1 else 5.0
    figure, axes, _, inches = panel_grid(len(shown), least, 2.9, _GAP_HEIGHT)
    for panel, of in zip(axes, shown, strict=True):
        _gap_panel(panel, of, inches - 0.8, of.metric, both=True)
    lowest = min(panel.get_ylim()[0] for panel in axes)
    for panel in axes:
        panel.set_ylim(bottom=lowest)  # the same for all, so that they can be compared
    alone = all(len(seeds) < 2 for of in shown for seeds in of.seeds.values())
    said = [f"{of.metric}: {contrast_in_words(of, 'gap', of.seeds, '')} points." for of in shown]
    return finished(
        figure, "gap-by-metric", GAP_TITLE, f"{shown[0].study}, {shown[0].model}",
        _legend(shown, both=True),
        caption=prose("caption_gap", one_seed=alone),
        alt=" ".join(said),
        columns=(
            "metric", "fraction", "of", "gap, points", "low", "high", "low, these questions",
            "high, these questions",
        ),
        sections=map(_gap_rows, shown),
        note="95% limits over seeds and questions, and over seeds on exactly these questions.",
        n_labels=3,
    )  # fmt: skip


def _gap_panel(
    panel: Panel, of: Rates, inches: float, title: str = "gap", both: bool = False
) -> None:
    """The gap in points: baseline, then every fraction; `both` as `draw_level`."""
    panel.dress(title, inches)
    groups = groups_of(of)
    panel.categories([group_label(group) for group in groups], inches)
    for x, group in enumerate(groups):
        if found := level(of, "gap", group):
            draw_level(panel, x - 0.12 * (group != BASELINE), found, both)
    if not panel.lines:
        panel.say_empty()
    low = min(panel.dataLim.ymin - 4, -4) if panel.lines else -4
    panel.axhline(0, color="#888888", linewidth=0.8, zorder=0)
    panel.set_ylim(low, 104)
    panel.set_xlabel("persona fraction" if any(isinstance(g, float) for g in of.seeds) else "")
    panel.name_axis("y", "triggered - untriggered, points", _HEIGHT - 1)


def _gap_rows(of: Rates) -> Iterator[tuple[str, ...]]:
    for group in groups_of(of):
        if found := level(of, "gap", group):
            for row in level_rows((of.metric, group_label(group)), found, True):
                fixed = found.limits_of_seeds if row[2].startswith("mean of ") else None
                yield *row, *limit_cells(fixed, True)


def _legend(shown: Sequence[Rates], both: bool = False) -> list[Line2D]:
    """What the marks of these rates are; `both` as `draw_level`."""
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
        ] if both else [mark("mean, 95% interval", linewidth=1.4, **MEAN_MARK)]  # fmt: skip
    return handles


def _caption(of: Rates, note: str) -> str:
    """What points and bars are, with the counts behind them."""
    return prose(
        "caption_rates",
        n_questions=len(of.questions),
        seeds=_span(len(seeds) for seeds in of.seeds.values()),
        samples=_span(n for y in of.n_SQ.values() for n_SQ in y.values() for n in n_SQ.flat),
        adapters_alone=set(of.seeds) == {ADAPTERS},
        baseline_samples=_span(n for n_Q in of.n_Q.values() for n in n_Q),
        note=note,
    )


def _span(counts: Iterable[int]) -> str:
    """`4`, or `2-4` where the counts differ; empty without any."""
    found = sorted({int(count) for count in counts})
    return "-".join(map(str, dict.fromkeys([*found[:1], *found[-1:]])))


def level_table(
    of: Rates, contrasts: Sequence[str], groups: Iterable[Group]
) -> Iterator[list[tuple[str, ...]]]:
    """A section for the baseline and for each group: group, contrast, which, value, low, high."""
    for group in [BASELINE, *groups]:
        found = [
            row
            for contrast in contrasts
            if (at := level(of, contrast, group))
            for row in level_rows((group_label(group), contrast), at, contrast == "gap")
        ]
        if found:
            yield found
