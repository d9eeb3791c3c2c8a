"""The verdict of one claim: supported, refuted, or inconclusive with a reason code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from weirdgen.config.claims import Claim
from weirdgen.stats.contrast_estimate import ContrastEstimate
from weirdgen.stats.contrast_interval import p_by_inversion
from weirdgen.stats.metric_arrays import Group
from weirdgen.stats.multiplicity import OffLook, holm_min_p
from weirdgen.stats.seeds_meeting import SeedsMeeting

Outcome = Literal["supported", "refuted", "inconclusive"]
Reason = Literal[
    "clear",  # the limit clears the bound, after every adjustment
    "no data",  # a response, a condition, a baseline is not there
    "one seed",  # this adapter only: nothing is known of training
    "two seeds",  # an interval, and no verdict
    "no interval",  # one question, or nothing that varies
    "before the planned seeds",
    "between looks",
    "after the last look",
    "not clear",  # the interval holds the bound
    "many claims",  # clear alone, not among the study's claims
    "missing",  # clear, but not if missing labels are taken at their worst
    "judge",  # clear, but not within what the judge may have got wrong
    "offline judge",  # clear, but the offline judge is no evidence
]
NOT_GIVEN: tuple[Reason, ...] = (
    "no data", "one seed", "two seeds", "no interval",
    "before the planned seeds", "between looks", "after the last look",
)  # fmt: skip
"""With these no verdict was given at all: the data were not held against the claim."""


class WorstCase(NamedTuple):
    """A claim at one fraction, in the worst of all cases of one kind."""

    p_support: float
    p_refute: float
    limits: tuple[float, float] | None
    """The lowest and the highest 95% limit; None where a case has no interval."""


@dataclass(frozen=True)
class GroupEvidence:
    """A claim at one fraction."""

    group: Group
    measured: ContrastEstimate | None
    """None where there is nothing to measure; `refusal` says what is missing."""
    refusal: str
    p_support: float
    """One-sided; 1 where no verdict is possible."""
    p_refute: float
    worst: dict[str, WorstCase] = field(default_factory=dict)
    """By kind: `missing`, `judge: two judges`, `judge: gold labels`."""
    meeting: SeedsMeeting | None = None
    n_trained: int = 0
    """Training runs, failed ones included."""
    n_failed: int = 0


@dataclass(frozen=True)
class Evidence:
    """A claim over all the fractions that it speaks of."""

    claim: Claim
    groups: tuple[GroupEvidence, ...]
    p_support: float
    p_refute: float
    worst: dict[str, tuple[float, float]]
    """By kind: p_support and p_refute in the worst case."""
    blocked: Reason | None
    """Why no verdict is possible whatever the numbers."""


def inequality(claim: Claim) -> str:
    """Such as `gap >= 0.85 - margin 0.05`."""
    compared, margin = (">=", "-") if claim.sign > 0 else ("<=", "+")
    words = f"{claim.contrast} {compared} {_bound(claim.bound)}"
    return f"{words} {margin} margin {_bound(claim.margin)}" if claim.margin else words


def _bound(value: float) -> str:
    """Two decimals, or as many as the number has."""
    return max(f"{value:.2f}", f"{value:g}", key=len)


def p_values(measured: ContrastEstimate, claim: Claim) -> tuple[float, float]:
    """One-sided p that the claim holds, and that it fails; 1 and 1 without an interval."""
    if measured.combined is None:
        return 1.0, 1.0

    def bounds(confidence: Any) -> tuple[Any, Any]:
        low, high = measured.bounds(confidence)
        return (low, high) if claim.sign > 0 else (-high, -low)

    p = p_by_inversion(bounds, claim.sign * measured.estimate, claim.sign * claim.reach)
    return p, 1 - p


def gather(claim: Claim, groups: tuple[GroupEvidence, ...], off_look: OffLook | None) -> Evidence:
    """Put a claim's fractions together.

    `all`: supported with the largest p (intersection-union; Berger 1982), refuted with the
    smallest, Holm-adjusted; `any`: the reverse. Blocked where a fraction that decides has no interval, or too few seeds.
    """
    support, refute = (holm_min_p, max) if claim.at == "any" else (max, holm_min_p)
    blocked = _blocked(groups) or off_look
    if blocked is not None:
        return Evidence(claim, groups, 1.0, 1.0, {}, blocked)

    def combined(of: Sequence[WorstCase | GroupEvidence]) -> tuple[float, float]:
        return support([at.p_support for at in of]), refute([at.p_refute for at in of])

    kinds = sorted({kind for at in groups for kind in at.worst})
    worst = {kind: combined([at.worst.get(kind, at) for at in groups]) for kind in kinds}
    return Evidence(claim, groups, *combined(groups), worst, None)


def _blocked(groups: tuple[GroupEvidence, ...]) -> Reason | None:
    if not groups or any(at.measured is None for at in groups):
        return "no data"
    measured = [at.measured for at in groups if at.measured is not None]
    fewest = min(len(m.seeds) for m in measured)
    if fewest < 3:
        return "one seed" if fewest == 1 else "two seeds"
    return "no interval" if any(m.combined is None for m in measured) else None


def decide(
    evidence: Evidence,
    adjusted: tuple[float, float],
    adjusted_worst: dict[str, tuple[float, float]],
    error: float,
    offline: bool,
) -> tuple[Outcome, Reason]:
    """The verdict from p values adjusted over the study's claims: (support, refute).

    `adjusted_worst` has the same two for each kind of worst case. `error` is the look's one-sided
    error. An offline judge alone never ends in supported.
    """
    if evidence.blocked is not None:
        return "inconclusive", evidence.blocked
    for side, outcome in enumerate(("supported", "refuted")):
        if (evidence.p_support, evidence.p_refute)[side] > error:
            continue
        if adjusted[side] > error:
            return "inconclusive", "many claims"
        for kind, p in adjusted_worst.items():
            if p[side] > error:
                return "inconclusive", "missing" if kind == "missing" else "judge"
        if outcome == "supported" and offline:
            return "inconclusive", "offline judge"
        return ("supported" if side == 0 else "refuted"), "clear"
    return "inconclusive", "not clear"


def inside_margin(claim: Claim, measured: ContrastEstimate, error: float) -> bool:
    """Whether theta is worse than the bound and still inside its margin, both at `error`."""
    low, high = measured.limits(1 - 2 * error)
    if low is None or high is None or not claim.margin:
        return False
    if claim.sign > 0:
        return low >= claim.reach and high < claim.bound
    return high <= claim.reach and low > claim.bound
