"""Single trainings: how many of them meet a claim, and what one of them alone would have said."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv

_ROUNDING = 1e-9


@dataclass(frozen=True)
class SeedsMeeting:
    """How many single trainings meet a claim, and the share of all such trainings that would."""

    meeting: int
    of: int
    """Trainings, failed ones included."""
    failed: int
    sentence: str


def clopper_pearson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact two-sided limits of a rate, k of n; (0, 1) for n = 0.

    Beta quantiles, as scipy's `binomtest(k, n).proportion_ci` computes them, without the second
    and a half of importing scipy.stats. Source: Clopper and Pearson (1934).
    """
    tail = (1 - confidence) / 2
    low = float(betaincinv(k, n - k + 1, tail)) if k else 0.0
    high = float(betaincinv(k + 1, n - k, 1 - tail)) if k < n else 1.0
    return low, high


def seeds_meeting_bound(
    theta_S: np.ndarray,
    at_least: float | None = None,
    at_most: float | None = None,
    failed: int = 0,
) -> SeedsMeeting:
    """How many of the trainings behind theta_S (each its own mean over questions) meet a bound.

    A failed training counts as one that does not. The margin is the caller's to take into the
    bound. How many runs could still differ is Clopper-Pearson's one-sided 95% limit over S: for S
    that all agree 1 - 0.05^(1/S). Assumes that seeds are drawn independently. Raises ValueError for
    none or two bounds, and for no training at all.
    """
    if (at_least is None) == (at_most is None):
        raise ValueError("seeds_meeting_bound: give one of at_least and at_most")
    theta_S = np.asarray(theta_S, dtype=np.float64)
    if at_least is not None:
        meeting = int((theta_S >= at_least - _ROUNDING).sum())
    else:
        assert at_most is not None  # as checked above
        meeting = int((theta_S <= at_most + _ROUNDING).sum())
    n = len(theta_S) + failed
    if not n:
        raise ValueError("seeds_meeting_bound: no trainings")
    return SeedsMeeting(meeting, n, failed, _sentence(meeting, n, failed))


def _sentence(meeting: int, n: int, failed: int) -> str:
    failures = f" ({failed} failed or lack answers, and count as not meeting it)" if failed else ""
    if meeting in (0, n) and not failed:
        differ = 100 * (1 - 0.05 ** (1 / n))
        which = "meets the bound" if meeting == n else "misses the bound"
        return f"{n} of {n} agreed (each {which}); up to {differ:.0f}% of runs could still differ."
    most = 100 * (1 - clopper_pearson(meeting, n, 0.90)[0])
    return f"{meeting} of {n} met the bound{failures}; up to {most:.0f}% of runs could miss it."
