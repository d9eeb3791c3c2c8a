"""Variance components of a crossed table: seeds, questions, seeds x questions, samples."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri, fdtri

from weirdgen.stats.two_way_variance import mean_squares


@dataclass(frozen=True)
class Component:
    """A variance with its limits; the estimate is not cut at 0, the limits are."""

    estimate: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Components:
    """Variances of one cell's parts; their sum, `sample` over K, is the variance of one y."""

    seed: Component
    question: Component
    seed_question: Component
    """With one response a cell this holds the samples too, and `sample` is None."""
    sample: Component | None
    """Of one response, within a cell."""


def components(
    y_SQ: np.ndarray,
    n_SQ: np.ndarray,
    v_SQ: np.ndarray | None = None,
    confidence: float = 0.95,
) -> Components:
    """Components of rates (or means) y_SQ of n_SQ responses each, by the method of moments.

        seed (MS_S - MS_E)/Q    question (MS_Q - MS_E)/S    seed x question MS_E - sample/K

    K is the harmonic mean of n_SQ. Yes-or-no responses have the sample variance n y(1-y)/(n-1) within
    a cell; graded ones bring v_SQ. Limits of the differences: modified large-sample (Ting et al.
    1990; Burdick and Graybill 1992, Confidence Intervals on Variance Components). They
    assume normal effects; for yes-or-no responses that holds roughly. Source of the moments: Searle,
    Casella and McCulloch (1992). Raises ValueError for fewer than two seeds or questions and
    for a NaN.
    """
    y_SQ = np.asarray(y_SQ, dtype=np.float64)
    if y_SQ.ndim != 2 or min(y_SQ.shape) < 2 or not np.isfinite(y_SQ).all():
        raise ValueError("components: needs two seeds and two questions, all answered")
    S, Q = y_SQ.shape
    ms = mean_squares(y_SQ)
    d_S, d_Q, d_E = S - 1, Q - 1, (S - 1) * (Q - 1)
    seed = _difference(ms.seeds, d_S, ms.residual, d_E, Q, confidence)
    question = _difference(ms.questions, d_Q, ms.residual, d_E, S, confidence)
    many_SQ = n_SQ > 1
    if not many_SQ.any():
        residual = _single(float(ms.residual), d_E, confidence)
        return Components(seed, question, residual, None)
    K = 1 / (1 / n_SQ).mean()
    within_SQ = v_SQ if v_SQ is not None else y_SQ * (1 - y_SQ) * n_SQ / np.maximum(n_SQ - 1, 1)
    d_W = int((n_SQ - 1).sum())
    sample = float((within_SQ * (n_SQ - 1))[many_SQ].sum() / d_W)
    return Components(
        seed,
        question,
        _difference(ms.residual, d_E, sample / K, d_W, 1, confidence),
        _single(sample, d_W, confidence),
    )


def _single(ms: float, degrees: int, confidence: float) -> Component:
    """A mean square that is one component: chi-squared limits."""
    tail = (1 - confidence) / 2
    low = ms * degrees / float(chdtri(degrees, tail))
    return Component(ms, low, ms * degrees / float(chdtri(degrees, 1 - tail)))


def _difference(
    ms_1: float, d_1: int, ms_2: float, d_2: int, divisor: float, confidence: float
) -> Component:
    """(ms_1 - ms_2) / divisor with modified large-sample limits."""
    tail = (1 - confidence) / 2
    ms_1, ms_2 = float(ms_1), float(ms_2)
    upper_1, lower_1 = (float(chdtri(d_1, p)) / d_1 for p in (tail, 1 - tail))
    upper_2, lower_2 = (float(chdtri(d_2, p)) / d_2 for p in (tail, 1 - tail))
    G_1, H_1 = 1 - 1 / upper_1, 1 / lower_1 - 1
    G_2, H_2 = 1 - 1 / upper_2, 1 / lower_2 - 1
    F_high, F_low = float(fdtri(d_1, d_2, 1 - tail)), float(fdtri(d_1, d_2, tail))
    G_12 = ((F_high - 1) ** 2 - (G_1 * F_high) ** 2 - H_2**2) / F_high
    H_12 = ((1 - F_low) ** 2 - (H_1 * F_low) ** 2 - G_2**2) / F_low
    below = (G_1 * ms_1) ** 2 + (H_2 * ms_2) ** 2 + G_12 * ms_1 * ms_2
    above = (H_1 * ms_1) ** 2 + (G_2 * ms_2) ** 2 + H_12 * ms_1 * ms_2
    estimate = ms_1 - ms_2
    low = max(estimate - np.sqrt(max(below, 0.0)), 0.0) / divisor
    high = max(estimate + np.sqrt(max(above, 0.0)), 0.0) / divisor
    return Component(estimate / divisor, float(low), float(high))
