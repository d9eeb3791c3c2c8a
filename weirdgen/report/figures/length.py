"""How long responses are, of each training run and of the base model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes

from weirdgen.config.claims import ADAPTERS
from weirdgen.report.figures.figure import ReportFigure
from weirdgen.report.figures.layout import (
    axis_label,
    categories,
    dress,
    finished,
    mark,
    panels,
    spread_out,
)
from weirdgen.report.figures.levels import Limits, bar, limit_cells, number
from weirdgen.report.figures.style import (
    BASELINE_MARK,
    CONDITION_STYLES,
    INK,
    condition_mark,
    styled,
)
from weirdgen.report.rates import CONDITIONS
from weirdgen.report.table import MISSING
from weirdgen.stats.metric_arrays import Group, group_label
from weirdgen.stats.sensitivity import seed_t

TITLE = "Length of the responses"
_CAPTION = "Mean length in {unit}. Large marks: {means}. Open marks: the base model."
_MEANS = (
    "mean over training runs; bars: 95% t intervals over seeds, on exactly these questions; small marks: one "
    "training each"
)


@dataclass(frozen=True)
class Lengths:
    """The length of each of N responses, and whose it is."""

    unit: str
    """`tokens`; or `words`, where responses do not tell their tokens."""
    length_N: np.ndarray
    condition_N: np.ndarray
    group_N: np.ndarray
    """A persona fraction, `adapters` or `baseline`."""
    replicate_N: np.ndarray
    """The adapter; None for the baseline."""

    @property
    def groups(self) -> list[Group]:
        """Fractions in order, then `adapters`; the baseline is none of them."""
        found = {*self.group_N.tolist()} - {"baseline"}
        return sorted(found, key=lambda group: (isinstance(group, str), group))

    @property
    def conditions(self) -> list[str]:
        return [c for c in CONDITIONS if (self.condition_N == c).any()]


def lengths_of(table: pa.Table) -> Lengths:
    """Tokens where every response tells them, else words."""
    tokens = table["response_tokens"]
    whole = tokens.null_count == 0
    lengths = (
        tokens.to_pylist() if whole else [len(r.split()) for r in table["response"].to_pylist()]
    )
    adapters, fractions = table["adapter"].to_pylist(), table["fraction"].to_pylist()
    groups = [
        "baseline" if adapter is None else ADAPTERS if fraction is None else fraction
        for adapter, fraction in zip(adapters, fractions, strict=True)
    ]
    return Lengths(
        "tokens" if whole else "words",
        np.array(lengths, dtype=np.float64),
        np.array(table["condition"].to_pylist()),
        np.array(groups, dtype=object),
        np.array(adapters, dtype=object),
    )


@dataclass(frozen=True)
class _Mean:
    """The mean length under one condition, of the baseline or of a group's training runs."""

    group: Group
    condition: str
    mean: float
    """Over responses, and then over training runs."""
    mean_S: np.ndarray
    names: tuple[str, ...]
    """Of the training runs."""
    limits: Limits | None


@styled
def lengths_figure(table: pa.Table, subtitle: str) -> ReportFigure:
    """Mean length by group and condition."""
    of = lengths_of(table)
    found = list(_means(of))
    several = any(len(each.names) > 1 for each in found)
    groups: list[Group] = [*(["baseline"] if "baseline" in of.group_N else []), *of.groups]
    width = min(max(5.0, 1.2 + 1.1 * len(groups)), 8.7)
    figure, axes = panels(1, 1, width, 3.0)
    panel = axes[0, 0]
    dress(panel)
    categories(panel, [group_label(group) for group in groups], width - 0.8)
    panel.set_xlabel("persona fraction" if any(isinstance(g, float) for g in groups) else "")
    offsets = dict(zip(of.conditions, spread_out(len(of.conditions), 0.25), strict=True))
    for each in found:
        _draw_mean(panel, groups.index(each.group) + offsets[each.condition], each)
    panel.set_ylim(0, 1.08 * max(panel.dataLim.ymax, 1.0))
    axis_label(panel.set_ylabel, f"mean length, {of.unit}", 2)
    handles = [mark(c, **condition_mark(c)) for c in of.conditions]
    if "baseline" in groups:
        handles.append(mark("open marks: baseline", **BASELINE_MARK))
    said = [f"{group_label(m.group)}, {m.condition}: {number(m.mean)}" for m in found]
    return finished(
        figure, "response-lengths", TITLE, subtitle, handles,
        caption=_CAPTION.format(unit=of.unit, means=_MEANS if several else "one training run"),
        alt=f"Mean {of.unit}. {'; '.join(said)}.",
        columns=("fraction", "condition", "of", f"mean {of.unit}", "low", "high"),
        sections=map(_mean_rows, found),
        note="95% limits, t over seeds.",
        n_labels=3,
    )  # fmt: skip


def _means(of: Lengths) -> Iterator[_Mean]:
    for group in ["baseline", *of.groups]:
        for condition in of.conditions:
            here_N = (of.group_N == group) & (of.condition_N == condition)
            if not here_N.any():
                continue
            names = list(dict.fromkeys(sorted(of.replicate_N[here_N].tolist(), key=str)))
            if group == "baseline":
                mean = float(of.length_N[here_N].mean())
                yield _Mean(group, condition, mean, np.array([]), (), None)
                continue
            mean_S = np.array(
                [of.length_N[here_N & (of.replicate_N == name)].mean() for name in names]
            )
            limits = None
            if len(names) > 1:
                t = seed_t(mean_S)
                limits = max(float(t.low), 0.0), float(t.high)
            yield _Mean(group, condition, float(mean_S.mean()), mean_S, tuple(names), limits)


def _draw_mean(panel: Axes, at: float, each: _Mean) -> None:
    S = len(each.names)
    if S > 1:
        panel.plot(at - 0.09 + spread_out(S, 0.05), each.mean_S, **(condition_mark(each.condition) | {
            "markersize": 3, "markeredgewidth": 0.3, "alpha": 0.55}))  # fmt: skip
    at += 0.05 if S > 1 else 0.0
    bar(panel, at, each.mean, each.limits, color=INK, linewidth=1.1, capsize=3)
    panel.plot([at], [each.mean], **_mark(each.condition, each.group == "baseline"))


def _mark(condition: str, is_baseline: bool) -> dict[str, Any]:
    if is_baseline:
        return BASELINE_MARK | {"marker": CONDITION_STYLES[condition]["marker"]}
    return condition_mark(condition)


def _mean_rows(each: _Mean) -> Iterator[tuple[str, ...]]:
    labels = (group_label(each.group), each.condition)
    S = len(each.names)
    if S != 1:
        of = "base model" if each.group == "baseline" else f"mean of {S}"
        yield *labels, of, number(each.mean), *limit_cells(each.limits)
    for name, mean in zip(each.names, each.mean_S, strict=True):
        yield *labels, name, number(float(mean)), MISSING, MISSING
