"""The two-source interval: training seeds and questions as two crossed sources of noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit  # scipy.stats has it too, and takes 1.5 s to import


@dataclass(frozen=True)
class Interval:
    """An estimate and its two-sided limits, in the unit of what was estimated."""

    estimate: float
    low: float | None
    """None, like `high`, where one seed or one question leaves nothing to estimate noise from."""
    high: float | None
    n_seeds: int
    n_questions: int


class MeanSquares(NamedTuple):
    """Mean squares of a seeds x questions table without replication."""

    seeds: float
    """S - 1 degrees of freedom."""
    questions: float
    """Q - 1 degrees of freedom."""
    residual: float
    """(S - 1)(Q - 1) degrees of freedom: interaction and sampling, not told apart."""


def mean_squares(z_SQ: np.ndarray) -> MeanSquares:
    """Two-way analysis of variance without replication; S and Q are at least 2."""
    S, Q = z_SQ.shape
    seed_S = z_SQ.mean(axis=1) - z_SQ.mean()
    question_Q = z_SQ.mean(axis=0) - z_SQ.mean()
    residual_SQ = z_SQ - z_SQ.mean() - seed_S[:, None] - question_Q[None, :]
    return MeanSquares(
        seeds=float(Q * (seed_S**2).sum() / (S - 1)),
        questions=float(S * (question_Q**2).sum() / (Q - 1)),
        residual=float((residual_SQ**2).sum() / ((S - 1) * (Q - 1))),
    )


def two_source(z_SQ: np.ndarray, confidence: float = 0.95) -> Interval:
    """The mean of z_SQ over seeds and questions, and its two-source interval.

        mean ± sqrt([t(S-1)^2 max(MS_S, MS_E) + t(Q-1)^2 max(MS_Q - MS_E, 0)] / (S Q))

    t(d) is Student's two-sided quantile with d degrees of freedom. It covers seeds and questions
    like these, is not clipped to what the estimand can be, and has no floor: a table whose numbers
    are all equal has no width. Raises ValueError for a NaN, an infinity, an empty table or one
    that is not two-dimensional, and for a confidence outside (0, 1).
    """
    z_SQ = np.asarray(z_SQ, dtype=np.float64)
    if z_SQ.ndim != 2 or not z_SQ.size:
        raise ValueError(f"z_SQ must be a table of seeds x questions, not shape {z_SQ.shape}")
    if not np.isfinite(z_SQ).all():
        raise ValueError(f"z_SQ: {(~np.isfinite(z_SQ)).sum()} of {z_SQ.size} numbers are missing")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, not {confidence}")
    S, Q = z_SQ.shape
    estimate = float(z_SQ.mean())
    if S == 1 or Q == 1:
        return Interval(estimate, None, None, S, Q)
    ms = mean_squares(z_SQ)
    t_S, t_Q = stdtrit([S - 1, Q - 1], (1 + confidence) / 2)
    from_seeds = t_S**2 * max(ms.seeds, ms.residual)
    from_questions = t_Q**2 * max(ms.questions - ms.residual, 0.0)
    half = float(np.sqrt((from_seeds + from_questions) / (S * Q)))
    return Interval(estimate, estimate - half, estimate + half, S, Q)
