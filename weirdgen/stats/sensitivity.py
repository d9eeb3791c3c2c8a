"""Sensitivity rows: other tests on the same table, and their known flaws."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri, stdtr, stdtrit

LEAST_SEEDS = 10
"""Fewer seeds show no bootstrap and no sign flips: sign flips cannot go below 2^-S."""
NAIVE_NOTE = "takes every response for independent: far too narrow, see docs/CALIBRATION.md"
SEED_T_NOTE = "takes these questions for all there are: too narrow for questions like these"
FLIP_NOTE = "of seed means: speaks of exactly these questions"


class Naive(NamedTuple):
    """Numbers, or arrays of a batch's shape."""

    estimate: Any
    low: Any
    high: Any
    p: Any
    """Two-sided, of a mean of 0."""


def sign_flip(theta_NS: np.ndarray, seed: int = 0, resamples: int = 9_999) -> np.ndarray:
    """Two-sided p that each of N rows of S seed means is symmetric about 0 (scipy permutation_test).

    All 2^S flips where they are no more than `resamples`; else that many random ones, with the
    observed one counted in. Source: Fisher's randomization test; Good (2005). Assumes that a
    seed's contrast is symmetric about 0 under the hypothesis. A row of zeros has p = 1.
    """
    from scipy.stats import permutation_test

    result = permutation_test(
        (np.round(np.asarray(theta_NS, dtype=np.float64), 12),),
        lambda x, axis: np.mean(x, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=500,
        axis=-1,
        rng=np.random.default_rng(seed),
    )
    return np.minimum(np.atleast_1d(result.pvalue), 1.0)


def pooled(y_SQ: np.ndarray, n_SQ: np.ndarray, x_SQ: np.ndarray, m_SQ: np.ndarray) -> Naive:
    """The naive two-sample z test of rates y of n responses and x of m, every response independent.

    Wald's interval, as statsmodels `confint_proportions_2indep(method="wald")`; the p inverts it. A
    difference without variance has no width, and p = 0 or 1. Leading axes are a batch.
    """
    n, m = n_SQ.sum(axis=(-2, -1)), m_SQ.sum(axis=(-2, -1))
    p, q = (y_SQ * n_SQ).sum(axis=(-2, -1)) / n, (x_SQ * m_SQ).sum(axis=(-2, -1)) / m
    se = np.sqrt(p * (1 - p) / n + q * (1 - q) / m)
    return _naive(p - q, se, ndtri(0.975), ndtr)


def seed_t(theta_S: np.ndarray) -> Naive:
    """Student's t over seed means (scipy `ttest_1samp`), S at least 2: questions taken as fixed.

    Leading axes are a batch. Equal means have no width, and p = 0 or 1.
    """
    S = theta_S.shape[-1]
    se = theta_S.std(axis=-1, ddof=1) / np.sqrt(S)
    return _naive(theta_S.mean(axis=-1), se, stdtrit(S - 1, 0.975), lambda t: stdtr(S - 1, t))


def _naive(mean: Any, se: Any, quantile: float, below: Callable[[Any], Any]) -> Naive:
    varies = se > 1e-12
    t = -np.abs(mean) / np.where(varies, se, 1.0)
    p = np.where(varies, 2 * below(t), np.where(np.abs(mean) < 1e-12, 1.0, 0.0))
    return Naive(mean, mean - quantile * se, mean + quantile * se, p)
