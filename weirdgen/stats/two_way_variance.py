"""The two-way interval: training seeds and questions as two crossed sources of noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy.special import ndtri, stdtrit  # scipy.stats has them too, and takes 1.5 s to import

Target = Literal["seeds and questions", "seeds", "this adapter"]
"""What an interval speaks of: seeds and questions like these; seeds like these on exactly these
questions; or, where there is one seed, this adapter alone.
"""


class MeanSquares(NamedTuple):
    """Mean squares of a seeds x questions table without replication; leading axes are a batch."""

    seeds: Any
    """S - 1 degrees of freedom."""
    questions: Any
    """Q - 1 degrees of freedom."""
    residual: Any
    """(S - 1)(Q - 1) degrees of freedom: interaction and sampling, not told apart."""


def mean_squares(z_SQ: np.ndarray) -> MeanSquares:
    """Two-way analysis of variance without replication; S and Q are at least 2.

    z_SQ may have leading batch axes; each mean square has their shape. Source: Searle, Casella and
    McCulloch (1992), Variance Components. No assumption: these are sums of squares.
    """
    S, Q = z_SQ.shape[-2:]
    row_S, column_Q = z_SQ.mean(axis=-1), z_SQ.mean(axis=-2)
    mean = row_S.mean(axis=-1)
    residual_SQ = z_SQ - row_S[..., :, None]
    residual_SQ -= (column_Q - mean[..., None])[..., None, :]
    ss_S = np.square(row_S - mean[..., None]).sum(axis=-1)
    ss_Q = np.square(column_Q - mean[..., None]).sum(axis=-1)
    return MeanSquares(
        seeds=Q * ss_S / (S - 1),
        questions=S * ss_Q / (Q - 1),
        residual=np.einsum("...sq,...sq->...", residual_SQ, residual_SQ) / ((S - 1) * (Q - 1)),
    )


@dataclass(frozen=True)
class TwoWayVariance:
    """A mean and the variances that its noise is made of; each an array of the batch's shape."""

    estimate: Any
    seeds: Any
    """Variance of the mean from seeds, S - 1 degrees of freedom."""
    questions: Any
    """Variance of the mean from questions, Q - 1 degrees of freedom; 0 for exactly these."""
    sampled: Any
    """Variance of the mean from the baseline's finite number of responses: known, not estimated from
    this table. For seeds and questions like these it is part of `questions` already, and only a
    lower limit to it; for exactly these questions it is added.
    """
    n_seeds: int
    n_questions: int
    target: Target = "seeds and questions"

    @property
    def variance(self) -> Any:
        """Of the mean."""
        if self.target == "seeds and questions":
            return self.seeds + np.maximum(self.questions, self.sampled)
        return self.seeds + self.sampled

    def half_width(self, confidence: Any = 0.95) -> Any:
        """Half the two-sided interval: sqrt(t(S-1)^2 seeds + max(t(Q-1)^2 questions, z^2 sampled)),

            sqrt([t(S-1)^2 max(MS_S, MS_E) + t(Q-1)^2 max(MS_Q - MS_E, 0)] / (S Q))

        without a baseline. It has no floor: a table whose numbers are all equal has no width. t and z
        are two-sided quantiles of Student and of the normal at `confidence`.
        """
        upper = (1 + np.asarray(confidence)) / 2
        half = stdtrit(max(self.n_seeds - 1, 1), upper) ** 2 * self.seeds
        others = ndtri(upper) ** 2 * self.sampled
        if self.target == "seeds and questions":
            t_Q = stdtrit(max(self.n_questions - 1, 1), upper)
            others = np.maximum(others, t_Q**2 * self.questions)
        return np.sqrt(half + others)


def spread(
    z_SQ: np.ndarray, target: Target = "seeds and questions", sampled: Any = 0.0
) -> TwoWayVariance:
    """The variances behind the mean of z_SQ (leading axes are a batch).

        seeds      max(MS_S, MS_E) / (S Q)
        questions  max(MS_Q - MS_E, 0) / (S Q), or 0 for exactly these questions

    A baseline that was subtracted has no seed: its sampling noise is the same in every row, so it
    raises MS_Q and enters `questions`; on exactly these questions nothing in the table shows it,
    and `sampled`, its variance in the mean, must bring it. The target "seeds" needs two seeds, the
    target "seeds and questions" two of each: else ValueError. Assumes that seeds are exchangeable.
    """
    S, Q = z_SQ.shape[-2:]
    if S < 2 or (Q < 2 and target == "seeds and questions"):
        raise ValueError(f"{S} x {Q} seeds x questions: no noise of {target} can be estimated")
    mean = z_SQ.mean(axis=(-2, -1))
    if Q == 1:
        seeds = z_SQ[..., 0].var(axis=-1, ddof=1) / S
        return TwoWayVariance(mean, seeds, np.zeros_like(mean), sampled, S, Q, target)
    ms = mean_squares(z_SQ)
    questions = np.maximum(ms.questions - ms.residual, 0.0) / (S * Q)
    if target == "seeds":
        questions = np.zeros_like(questions)
    return TwoWayVariance(
        mean, np.maximum(ms.seeds, ms.residual) / (S * Q), questions, sampled, S, Q, target
    )
