"""The interval of a rate: Wilson's, at the number of independent responses that the data are worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtri

from weirdgen.stats.two_way_variance import Target, TwoWayVariance, spread


class Floors(NamedTuple):
    """The least intraclass correlation that is assumed where the data show less."""

    seeds: float = 0.05
    questions: float = 0.05
    skewed: float = 2.5
    """What both are multiplied by, at most, for rates near 0 or 1 of which both responses were seen:
    few seeds or questions then carry the rate, and a sample that lacks them shows too little
    spread. 1 leaves it out, and covers about 90% in the worst case simulated.
    """


FLOORS = Floors()
_UNBOUNDED = 1e12


def wilson(p: Any, n: Any, confidence: Any = 0.95) -> tuple[Any, Any]:
    """Wilson's score limits of a rate `p` in [0, 1] of `n` > 0 independent responses; both broadcast.

    n need not be whole. The lower limit at p = 0 and the upper at p = 1 are exactly 0 and 1.
    Source: Wilson (1927); Newcombe (1998) Statistics in Medicine 17:857, method 3.
    """
    p, z2 = np.asarray(p, dtype=np.float64), ndtri((1 + np.asarray(confidence)) / 2) ** 2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * np.square(n)))) / (1 + z2 / n)
    low = np.where(p <= 0, 0.0, np.clip(centre - half, 0, p))
    return low, np.where(p >= 1, 1.0, np.clip(centre + half, p, 1))


@dataclass(frozen=True)
class RateInterval:
    """A rate with what its interval is made of."""

    spread: TwoWayVariance
    most: Any
    """The most independent responses that the table may be worth, by the floors."""

    def limits(
        self, confidence: Any = 0.95, *, floors: bool = True, skewed: bool = True
    ) -> tuple[Any, Any]:
        """Wilson's limits at n_eff = min(z^2/x, most), x = h^2/(p(1-p)), h the two-source half-width.

        Without `floors` at z^2/x alone. If `skewed`, the limit towards 1/2 lies |1 - 2p| x/6 over
        (1 + z^2/n_eff) further out: Wilson moves the middle by (1/2)(1 - 2p) z^2/n; skewness asks
        for 1/3 of that product where responses are independent (Hall 1982, Biometrika 69:647; Cai
        2005, J. Statistical Planning and Inference 131:63), and for up to 2/3 where rates are
        Beta-distributed over seeds or questions: at the same variance their third moment is up to
        twice as large.
        """
        p, z2 = self.spread.estimate, ndtri((1 + np.asarray(confidence)) / 2) ** 2
        varies = p * (1 - p) > 0
        x = np.square(self.spread.half_width(confidence)) / np.where(varies, p * (1 - p), 1.0)
        x = np.where(varies, x, 0.0)
        most = self.most if floors else _UNBOUNDED
        n_eff = np.maximum(np.where(x * most > z2, z2 / np.where(x > 0, x, 1.0), most), 1e-9)
        low, high = wilson(p, n_eff, confidence)
        if not skewed:
            return low, high
        further = np.abs(1 - 2 * p) * x / (6 * (1 + z2 / n_eff))
        return (
            np.where(p > 0.5, np.maximum(low - further, 0.0), low),
            np.where(p < 0.5, np.minimum(high + further, 1.0), high),
        )


def rate_spread(
    y_SQ: np.ndarray,
    samples: Any,
    target: Target = "seeds and questions",
    floors: Floors = FLOORS,
) -> RateInterval:
    """A condition's rate over seeds and questions; y_SQ in [0, 1], leading axes are a batch.

    `samples` K is the number of responses behind each y (their harmonic mean where they differ). At
    most the table is worth 1 / (0.05/S + 0.05/Q + 0.90/(S Q K)) independent responses, where all
    agree, and down to two fifths of that for skewed ones: a design effect (Kish 1965) at the floors,
    which are assumptions and stand in the report. On exactly these questions the questions' floor
    is left out. Raises ValueError as `spread` does.
    """
    S, Q = y_SQ.shape[-2:]
    f_Q = floors.questions if target == "seeds and questions" else 0.0
    noise = spread(y_SQ, target)
    return RateInterval(
        noise, _most(noise.estimate, S, Q, samples, floors.seeds, f_Q, floors.skewed)
    )


def baseline_spread(
    b_Q: np.ndarray,
    samples: Any,
    target: Target = "seeds and questions",
    floors: Floors = FLOORS,
) -> RateInterval:
    """The base model's rate over questions; b_Q in [0, 1], leading axes are a batch.

    It has no seed: its noise is questions (its own, t with Q - 1 degrees of freedom) and sampling,
    or on exactly these questions sampling alone. Raises ValueError for one question of a kind.
    """
    Q = b_Q.shape[-1]
    mean, zero = b_Q.mean(axis=-1), np.zeros(b_Q.shape[:-1])
    sampled = sampling_variance(b_Q, samples)
    f_Q, questions = 0.0, zero
    if target == "seeds and questions":
        if Q < 2:
            raise ValueError("one question: no noise of questions can be estimated")
        f_Q, questions = floors.questions, b_Q.var(axis=-1, ddof=1) / Q
    noise = TwoWayVariance(mean, zero, questions, sampled, 1, Q, target)
    return RateInterval(noise, _most(mean, 1, Q, samples, 0.0, f_Q, floors.skewed))


def _most(p: Any, S: int, Q: int, samples: Any, f_S: float, f_Q: float, skewed: float) -> Any:
    """The most independent responses that S x Q x samples of rate p may be worth.

    1 / (f_S/S + f_Q/Q + (1 - f_S - f_Q)/(S Q K)), after the floors f were raised by the factor
    1 + (skewed - 1) |2p - 1| x/(1 + x), x = n p (1 - p) with n from the floors as they are. It is 1
    where all responses agree, and near `skewed` where p is near 0 or 1 and both responses were seen.
    """
    K = np.asarray(samples, dtype=np.float64)
    n = 1 / (f_S / S + f_Q / Q + (1 - f_S - f_Q) / (S * Q * K))
    x = n * p * (1 - p)
    factor = 1 + (skewed - 1) * np.abs(2 * p - 1) * x / (1 + x)
    f_S, f_Q = f_S * factor, f_Q * factor
    return 1 / (f_S / S + f_Q / Q + (1 - f_S - f_Q) / (S * Q * K))


def sampling_variance(b_Q: np.ndarray, samples: Any) -> Any:
    """Variance of the mean of b_Q over fixed questions that comes from `samples` responses a question.

    Yes-or-no responses: sum of b(1-b)/(K-1) over Q^2. Grades in [0, 1] vary less than that: of them
    it is an upper limit. With one response a question it cannot be seen, and the variance over all
    responses stands in: too large by what questions differ. `samples` may be one number or one a
    question.
    """
    Q = b_Q.shape[-1]
    K_Q = np.broadcast_to(np.asarray(samples, dtype=np.float64), b_Q.shape)
    mean = b_Q.mean(axis=-1, keepdims=True)
    own_Q = b_Q * (1 - b_Q) / np.maximum(K_Q - 1, 1)
    return np.where(K_Q > 1, own_Q, mean * (1 - mean) / K_Q).sum(axis=-1) / Q**2
