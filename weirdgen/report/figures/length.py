"""How long responses are, of each training run and of the base model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from weirdgen.report.figures.layout import ReportFigure, finished, mark, panels, spread_out
from weirdgen.report.figures.levels import Level, draw_condition, level_rows
from weirdgen.report.figures.style import BASELINE_MARK, condition_mark, styled
from weirdgen.report.rates import CONDITIONS, group_order, row_groups
from weirdgen.report.table import number
from weirdgen.stats.judge_error import BASELINE
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
        """The baseline, fractions in order, then `adapters`."""
        return sorted({*self.group_N.tolist()}, key=group_order)

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
    return Lengths(
        "tokens" if whole else "words",
        np.array(lengths, dtype=np.float64),
        np.array(table["condition"].to_pylist()),
        np.array(row_groups(table), dtype=object),
        np.array(table["adapter"].to_pylist(), dtype=object),
    )


@styled
def lengths_figure(table: pa.Table, subtitle: str) -> ReportFigure:
    """Mean length by group and condition."""
    of = lengths_of(table)
    found, groups = list(_levels(of)), of.groups
    several = any(len(each.seeds) > 1 for _, _, each in found)
    width = min(max(5.0, 1.2 + 1.1 * len(groups)), 8.7)
    figure, axes = panels(1, 1, width, 3.0)
    panel = axes[0, 0]
    panel.dress()
    panel.categories([group_label(group) for group in groups], width - 0.8)
    panel.set_xlabel("persona fraction" if any(isinstance(g, float) for g in groups) else "")
    offsets = dict(zip(of.conditions, spread_out(len(of.conditions), 0.25), strict=True))
    for group, condition, each in found:
        at, S = groups.index(group) + offsets[condition], len(each.seeds)
        at_S = at - 0.09 + spread_out(S, 0.05)
        draw_condition(panel, condition, at + 0.05 * (S > 1), each, at_S)
    panel.set_ylim(0, 1.08 * max(panel.dataLim.ymax, 1.0))
    panel.name_axis("y", f"mean length, {of.unit}", 2)
    handles = [mark(c, **condition_mark(c)) for c in of.conditions]
    if BASELINE in groups:
        handles.append(mark("open marks: baseline", **BASELINE_MARK))
    said = [f"{group_label(group)}, {c}: {number(each.mean)}" for group, c, each in found]
    return finished(
        figure, "response-lengths", TITLE, subtitle, handles,
        caption=_CAPTION.format(unit=of.unit, means=_MEANS if several else "one training run"),
        alt=f"Mean {of.unit}. {'; '.join(said)}.",
        columns=("fraction", "condition", "of", f"mean {of.unit}", "low", "high"),
        sections=(level_rows((group_label(group), c), each) for group, c, each in found),
        note="95% limits, t over seeds.",
        n_labels=3,
    )  # fmt: skip


def _levels(of: Lengths) -> Iterator[tuple[Group, str, Level]]:
    """Group, condition and mean length over responses, and then over training runs."""
    for group in of.groups:
        for condition in of.conditions:
            here_N = (of.group_N == group) & (of.condition_N == condition)
            if not here_N.any():
                continue
            if group == BASELINE:
                yield group, condition, Level((), np.array([]), float(of.length_N[here_N].mean()))
                continue
            names = sorted({*of.replicate_N[here_N].tolist()})
            mean_S = np.array(
                [of.length_N[here_N & (of.replicate_N == name)].mean() for name in names]
            )
            t = seed_t(mean_S) if len(names) > 1 else None
            limits = t and (max(float(t.low), 0.0), float(t.high))
            yield group, condition, Level(tuple(names), mean_S, float(mean_S.mean()), limits)
