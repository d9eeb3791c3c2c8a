"""How many single training runs meet a claim, with an exact limit for runs to come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv

_ROUNDING = 1e-9


@dataclass(frozen=True)
class SeedsMeeting:
    """How many single training runs meet a claim, and the share of all such training runs that would."""

    meeting: int
    of: int
    """Training runs, failed ones included."""
    failed: int
    least: float
    most: float
    """One-sided 95% limits, Clopper-Pearson's, of the share of such training runs that would meet it."""


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact two-sided limits of a rate, k of n; (0, 1) for n = 0.

    Beta quantiles, as scipy's `binomtest(k, n).proportion_ci` computes them, without the second
    and a half of importing scipy.stats. Source: Clopper and Pearson (1934).
    """
    tail = (1 - confidence) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return low, high


def seeds_meeting_bound(theta_S: np.ndarray, at_least: float, failed: int = 0) -> SeedsMeeting:
    """How many of the training runs behind theta_S (each its own mean over questions) reach a bound.

    A failed training counts as one that does not. The bound includes the margin; for an upper
    bound, pass both with their signs turned over. If all of S meet it, at least a share of
    0.05^(1/S) of all such runs would. Assumes that seeds are drawn independently. Raises ValueError
    for no training run at all.
    """
    meeting = int((theta_S >= at_least - _ROUNDING).sum())
    n = len(theta_S) + failed
    if not n:
        raise ValueError("seeds_meeting_bound: no training runs")
    return SeedsMeeting(meeting, n, failed, *clopper_pearson(meeting, n, 0.90))
