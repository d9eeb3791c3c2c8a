"""The slope of a contrast on the logarithm of the persona fraction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def slope_weights(fractions: Sequence[float]) -> np.ndarray:
    """Weights w_F whose sum over fractions of w z is the least-squares slope of z on log10(fraction).

    (x - mean x) / sum (x - mean x)^2; the slope is in z's unit per tenfold fraction. A contrast
    with fixed weights, so the intervals of a contrast hold for it; what all fractions share, such
    as the baseline, drops out. Raises ValueError for fewer than two fractions, for equal ones, and
    for a fraction of 0, which has no logarithm.
    """
    if len(set(fractions)) < max(len(fractions), 2):
        raise ValueError("slope: needs two different fractions or more")
    if min(fractions) <= 0:
        raise ValueError("slope: leave fraction 0 out, it has no logarithm")
    x_F = np.log10(np.asarray(fractions, dtype=np.float64))
    x_F = x_F - x_F.mean()
    return x_F / (x_F**2).sum()
