"""The interval of a contrast of rates, and the p value that inverts it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import ndtri

from weirdgen.stats.rate import RateSpread
from weirdgen.stats.two_source import Spread

SMALLEST_P = 1e-12
"""Smaller p values are reported as this."""


@dataclass(frozen=True)
class Combined:
    """An estimate with everything its limits are made of; arrays of the batch's shape."""

    spread: Spread
    """Of z_SQ, the contrast."""
    rates: tuple[tuple[float, RateSpread], ...] = ()
    """The rates that it is made of, each with its weight (1 or -1, but for a slope); empty for a
    graded metric.
    """
    shift: Any = 0.0
    """Added to the estimate: a correction for the judge's error."""
    shift_variance: Any = 0.0

    @property
    def estimate(self) -> Any:
        return self.spread.estimate + self.shift

    @property
    def is_degenerate(self) -> bool:
        """Nothing in the table varies and no floor stands in for it: no interval can be given."""
        return not self.rates and not bool(np.any(self.spread.half_width(0.95) > 1e-12))

    def limits(self, confidence: Any = 0.95) -> tuple[Any, Any]:
        """Two-sided limits at `confidence`.

        A single rate: Wilson's at the effective size. A contrast of rates: on each side the wider
        of the two-source interval and the rates' limits put together as if they were independent
        (MOVER: Zou and Donner 2008, Statistics in Medicine 27:1693),

            low = theta - sqrt(sum over w > 0 of w^2 (p - l)^2 + sum over w < 0 of w^2 (u - p)^2),

        and the mirror of it above. A graded metric: the two-source interval. A correction adds its
        variance. Limits are cut at what the contrast can be.
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
        return np.maximum(low, least), np.minimum(high, most)

    def _mover(self, confidence: Any) -> tuple[Any, Any]:
        down = up = 0.0
        for weight, rate in self.rates:
            low, high = rate.limits(confidence)
            below = np.square(weight * (rate.spread.estimate - low))
            above = np.square(weight * (high - rate.spread.estimate))
            down = down + (below if weight > 0 else above)
            up = up + (above if weight > 0 else below)
        return np.sqrt(down), np.sqrt(up)

    def p_at_least(self, bound: float) -> float:
        """One-sided p of the claim theta >= bound: the smallest error at which the limit clears it.

        For the claim theta <= bound, and so for refuting this one, it is 1 - p. Only for a single
        study (no batch axes). Source: inversion of the limits (Casella and Berger 2002, 9.2.1).
        """
        return p_by_inversion(self.limits, float(self.estimate), bound)


def p_by_inversion(
    limits: Callable[[np.ndarray], tuple[Any, Any]], estimate: float, bound: float
) -> float:
    """One-sided p of theta >= bound from two-sided `limits(confidence)` that widen with it.

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
