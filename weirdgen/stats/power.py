"""Power: how many seeds and questions a claim needs, before a run or after an inconclusive one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import chdtri, ndtri, stdtrit

from weirdgen.stats.contrast_estimate import ContrastEstimate
from weirdgen.stats.multiplicity import ERROR
from weirdgen.stats.rate_interval import FLOORS
from weirdgen.stats.two_way_variance import mean_squares

MOST_SEEDS = 100
"""More are called not practical."""
MOST_QUESTIONS = 1000
LEAST_SEEDS = 3
"""Fewer allow no verdict."""


class Variances(NamedTuple):
    """Of one cell of a contrast's table z_SQ, by source."""

    seeds: float
    questions: float
    residual: float
    """Seeds x questions and sampling together: mean of K responses."""


def detectable_effect(
    variances: Variances, S: int, Q: int, power: float = 0.8, error: float = ERROR
) -> float:
    """The smallest distance from the bound at which a claim is supported with that power.

        sqrt(t(S-1)^2 (seeds/S + residual/(SQ)) + t(Q-1)^2 questions/Q) + z_power SE

    t at one-sided `error`; SE the root of the variances' sum. An approximation: the half-width's
    own scatter is left out. Same unit as z_SQ. Raises ValueError for S or Q under 2.
    """
    if min(S, Q) < 2:
        raise ValueError("detectable_effect: needs two seeds and two questions")
    by_seed = variances.seeds / S + variances.residual / (S * Q)
    by_question = variances.questions / Q
    half = _half_width(variances, S, Q, error)
    return float(half + ndtri(power) * np.sqrt(by_seed + by_question))


def sd_upper_factor(degrees: int, confidence: float = 0.8) -> float:
    """What a standard deviation from `degrees` is multiplied by for its one-sided upper limit.

    sqrt(d / chi2(1 - confidence; d)): 2.12, 1.56, 1.29 for 3, 5, 10 seeds. Assumes normal effects.
    Source: Browne (1995), Statistics in Medicine 14:1933.
    """
    return float(np.sqrt(degrees / chdtri(degrees, confidence)))


def observed_variances(measured: ContrastEstimate) -> Variances:
    """The variances of a contrast's table, none below what the rates' floors assume.

    Where the interval is wider than they make it (rates that rise and fall together are combined as
    if they did not), all are raised until it is as wide: what is needed is needed of this interval.
    Where one of its sides reaches further still (few seeds near 0 or 1), the seeds' part is raised.
    On exactly these questions `questions` is what the baseline's number of responses leaves, which no
    seed makes smaller. Raises ValueError for fewer than two seeds or two questions.
    """
    S, Q = measured.z_SQ.shape
    if min(S, Q) < 2:
        raise ValueError("observed_variances: needs two seeds and two questions")
    ms = mean_squares(measured.z_SQ)
    residual = float(ms.residual)
    seeds = max((float(ms.seeds) - residual) / Q, 0.0)
    questions = max((float(ms.questions) - residual) / S, 0.0)
    fixed = measured.target == "seeds"
    if fixed:
        sampled = 0.0 if measured.combined is None else float(measured.combined.spread.sampled)
        questions = Q * sampled
    f_S, f_Q = FLOORS.seeds, 0.0 if fixed else FLOORS.questions
    if measured.combined is not None:
        for _, rate in measured.combined.rates:
            # shrunk as Agresti and Coull (1998) do, so that 0 of n is not taken as never
            p = (float(rate.spread.estimate) * float(rate.most) + 2) / (float(rate.most) + 4)
            if rate.spread.n_seeds == S:
                seeds = max(seeds, f_S * p * (1 - p))
                questions = max(questions, f_Q * p * (1 - p))
                residual = max(residual, (1 - f_S - f_Q) * p * (1 - p) / measured.samples)
            else:  # the baseline's: it has no seed, and all of its noise is the same for all seeds
                questions = max(questions, Q * p * (1 - p) / float(rate.most))
    found = Variances(seeds, questions, residual)
    low, high = measured.limits()
    predicted = _half_width(found, S, Q, ERROR)
    if low is None or high is None or predicted <= 0:
        return found
    found = Variances(*(v * max((high - low) / 2 / predicted, 1.0) ** 2 for v in found))
    reach = max(high - measured.estimate, measured.estimate - low)
    from_seeds = _half_width(found._replace(questions=0.0), S, Q, ERROR) ** 2
    missing = reach**2 - _half_width(found, S, Q, ERROR) ** 2
    factor = 1 + max(missing, 0.0) / from_seeds if from_seeds > 0 else 1.0
    return Variances(found.seeds * factor, found.questions, found.residual * factor)


def _half_width(variances: Variances, S: int, Q: int, error: float) -> float:
    t_S, t_Q = stdtrit(S - 1, 1 - error), stdtrit(Q - 1, 1 - error)
    by_seed = variances.seeds / S + variances.residual / (S * Q)
    return float(np.sqrt(t_S**2 * by_seed + t_Q**2 * variances.questions / Q))


@dataclass(frozen=True)
class Needed:
    """What would settle an inconclusive claim, for a stated distance from its bound."""

    by: Literal["seeds", "questions", "nothing practical"]
    low: int | None
    """Fewest seeds with the observed variances; or the fewest questions."""
    high: int | None
    """Seeds if the standard deviations are at their 80% upper limits; None: above MOST_SEEDS."""
    effect: float
    power: float
    questions: int
    """Those that there are."""


def needed(
    measured: ContrastEstimate, effect: float, power: float = 0.8, error: float = ERROR
) -> Needed:
    """Seeds, or questions, at which a true distance `effect` from the bound would be seen.

    A range: with the variances as observed, and with the seeds' standard deviation (and what is
    left) at its 80% upper limit, for a plug-in from five seeds can be five times off. Where
    questions alone leave more noise than `effect`, no number of seeds will do, and the fewest
    questions are given, at MOST_SEEDS seeds. Raises ValueError as `observed_variances`, and for an
    effect that is not positive.
    """
    if effect <= 0:
        raise ValueError("needed: the effect must be positive")
    S, Q = measured.z_SQ.shape
    plug_in = observed_variances(measured)
    factor = sd_upper_factor(S - 1) ** 2
    high = Variances(plug_in.seeds * factor, plug_in.questions, plug_in.residual * factor)

    def is_enough(v: Variances, S: int, Q: int) -> bool:
        return detectable_effect(v, S, Q, power, error) <= effect

    seeds, more = range(LEAST_SEEDS, MOST_SEEDS + 1), range(Q + 1, MOST_QUESTIONS + 1)
    from_S = next((n for n in seeds if is_enough(plug_in, n, Q)), None)
    if from_S is not None:
        to_S = next((n for n in seeds if is_enough(high, n, Q)), None)
        return Needed("seeds", from_S, to_S, effect, power, Q)
    fewest_Q = next((n for n in more if is_enough(plug_in, MOST_SEEDS, n)), None)
    by = "nothing practical" if fewest_Q is None else "questions"
    return Needed(by, fewest_Q, None, effect, power, Q)
