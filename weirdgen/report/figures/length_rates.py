"""Whether a metric's rates go with the length of the responses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pyarrow as pa

from weirdgen.report.figures.layout import (
    Limits,
    Panel,
    ReportFigure,
    finished,
    mark,
    metric_panels,
)
from weirdgen.report.figures.levels import limit_cells, percent_limits
from weirdgen.report.figures.style import BASELINE_MARK, MEAN_MARK, plain_style, rate_label
from weirdgen.report.rates import CONDITIONS, metric_numbers, row_groups
from weirdgen.report.rendering import prose
from weirdgen.report.table import number
from weirdgen.stats.judge_error import BASELINE
from weirdgen.stats.rate_interval import wilson
from weirdgen.stats.sensitivity import seed_t

TITLE = "Rates by the length of the response"
_MOST_BINS, _LEAST_ANSWERS = 5, 7
"""Of one side and condition; a part of fewer responses says nothing."""
_HEIGHT = 2.5
"""Inches of one row of panels."""


_TUNED = "fine-tuned"
_SIDES = {BASELINE: "baseline (base model)", _TUNED: "fine-tuned, all training runs"}
"""What the legend calls them."""


@dataclass(frozen=True)
class _Bin:
    """Responses of like length."""

    n: int
    length: float
    """Mean."""
    shortest: float
    longest: float
    rate: float
    """%."""
    limits: Limits | None


@plain_style()
def length_rates_figure(
    table: pa.Table, metrics: Sequence[str], graded: Mapping[str, bool], subtitle: str
) -> ReportFigure | None:
    """A row of panels for each of `metrics`, a panel for each condition; None without metrics.

    `graded`: metric -> whether its labels are numbers rather than yes or no.
    """
    if not metrics:
        return None
    unit, length_N = _lengths(table)
    condition_N = np.array(table["condition"].to_pylist())
    conditions = [condition for condition in CONDITIONS if condition in condition_N]
    groups = row_groups(table)
    has_controls = 0.0 in groups and len({*groups} - {BASELINE}) > 1  # apart from the fine-tuned
    sides = {BASELINE: BASELINE} | ({0.0: ""} if has_controls else {})
    side_N = np.array([sides.get(group, _TUNED) for group in groups])
    parts: dict[tuple[str, str, str], list[_Bin]] = {}
    for metric in metrics:
        value_N = metric_numbers(table, metric)
        for condition, side in product(conditions, _SIDES):
            here_N = (condition_N == condition) & (side_N == side) & np.isfinite(value_N)
            if here_N.any():
                bins = [*_bins(length_N[here_N], value_N[here_N], graded[metric])]
                parts[metric, condition, side] = bins
    figure, axes, places = metric_panels(metrics, conditions, _HEIGHT, 2.5, sharex=True)
    for metric, condition, panel in places:
        for side in (_TUNED, BASELINE):  # the open marks leave what is below them to be seen
            _draw_bins(panel, side, parts.get((metric, condition, side), ()))
        if not panel.lines:
            panel.say_empty("no labelled responses")
    for metric, row in zip(metrics, axes, strict=True):
        row[0].name_axis("y", rate_label(metric, graded[metric]), _HEIGHT - 0.7)
    for panel in axes[-1]:
        panel.set_xlabel(f"length of the response, {unit}")
    axes[0, 0].set_ylim(-4, 104)
    _length_axis(axes[0, 0], [each.length for bins in parts.values() for each in bins])
    drawn = {side for _, _, side in parts}
    handles = [mark(label, **_style(side)) for side, label in _SIDES.items() if side in drawn]
    return finished(
        figure, "length-and-rate", TITLE, subtitle, handles,
        caption=prose(
            "caption_lengths", bins=_MOST_BINS, unit=unit, without_controls=has_controls,
            graded=dict.fromkeys(graded[metric] for metric in metrics),
        ),
        alt=" ".join(_said(*at, bins, unit) for at, bins in parts.items()),
        columns=("metric", "condition", "of", unit, "responses", f"mean {unit}", "%", "low", "high"),
        sections=([(*at, *_cells(each)) for each in bins] for at, bins in parts.items()),
        note="95% limits that take every response for independent: too narrow.",
        n_labels=4,
    )  # fmt: skip


def _lengths(table: pa.Table) -> tuple[str, np.ndarray]:
    """The unit and the length of each response: in tokens where every response tells them, else in words."""
    tokens = table["response_tokens"]
    if tokens.null_count == 0:
        return "tokens", tokens.to_numpy()
    return "words", np.array([len(text.split()) for text in table["response"].to_pylist()])


def _bins(length_N: np.ndarray, value_N: np.ndarray, graded: bool) -> Iterator[_Bin]:
    """N labelled responses, in parts of like length."""
    bins = min(max(len(length_N) // _LEAST_ANSWERS, 1), _MOST_BINS)
    edges = np.unique(np.quantile(length_N, np.linspace(0, 1, bins + 1)))
    part_N = np.clip(np.searchsorted(edges, length_N, side="right") - 1, 0, max(len(edges) - 2, 0))
    for part in np.unique(part_N):
        lengths, rates = length_N[part_N == part], value_N[part_N == part]
        yield _Bin(len(lengths), float(lengths.mean()), lengths.min(), lengths.max(),
                   float(100 * rates.mean()), _limits(rates, graded))  # fmt: skip


def _limits(values: np.ndarray, graded: bool) -> Limits | None:
    if not graded:
        return percent_limits(*wilson(values.mean(), len(values)))
    if len(values) < 2:
        return None
    t = seed_t(values)  # Student's t over whatever it is given
    return percent_limits(t.low, t.high)


def _style(side: str) -> dict[str, Any]:
    if side == BASELINE:
        return BASELINE_MARK | {
            "linestyle": "--",
            "color": BASELINE_MARK["markeredgecolor"],
            "linewidth": 1.2,
        }
    return MEAN_MARK | {"markersize": 5.5, "linestyle": "-", "linewidth": 1.2}


def _draw_bins(panel: Panel, side: str, bins: Sequence[_Bin]) -> None:
    style = _style(side)
    for each in bins:
        panel.interval(
            each.length, each.rate, each.limits, color=style["color"], linewidth=1, capsize=2
        )
    if bins:
        panel.plot([each.length for each in bins], [each.rate for each in bins], **style)


def _length_axis(panel: Panel, lengths: Sequence[float]) -> None:
    """Logarithmic from 1 on, with 0 apart: a reply may be empty."""
    panel.set_xscale("symlog", linthresh=1)
    low, high = (of(lengths, default=1.0) for of in (min, max))
    low, high = (low / 1.3 if low >= 1 else -0.1), max(1.3 * high, 2.0)
    candidates = [0, *(m * 10**d for d in range(7) for m in (1, 2, 5))]
    ticks = [t for t in candidates if low <= t <= high]
    if len(ticks) > 7:
        ticks = [t for t in ticks if t == 0 or str(t)[0] == "1"]
    panel.set_xlim(low, high)
    panel.set_xticks(ticks, [f"{t:,}" for t in ticks])
    panel.minorticks_off()


def _cells(of: _Bin) -> tuple[str, ...]:
    span = f"{of.shortest:g}-{of.longest:g}"
    return span, f"{of.n:,}", number(of.length), number(of.rate), *limit_cells(of.limits)


def _said(metric: str, condition: str, side: str, bins: Sequence[_Bin], unit: str) -> str:
    first, last = bins[0], bins[-1]
    return (
        f"{metric}, {condition}, {side}: {number(first.rate)}% of the shortest (about "
        f"{number(first.length)} {unit}), {number(last.rate)}% of the longest ({number(last.length)})."
    )
