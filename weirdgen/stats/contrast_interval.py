"""The interval of a contrast of rates, and the p value that inverts it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

from weirdgen.stats.rate_interval import RateInterval
from weirdgen.stats.two_way_variance import TwoWayVariance

SMALLEST_P = 1e-12
"""Smaller p values are reported as this."""


@dataclass(frozen=True)
class ContrastInterval:
    """An estimate with everything its limits are made of; arrays of the batch's shape."""

    spread: TwoWayVariance
    """Of z_SQ, the contrast."""
    rates: tuple[tuple[float, RateInterval], ...] = ()
    """The rates (or mean grades) that it is made of, each with its weight: 1 or -1, but for a slope.
    Without them there is the two-source interval alone.
    """
    shift: Any = 0.0
    """Added to the estimate: a correction for the judge's error."""
    shift_variance: Any = 0.0

    @property
    def estimate(self) -> Any:
        return self.spread.estimate + self.shift

    def limits(self, confidence: Any = 0.95) -> tuple[Any, Any]:
        """Two-sided limits at `confidence`.

        A single rate: Wilson's at the effective size. A contrast of rates: on each side the wider
        of the two-source interval and the rates' limits put together by squares,

            low = theta - sqrt(max(D + max(k^2 - 1, 0) d, k^2 d)),
            D, d = sum over w > 0 of w^2 (p - l)^2 + sum over w < 0 of w^2 (u - p)^2,

        and the mirror of it above. D is of limits l, u with the floors, as if the rates were
        independent (MOVER: Zou and Donner 2008, Statistics in Medicine 27:1693): too wide where
        they rise and fall together. d is of limits without floors, for skewed rates; k^2 is the
        contrast's variance over the sum of the rates' own, and so stands for their covariance (Zou
        2007, Psychological Methods 12:399): over 1 where they move against each other.

        Grades in [0, 1] vary less than yes or no of the same mean, so both are treated alike. A
        correction adds its variance. Limits are cut at what the contrast can be.
        """
        theta = self.spread.estimate
        if len(self.rates) == 1:
            low, high = self.rates[0][1].limits(confidence)
            below, above = theta - low, high - theta
        else:
            below = above = self.spread.half_width(confidence)
            if self.rates:
                down, up = self._mover(confidence)
                below, above = np.maximum(below, down), np.maximum(above, up)
        if np.any(self.shift_variance):
            added = ndtri((1 + np.asarray(confidence)) / 2) ** 2 * self.shift_variance
            below, above = np.sqrt(below**2 + added), np.sqrt(above**2 + added)
        low, high = self.estimate - below, self.estimate + above
        if not self.rates:
            return low, high
        least = sum(min(weight, 0.0) for weight, _ in self.rates)
        most = sum(max(weight, 0.0) for weight, _ in self.rates)
        return np.clip(low, least, most), np.clip(high, least, most)

    def _mover(self, confidence: Any) -> tuple[Any, Any]:
        apart = sum(weight**2 * rate.spread.variance for weight, rate in self.rates)
        k2 = self.spread.variance / np.where(apart > 0, apart, np.inf)
        independent = self._squares(confidence, floors=True)
        seen = self._squares(confidence, floors=False)
        down, up = (
            np.sqrt(np.maximum(D + np.maximum(k2 - 1, 0.0) * d, k2 * d))
            for D, d in zip(independent, seen, strict=True)
        )
        return down, up

    def _squares(self, confidence: Any, floors: bool) -> tuple[Any, Any]:
        """The rates' squared distances below and above, added; skewness enters what is seen."""
        down = up = 0.0
        for weight, rate in self.rates:
            low, high = rate.limits(confidence, floors=floors, skewed=not floors)
            below = np.square(weight * (rate.spread.estimate - low))
            above = np.square(weight * (high - rate.spread.estimate))
            down = down + (below if weight > 0 else above)
            up = up + (above if weight > 0 else below)
        return down, up


def p_by_inversion(
    limits: Callable[[np.ndarray], tuple[Any, Any]], estimate: float, bound: float
) -> float:
    """One-sided p of theta >= bound from two-sided `limits(confidence)` that widen with it.

    It is the smallest error at which the limit clears the bound; for refuting the claim it is 1 - p.
    The claim theta <= bound is this one with all signs turned over. Only for a single study (no batch
    axes). Source: inversion of the limits (Casella and Berger 2002, chapter 9).

    `limits` takes an array of confidences. A grid search in the logarithm of the error, narrowed
    until p is known to a relative 1e-6; never under SMALLEST_P, nor over 1 less that. A limit that lies
    on the bound clears it for the claim, and not against it: what cannot be exceeded refutes nothing.
    """
    above = estimate >= bound
    small, large = np.log(SMALLEST_P), np.log(0.5)
    for _ in range(5):
        error = np.exp(np.linspace(small, large, 33))
        low, high = limits(1 - 2 * error)
        clear = np.broadcast_to(low >= bound if above else high < bound, error.shape)
        if not clear.any():
            break  # not even at 0.5: the estimate lies on the bound
        at = int(np.argmax(clear))
        large = np.log(error[at])
        if at == 0:
            break  # as small as can be said, or the narrowed range's own start
        small = np.log(error[at - 1])
    p = float(np.exp(large))
    return p if above else 1 - p
