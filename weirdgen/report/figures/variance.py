"""How far responses differ by seed, by question, by both together and by chance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from weirdgen.report.figures.layout import (
    Panel,
    ReportFigure,
    finished,
    mark,
    metric_panels,
    spread_out,
)
from weirdgen.report.figures.levels import limit_cells
from weirdgen.report.figures.style import INK, plain_style, series_mark
from weirdgen.report.rates import CONDITIONS
from weirdgen.report.rendering import prose
from weirdgen.report.table import number
from weirdgen.report.variance import SOURCES, Spread, spreads
from weirdgen.stats.estimate import Estimate

_WIDTH, _HEIGHT = 2.9, 2.4
"""Inches of one panel."""
TITLE = "Where the variance of responses comes from"


_Found = Mapping[tuple[str, str], Sequence[Spread]]
"""Metric and condition -> its parts."""


@plain_style()
def variance_figure(
    estimates: Iterable[Estimate], metrics: Sequence[str], subtitle: str
) -> ReportFigure | None:
    """A row of panels for each of `metrics`, a panel for each condition; None without two seeds."""
    found: dict[tuple[str, str], list[Spread]] = {}
    for each in spreads(estimates):
        if each.metric in metrics:
            found.setdefault((each.metric, each.condition), []).append(each)
    if not found:
        return None
    shown = [metric for metric in metrics if any(m == metric for m, _ in found)]
    conditions = [c for c in CONDITIONS if any(of == c for _, of in found)]
    groups = list(dict.fromkeys(part.group for parts in found.values() for part in parts))
    figure, axes, places = metric_panels(shown, conditions, _HEIGHT, _WIDTH - 0.4)
    for metric, condition, panel in places:
        _draw(panel, found.get((metric, condition), []), groups)
    for row in axes:
        row[0].name_axis("y", "standard deviation, points", _HEIGHT - 0.6)
    axes[0, 0].set_ylim(bottom=-2)
    handles = [
        mark(group if group == "adapters" else f"fraction {group}", **series_mark(i))
        for i, group in enumerate(groups)
    ]
    return finished(
        figure, "variance-split", TITLE, subtitle, handles, prose("caption_variance"), _alt(found),
        columns=("metric", "condition", "fraction", "source", "SD, points", "low", "high"),
        sections=[
            [(*part[:4], number(part.sd), *limit_cells(part.limits)) for part in parts]
            for parts in found.values()
        ],
        note="Standard deviations with 95% limits.",
        n_labels=4,
    )  # fmt: skip


def _draw(panel: Panel, parts: Sequence[Spread], groups: Sequence[str]) -> None:
    panel.categories(SOURCES, _WIDTH - 0.5)
    panel.set_xlim(-0.55, len(SOURCES) - 0.45)
    for i, (group, offset) in enumerate(zip(groups, spread_out(len(groups), 0.3), strict=True)):
        own = {SOURCES.index(p.source) + offset: p for p in parts if p.group == group}
        for x, part in own.items():
            panel.interval(x, part.sd, part.limits, color=INK, linewidth=1, capsize=2)
        if own:
            panel.plot([*own], [part.sd for part in own.values()], **series_mark(i))
    if not parts:
        panel.say_empty("nothing varies,\nor too few responses")


def _alt(found: _Found) -> str:
    said = []
    for (metric, condition), parts in found.items():
        largest = max(parts, key=lambda part: part.sd)
        by_seed = max((part.sd for part in parts if part.source == "seed"), default=0.0)
        said.append(
            f"{metric}, {condition}: the largest part is {largest.source} at {largest.group}, "
            f"{number(largest.sd)} points; seeds differ by at most {number(by_seed)}."
        )
    return " ".join(said)
