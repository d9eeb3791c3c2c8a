"""What share of responses shows a metric: fine-tuned against the base model, by condition, every seed a point."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.gridspec import GridSpec
from matplotlib.lines import Line2D

from weirdgen.config.claims import ADAPTERS
from weirdgen.report.figures.figure import ReportFigure
from weirdgen.report.figures.layout import (
    axis_label,
    categories,
    dress,
    empty,
    finished,
    grid_shape,
    mark,
    nothing,
)
from weirdgen.report.figures.levels import (
    Level,
    baseline_level,
    contrast_in_words,
    draw_level,
    level,
    level_rows,
    number,
)
from weirdgen.report.figures.style import (
    BASELINE_MARK,
    MEAN_MARK,
    RATE_LABELS,
    SEED_MARK,
    group_title,
    rate_label,
    styled,
)
from weirdgen.report.rates import Rates, rates
from weirdgen.report.table import MISSING
from weirdgen.stats.metric_arrays import Group, group_label

_HEIGHT = 3.4
"""Inches of one row of panels."""


@styled
def rates_figure(table: pa.Table, metric: str, note: str = "") -> ReportFigure:
    """One metric of one study's results: a panel per fraction, and the gap by fraction.

    `note`: what a reader must know of who labelled it. Raises ValueError as `rates`.
    """
    of = rates(table, metric)
    has_gap = {"triggered", "untriggered"} <= set(of.conditions)
    groups: list[Group | None] = list(of.seeds) or [None]  # the baseline alone has a panel too
    rows, columns = grid_shape(len(groups) + has_gap)
    width = max(6.5, 2.9 * columns)
    figure = empty(width, _HEIGHT * rows)
    grid = GridSpec(rows, columns, figure)
    inches = width / columns - 0.8
    for i, group in enumerate(groups):
        panel = figure.add_subplot(grid[i // columns, i % columns])
        _rate_panel(panel, of, group, inches)
        if i % columns == 0:
            axis_label(panel.set_ylabel, rate_label(metric, of.graded), _HEIGHT - 1)
    if has_gap:
        row, column = divmod(len(groups), columns)
        gap_panel(figure.add_subplot(grid[row, column:]), of, inches * (columns - column))
    label = RATE_LABELS.get(metric, metric).removesuffix(", %")
    title = f"{label[0].upper() + label[1:] if metric in RATE_LABELS else label}, by condition"
    said = [f"{c}: {contrast_in_words(of, c, of.seeds, '%')}" for c in of.conditions]
    return finished(
        figure, metric, title, f"{of.study}, {of.model}", legend(of),
        caption=f"{caption(of)} {note}".strip(),
        alt=f"{'; '.join(said)}.",
        columns=("fraction", "condition", "of", "% or points", "low", "high"),
        sections=level_table(of, [*of.conditions, *(["gap"] if has_gap else [])], of.seeds),
        note="Low and high: 95% limits over seeds and questions. The gap is in points.",
        n_labels=3,
    )  # fmt: skip


def _rate_panel(panel: Axes, of: Rates, group: Group | None, inches: float) -> None:
    """Rates in % by condition, of the baseline and of one group's training runs."""
    dress(panel, "baseline" if group is None else group_title(group), inches)
    categories(panel, of.conditions, inches)
    panel.set_ylim(-4, 104)
    for x, condition in enumerate(of.conditions):
        if (value := baseline_level(of, condition)) is not None:
            panel.plot([x - 0.3], [value], **BASELINE_MARK)
        if group is not None and (found := level(of, condition, group)):
            draw_level(panel, x, found)
    if not panel.lines:
        nothing(panel)


def gap_panel(
    panel: Axes,
    of: Rates,
    inches: float,
    title: str = "gap",
    draw: Callable[[Axes, float, Level], None] = draw_level,
) -> None:
    """The gap in points: baseline, then every fraction, each as `draw` draws it around an x."""
    dress(panel, title, inches)
    labels = ["baseline"] * bool(of.b_Q) + [group_label(group) for group in of.seeds]
    categories(panel, labels, inches)
    if (value := baseline_level(of, "gap")) is not None:
        panel.plot([0], [value], **BASELINE_MARK)
    for x, group in enumerate(of.seeds, start=bool(of.b_Q)):
        if found := level(of, "gap", group):
            draw(panel, x - 0.12, found)
    if not panel.lines:
        nothing(panel)
    low = min(panel.dataLim.ymin - 4, -4) if panel.lines else -4
    panel.axhline(0, color="#888888", linewidth=0.8, zorder=0)
    panel.set_ylim(low, 104)
    panel.set_xlabel("persona fraction" if any(isinstance(g, float) for g in of.seeds) else "")
    axis_label(panel.set_ylabel, "triggered - untriggered, points", _HEIGHT - 1)


def legend(of: Rates) -> list[Line2D]:
    """What the marks of these rates are."""
    handles = [mark("baseline (base model)", **BASELINE_MARK)] * bool(of.b_Q)
    if of.seeds:
        handles.append(mark("one training run (seed)", **SEED_MARK))
    if any(len(seeds) > 1 for seeds in of.seeds.values()):
        handles.append(mark("mean, 95% interval", linewidth=1.4, **MEAN_MARK))
    return handles


def caption(of: Rates) -> str:
    """What points and bars are, with the counts behind them."""
    parts = [f"{len(of.questions)} questions in each condition."]
    if of.seeds:
        seeds = span(len(seeds) for seeds in of.seeds.values())
        samples = span(n for y in of.n_SQ.values() for n_SQ in y.values() for n in n_SQ.flat)
        where = "in all" if set(of.seeds) == {ADAPTERS} else "a fraction"
        parts.append(
            f"Points: one training run each, {seeds} {where}, samples a question: {samples}."
        )
        parts.append(
            "One seed: no interval."
            if seeds == "1"
            else "Squares and bars: mean over seeds, 95% interval over seeds and questions."
        )
    if of.b_Q:
        n = span(n for n_Q in of.n_Q.values() for n in n_Q)
        parts.append(f"Open diamonds: the base model, samples a question: {n}.")
    return " ".join(parts)


def span(counts: Iterable[int]) -> str:
    """`4`, or `2-4` where the counts differ."""
    found = sorted({int(count) for count in counts})
    return f"{found[0]}" if found[0] == found[-1] else f"{found[0]}-{found[-1]}"


def level_table(
    of: Rates, contrasts: Sequence[str], groups: Iterable[Group]
) -> Iterator[tuple[tuple[str, ...], ...]]:
    """A section for the baseline and for each group: group, contrast, which, value, low, high."""
    baseline = []
    for contrast in contrasts:
        if (value := baseline_level(of, contrast)) is not None:
            cell = number(value, contrast == "gap")
            baseline.append(("baseline", contrast, "base model", cell, MISSING, MISSING))
    if baseline:
        yield tuple(baseline)
    for group in groups:
        found = [
            row
            for contrast in contrasts
            if (at := level(of, contrast, group))
            for row in level_rows((group_label(group), contrast), at, contrast == "gap")
        ]
        if found:
            yield tuple(found)
