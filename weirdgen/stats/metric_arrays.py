"""The arrays that the statistics read: one metric of one study."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

Group = float | str
"""A persona fraction, or `adapters`, those that existed before."""


def group_label(group: Group) -> str:
    """`0.1`, or `adapters`."""
    return group if isinstance(group, str) else f"{group:g}"


@dataclass(frozen=True)
class MetricArrays:
    """Rates in [0, 1] by group, condition, seed and question; NaN where nothing was answered."""

    metric: str
    seeds: Mapping[Group, tuple[int | str, ...]]
    """Group -> its seeds, the axis S."""
    y_SQ: Mapping[Group, Mapping[str, np.ndarray]]
    """Group -> condition -> mean over the samples that have a label."""
    n_SQ: Mapping[Group, Mapping[str, np.ndarray]]
    """Group -> condition -> the number of samples with a label."""
    b_Q: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Condition -> the base model's rates; empty where it was not asked."""
    n_Q: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Condition -> the number of labelled samples behind each baseline rate."""
    graded: bool = False
    """Whether a response has a number in [0, 1], not a yes or no."""
    asked_SQ: Mapping[Group, Mapping[str, np.ndarray]] = field(default_factory=dict)
    """Group -> condition -> samples that were to be labelled; by default `n_SQ`."""
    asked_Q: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Of the baseline."""
    v_SQ: Mapping[Group, Mapping[str, np.ndarray]] = field(default_factory=dict)
    """Graded: variance (n - 1) of a cell's samples; absent: m(1 - m), the most it can be."""
    failed: Mapping[Group, int] = field(default_factory=dict)
    """Group -> training runs that failed, and so have no row."""

    def __post_init__(self) -> None:
        asked_SQ = {
            group: {c: self.asked_SQ.get(group, {}).get(c, n_SQ) for c, n_SQ in by.items()}
            for group, by in self.n_SQ.items()
        }
        object.__setattr__(self, "asked_SQ", asked_SQ)
        asked_Q = {c: self.asked_Q.get(c, n_Q) for c, n_Q in self.n_Q.items()}
        object.__setattr__(self, "asked_Q", asked_Q)

    @property
    def n_missing(self) -> int:
        """Samples without a label, the baseline's included."""
        cells = [(self.asked_Q, self.n_Q)]
        cells += [(asked, self.n_SQ[group]) for group, asked in self.asked_SQ.items()]
        return sum(int((asked[c] - n[c]).sum()) for asked, n in cells for c in asked)


def worst_cases(cube: MetricArrays) -> tuple[MetricArrays, MetricArrays]:
    """`cube` with each missing label taken as 0, and with each taken as 1 (Manski 1989 bounds).

    Both have every asked sample. Nothing is assumed of why a label is missing. What was never
    asked (0 of 0) stays NaN.
    """

    def filled(value: float) -> MetricArrays:
        y_SQ = {
            g: {c: _filled(y, cube.n_SQ[g][c], cube.asked_SQ[g][c], value) for c, y in by.items()}
            for g, by in cube.y_SQ.items()
        }
        b_Q = {c: _filled(b, cube.n_Q[c], cube.asked_Q[c], value) for c, b in cube.b_Q.items()}
        return replace(cube, y_SQ=y_SQ, b_Q=b_Q, n_SQ=cube.asked_SQ, n_Q=cube.asked_Q)

    return filled(0.0), filled(1.0)


def _filled(y: np.ndarray, n: np.ndarray, asked: np.ndarray, value: float) -> np.ndarray:
    known = np.where(n > 0, np.nan_to_num(y), 0.0) * n
    total = known + value * (asked - n)
    return np.where(asked > 0, total / np.maximum(asked, 1), np.nan)
