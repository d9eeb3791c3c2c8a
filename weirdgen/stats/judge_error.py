"""Carry a judge's errors into estimates, by gold labels or a second judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from weirdgen.config.claims import CONTRASTS, ContrastName
from weirdgen.stats.metric_arrays import Group

BASELINE = "baseline"
"""In a group's place: the base model."""


@dataclass(frozen=True)
class Gold:
    """Gold minus judge in one stratum (a condition of a fraction, or of the baseline)."""

    difference: float
    """Mean over the gold-labelled responses; added to the judge's mean."""
    variance: float
    """Of that mean."""
    n: int


def gold_correction(gold_N: np.ndarray, judge_N: np.ndarray) -> Gold:
    """Mean of (gold - judge) over n responses, labels in [0, 1], and the variance of that mean.

    Difference estimator: Cochran (1977), Sampling Techniques; Angelopoulos et al. (2023),
    prediction-powered inference. Assumes that the n were sampled at random within the stratum.
    Where no label differs the variance is that of one more response that does, in n + 2, for agreement
    in n is not certainty. Raises ValueError for fewer than two responses or unequal lengths.
    """
    gold_N, judge_N = np.asarray(gold_N, float), np.asarray(judge_N, float)
    if gold_N.shape != judge_N.shape or gold_N.ndim != 1 or len(gold_N) < 2:
        raise ValueError("gold_correction: needs two equally long lists of two labels or more")
    d_N = gold_N - judge_N
    n = len(d_N)
    least = (1 / (n + 2)) * (1 - 1 / (n + 2)) / n
    return Gold(float(d_N.mean()), max(float(d_N.var(ddof=1)) / n, least), n)


def shift_of(
    contrast: ContrastName, group: Group, gold: Mapping[tuple[Group, str], Gold]
) -> tuple[float, float] | None:
    """What gold labels add to a contrast, and its variance; None where a stratum has none.

    `gold` maps (fraction, `adapters` or `baseline`; condition) to its stratum. Strata are
    independent samples, so their variances add.
    """
    of = CONTRASTS[contrast]
    shift = variance = 0.0
    for condition, sign, of_reference in of.terms:
        reference = BASELINE if of.reference == "baseline" else 0.0
        stratum = gold.get((reference if of_reference else group, condition))
        if stratum is None:
            return None
        shift += sign * stratum.difference
        variance += stratum.variance
    return shift, variance


def two_judges(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels that both judges give (AND), and that either gives (OR), elementwise, in [0, 1].

    The truth lies between them wherever at most one judge is wrong about a response. A NaN of either
    stays one. Graded labels take the smaller and the larger. Raises ValueError for unequal shapes.
    """
    first, second = np.asarray(first, float), np.asarray(second, float)
    if first.shape != second.shape:
        raise ValueError(f"two judges: shapes {first.shape} and {second.shape}")
    return np.minimum(first, second), np.maximum(first, second)
