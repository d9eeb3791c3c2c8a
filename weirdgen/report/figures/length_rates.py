"""Whether a metric's rates go with the length of the responses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes

from weirdgen.report.figures.figure import ReportFigure
from weirdgen.report.figures.layout import axis_label, dress, finished, mark, nothing, panels
from weirdgen.report.figures.length import Lengths, lengths_of
from weirdgen.report.figures.levels import Limits, bar, limit_cells, number
from weirdgen.report.figures.style import BASELINE_MARK, INK, MEAN_MARK, rate_label, styled
from weirdgen.report.rates import unclaimed_as_false
from weirdgen.stats.rate_interval import wilson
from weirdgen.stats.sensitivity import seed_t

TITLE = "Rates by the length of the response"
_MOST_BINS, _LEAST_ANSWERS = 5, 7
"""Of one side and condition; a part of fewer responses says nothing."""
_HEIGHT = 2.5
"""Inches of one row of panels."""
_CAPTION = (
    "The responses of each side and condition, sorted by length, in up to {bins} parts of about equal size; "
    "each mark stands at its part's mean length, in {unit}. Bars: 95% intervals, {interval}, which take every "
    "response for independent and so are too narrow. Squares: all training runs together{control}; open diamonds: "
    "the base model. A metric that goes with length may differ between models for length alone."
)


@dataclass(frozen=True)
class _Bin:
    """Responses of like length."""

    metric: str
    condition: str
    side: str
    """`baseline` or `fine-tuned`."""
    n: int
    length: float
    """Mean."""
    shortest: float
    longest: float
    rate: float
    """%."""
    limits: Limits | None


@styled
def length_rates_figure(
    table: pa.Table, metrics: Sequence[str], graded: Mapping[str, bool], subtitle: str
) -> ReportFigure | None:
    """A row of panels for each of `metrics`, a panel for each condition; None without metrics.

    `graded`: metric -> whether its labels are numbers rather than yes or no.
    """
    if not metrics:
        return None
    of = lengths_of(table)
    found = [b for metric in metrics for b in _bins(table, of, metric, graded[metric])]
    conditions = of.conditions
    width = max(5.0, 2.9 * len(conditions))
    shape = (len(metrics), len(conditions))
    figure, axes = panels(*shape, width, _HEIGHT * len(metrics) + 0.3, sharey=True, sharex=True)
    for metric, row in zip(metrics, axes, strict=True):
        for condition, panel in zip(conditions, row, strict=True):
            dress(panel, f"{metric}, {condition}", 2.5)
            _draw_bins(panel, [b for b in found if (b.metric, b.condition) == (metric, condition)])
        axis_label(row[0].set_ylabel, rate_label(metric, graded[metric]), _HEIGHT - 0.7)
    for panel in axes[-1]:
        panel.set_xlabel(f"length of the response, {of.unit}")
    axes[0, 0].set_ylim(-4, 104)
    _length_axis(axes[0, 0], found)
    sides = {"baseline": "baseline (base model)", "fine-tuned": "fine-tuned, all training runs"}
    handles = [
        mark(label, **_side(side))
        for side, label in sides.items()
        if any(b.side == side for b in found)
    ]
    parts: dict[tuple[str, str, str], list[_Bin]] = {}
    for b in found:
        parts.setdefault((b.metric, b.condition, b.side), []).append(b)
    kinds = {graded[metric]: None for metric in metrics}
    interval = " and ".join("Student's t (graded labels)" if kind else "Wilson's" for kind in kinds)
    control = " but the controls" if _leaves_out_controls(of) else ""
    return finished(
        figure, "length-and-rate", TITLE, subtitle, handles,
        caption=_CAPTION.format(bins=_MOST_BINS, unit=of.unit, interval=interval, control=control),
        alt=" ".join(_said(parts.values(), of.unit)),
        columns=("metric", "condition", "of", of.unit, "responses", f"mean {of.unit}", "%", "low", "high"),
        sections=(map(_row, own) for own in parts.values()),
        note="95% limits that take every response for independent: too narrow.",
        n_labels=4,
    )  # fmt: skip


def _leaves_out_controls(of: Lengths) -> bool:
    return 0.0 in of.groups and len(of.groups) > 1


def _bins(table: pa.Table, of: Lengths, metric: str, graded: bool) -> Iterator[_Bin]:
    labelled = unclaimed_as_false(table) if metric == "identity" else table
    values = labelled[metric].cast(pa.float64()).to_numpy()
    baseline_N = of.group_N == "baseline"
    tuned_N = ~baseline_N & ((of.group_N != 0.0) | (not _leaves_out_controls(of)))
    for condition in of.conditions:
        for side, side_N in (("baseline", baseline_N), ("fine-tuned", tuned_N)):
            here_N = side_N & (of.condition_N == condition) & np.isfinite(values)
            length_n, value_n = of.length_N[here_N], values[here_N]
            if not len(length_n):
                continue
            bins = min(max(len(length_n) // _LEAST_ANSWERS, 1), _MOST_BINS)
            edges = np.unique(np.quantile(length_n, np.linspace(0, 1, bins + 1)))
            part_n = np.clip(
                np.searchsorted(edges, length_n, side="right") - 1, 0, max(len(edges) - 2, 0)
            )
            for part in np.unique(part_n):
                lengths, rates = length_n[part_n == part], value_n[part_n == part]
                yield _Bin(metric, condition, side, len(lengths), float(lengths.mean()), lengths.min(),
                           lengths.max(), float(100 * rates.mean()), _limits(rates, graded))  # fmt: skip


def _limits(values: np.ndarray, graded: bool) -> Limits | None:
    if graded:
        if len(values) < 2:
            return None
        t = seed_t(values)  # Student's t over whatever it is given
        low, high = t.low, t.high
    else:
        low, high = wilson(values.mean(), len(values))
    low, high = np.clip([100 * float(low), 100 * float(high)], 0, 100).tolist()
    return low, high


def _side(side: str) -> dict[str, Any]:
    if side == "baseline":
        return BASELINE_MARK | {"linestyle": "--", "color": "#a8480f", "linewidth": 1.2}
    return MEAN_MARK | {"markersize": 5.5, "linestyle": "-", "linewidth": 1.2}


def _draw_bins(panel: Axes, bins: Sequence[_Bin]) -> None:
    for side in ("fine-tuned", "baseline"):  # the open marks leave what is below them to be seen
        own = [b for b in bins if b.side == side]
        color = "#a8480f" if side == "baseline" else INK
        for b in own:
            bar(panel, b.length, b.rate, b.limits, color=color, linewidth=1, capsize=2)
        if own:
            panel.plot([b.length for b in own], [b.rate for b in own], **_side(side))
    if not bins:
        nothing(panel, "no labelled responses")


def _length_axis(panel: Axes, bins: Sequence[_Bin]) -> None:
    """Logarithmic from 1 on, with 0 apart: a reply may be empty."""
    panel.set_xscale("symlog", linthresh=1)
    low, high = (f([b.length for b in bins], default=1.0) for f in (min, max))
    low, high = (low / 1.3 if low >= 1 else -0.1), max(1.3 * high, 2.0)
    candidates = [0, *(m * 10**d for d in range(7) for m in (1, 2, 5))]
    ticks = [t for t in candidates if low <= t <= high]
    if len(ticks) > 7:
        ticks = [t for t in ticks if t == 0 or str(t)[0] == "1"]
    panel.set_xlim(low, high)
    panel.set_xticks(ticks, [f"{t:,}" for t in ticks])
    panel.minorticks_off()


def _row(b: _Bin) -> tuple[str, ...]:
    return (b.metric, b.condition, b.side, f"{b.shortest:g}-{b.longest:g}", f"{b.n:,}",
            number(b.length), number(b.rate), *limit_cells(b.limits))  # fmt: skip


def _said(parts: Iterable[Sequence[_Bin]], unit: str) -> Iterator[str]:
    for own in parts:
        first, last = own[0], own[-1]
        yield (
            f"{first.metric}, {first.condition}, {first.side}: {number(first.rate)}% of the shortest (about "
            f"{number(first.length)} {unit}), {number(last.rate)}% of the longest ({number(last.length)})."
        )
