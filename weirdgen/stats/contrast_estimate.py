"""Estimate one contrast of one group: its table, and the noise that its interval is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from weirdgen.config.claims import CONTRASTS
from weirdgen.stats.contrast_interval import ContrastInterval
from weirdgen.stats.metric_arrays import Group, MetricArrays
from weirdgen.stats.paired import Pairs, newcombe_paired, pairs
from weirdgen.stats.rate_interval import (
    RateInterval,
    baseline_spread,
    rate_spread,
    sampling_variance,
)
from weirdgen.stats.two_way_variance import Target, TwoWayVariance, spread

Method = Literal["wilson", "wilson and two-source", "newcombe paired", "question t", "none"]


@dataclass(frozen=True)
class ContrastEstimate:
    """One contrast of one group: its table, and its noise as far as that can be estimated."""

    seeds: tuple[int | str, ...]
    """Those whose responses are complete for the contrast."""
    questions: np.ndarray
    """Positions of the questions that every one of them and the baseline answered."""
    z_SQ: np.ndarray
    samples: float
    """Responses behind one cell of one condition (harmonic mean)."""
    n_samples: int
    """Responses behind the estimate, the baseline's and the control's included."""
    target: Target
    method: Method
    combined: ContrastInterval | None
    """None where there is no noise to estimate from; `refusal` says why."""
    refusal: str = ""
    left_out: str = ""
    """What of the table was left out because responses are missing; empty for nothing."""
    counts: Pairs | None = None
    """One seed, one response a question, two rates: the questions by both responses."""

    @property
    def estimate(self) -> float:
        return float(self.z_SQ.mean() if self.combined is None else self.combined.estimate)

    def limits(self, confidence: float = 0.95) -> tuple[float | None, float | None]:
        """Two-sided limits, or None twice."""
        if self.combined is None:
            return None, None
        low, high = self.bounds(confidence)
        return float(low), float(high)

    def bounds(self, confidence: Any) -> tuple[Any, Any]:
        """As `limits`, where there are any; `confidence` may be an array."""
        assert self.combined is not None  # the caller has asked
        if self.counts is not None:
            return newcombe_paired(self.counts, confidence)
        return self.combined.limits(confidence)


@dataclass(frozen=True)
class _Term:
    """A rate that enters a contrast, complete."""

    sign: int
    y: np.ndarray
    """Seeds x questions, or questions for the baseline."""
    n: np.ndarray

    def at(self, kept: tuple[np.ndarray, ...]) -> _Term:
        return _Term(self.sign, self.y[kept], self.n[kept])


def estimate_contrast(
    cube: MetricArrays,
    contrast: str,
    group: Group,
    target: Target = "seeds and questions",
    subtracted: MetricArrays | None = None,
    shift: tuple[float, float] = (0.0, 0.0),
) -> ContrastEstimate:
    """The contrast's table z_SQ over complete seeds and questions, and its noise.

    `subtracted`, by default the cube itself, is where the rates with a minus sign come from: worst
    cases and judges' bounds take the lowest of what is added and the highest of what is subtracted.
    `shift` is a correction of the estimate and its variance. One seed gives the target
    "this adapter", with questions as its only noise. Raises ValueError, in words that name it, for
    a group, condition, baseline or control that is not there, and where no seed is complete.
    """
    seeds, terms, z_SQ = _table(cube, subtracted or cube, contrast, group)
    whole_S, whole_Q = _whole(np.isfinite(z_SQ))
    if not whole_Q.any():
        raise ValueError(f"no seed has all responses for {contrast} at {_name(group)}")
    left_out = _left_out(int((~whole_S).sum()), int((~whole_Q).sum()))
    at = np.ix_(whole_S, whole_Q)
    z_SQ = z_SQ[at]
    terms = [t.at(at if t.y.ndim == 2 else (whole_Q,)) for t in terms]
    own = [t for t in terms if t.y.ndim == 2]
    K = float(1 / np.mean([(1 / t.n).mean() for t in own]))
    kept = tuple(seed for seed, whole in zip(seeds, whole_S, strict=True) if whole)
    n_samples = int(sum(t.n.sum() for t in terms))
    positions = np.flatnonzero(whole_Q)
    unmeasured = ContrastEstimate(
        kept, positions, z_SQ, K, n_samples, target, "none", None, left_out=left_out
    )
    S, Q = z_SQ.shape
    if Q == 1 and (S == 1 or target == "seeds and questions"):
        return replace(unmeasured, refusal="one question: no interval")
    if S == 1:
        return _one_seed(unmeasured, terms, cube.graded, shift)
    sampled = sum(sampling_variance(t.y, t.n) for t in terms if t.y.ndim == 1)
    rates = tuple((t.sign, _rate(t, target)) for t in terms)
    combined = ContrastInterval(spread(z_SQ, target, sampled), rates, *shift)
    method: Method = "wilson" if len(terms) == 1 else "wilson and two-source"
    return replace(unmeasured, method=method, combined=combined)


def _whole(answered_SQ: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Seeds and questions of a part of the table without gaps, as two masks.

    Either the seeds that have every question that anybody has, or the questions that every seed
    has; three seeds rather than fewer, then the larger part. Both empty where neither has any.
    """
    any_S, any_Q = np.asarray(answered_SQ.any(axis=1)), np.asarray(answered_SQ.any(axis=0))
    complete_S = any_S & np.asarray(answered_SQ[:, any_Q].all(axis=1))
    common_Q = any_Q & np.asarray(answered_SQ[any_S].all(axis=0))
    parts = [(complete_S, any_Q & bool(complete_S.any())), (any_S & bool(common_Q.any()), common_Q)]
    return max(parts, key=lambda part: (part[0].sum() >= 3, part[0].sum() * part[1].sum()))


def _left_out(n_seeds: int, n_questions: int) -> str:
    """Such as `1 seed and 2 questions without complete responses left out`; empty for none."""
    parts = [
        f"{n} {word}{'s' * (n != 1)}"
        for n, word in ((n_seeds, "seed"), (n_questions, "question"))
        if n
    ]
    return f"{' and '.join(parts)} without complete responses left out" if parts else ""


def _one_seed(
    unmeasured: ContrastEstimate,
    terms: list[_Term],
    graded: bool,
    shift: tuple[float, float],
) -> ContrastEstimate:
    """Questions as the only noise: t over questions, and rates at their effective size."""
    z_SQ, unmeasured = unmeasured.z_SQ, replace(unmeasured, target="this adapter")
    Q = z_SQ.shape[1]
    noise = TwoWayVariance(
        z_SQ.mean(), 0.0, z_SQ[0].var(ddof=1) / Q, 0.0, 1, Q, "seeds and questions"
    )
    rates = tuple(
        (t.sign, baseline_spread(y_Q, _harmonic(t.n)))
        for t in terms
        for y_Q in [t.y[0] if t.y.ndim == 2 else t.y]
    )
    combined = ContrastInterval(noise, rates, *shift)
    single = all((t.n == 1).all() for t in terms)
    if not graded and single and len(terms) == 2 and not any(shift):
        first, second = sorted(terms, key=lambda t: -t.sign)
        counts = pairs(first.y.ravel(), second.y.ravel())
        return replace(unmeasured, method="newcombe paired", combined=combined, counts=counts)
    method: Method = "wilson" if len(terms) == 1 else "question t"
    return replace(unmeasured, method=method, combined=combined)


def _table(
    cube: MetricArrays, subtracted: MetricArrays, contrast: str, group: Group
) -> tuple[list[int | str], list[_Term], np.ndarray]:
    """Seeds, signed rates and z_SQ (in [-2, 2]), with NaN where a response is missing."""
    if group not in cube.seeds:
        raise ValueError(f"no responses at {_name(group)}")
    if contrast not in CONTRASTS:
        raise ValueError(f"contrast {contrast!r}: must be one of {', '.join(CONTRASTS)}")
    reference = CONTRASTS[contrast].reference
    seeds = list(cube.seeds[group])
    rows, control_rows = list(range(len(seeds))), []
    if reference == "control":
        if 0.0 not in cube.seeds:
            raise ValueError("gap_vs_control: there is no fraction 0 to compare with")
        others = list(cube.seeds[0.0])
        rows = [i for i, seed in enumerate(seeds) if seed in others]
        control_rows = [others.index(seeds[i]) for i in rows]
        seeds = [seeds[i] for i in rows]
        if not seeds:
            raise ValueError(f"gap_vs_control: no seed of {_name(group)} has a fraction 0")
    terms: list[_Term] = []
    sums: list[Any] = [0.0, 0.0]
    """Of the group, and of its reference."""
    for condition, sign, of_reference in CONTRASTS[contrast].terms:
        source = cube if sign > 0 else subtracted
        if of_reference and reference == "baseline":
            y, n = _of(source.b_Q, condition, "baseline"), source.n_Q[condition]
        else:
            at, chosen = (0.0, control_rows) if of_reference else (group, rows)
            y = _of(source.y_SQ[at], condition, _name(at))[chosen]
            n = source.n_SQ[at][condition][chosen]
        terms.append(_Term(sign, y, n))
        sums[of_reference] = sums[of_reference] + (-sign if of_reference else sign) * y
    return seeds, terms, sums[False] - sums[True]


def _of(by_condition: Any, condition: str, where: str) -> np.ndarray:
    if condition not in by_condition:
        raise ValueError(f"{where} has no responses for the condition {condition}")
    return np.asarray(by_condition[condition], dtype=np.float64)


def _rate(term: _Term, target: Target) -> RateInterval:
    make = rate_spread if term.y.ndim == 2 else baseline_spread
    return make(term.y, _harmonic(term.n), target)


def _harmonic(n: np.ndarray) -> float:
    return float(1 / (1 / n).mean())


def _name(group: Group) -> str:
    return group if isinstance(group, str) else f"fraction {group:g}"
