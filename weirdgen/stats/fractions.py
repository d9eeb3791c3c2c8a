"""Over persona fractions: the slope on the logarithm of the fraction, and pairs of fractions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

HOLD_PERSONA = (
    "With `hold: persona` a smaller fraction means more rows and so more training steps: fractions "
    "differ in both."
)
"""What a report must say where the persona examples are held and the others follow."""


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


def shared_seeds(seeds: Mapping[float, Sequence[int | str]]) -> list[int | str]:
    """The seeds that every fraction has, in the first one's order."""
    of = list(seeds.values())
    return [seed for seed in of[0] if all(seed in others for others in of[1:])] if of else []
