"""A study's statistics in one call: every estimate, and the verdict of every claim."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from weirdgen.config.claims import Claim
from weirdgen.stats.estimate import Estimate
from weirdgen.stats.estimate_rows import estimates
from weirdgen.stats.evidence import evidence_of
from weirdgen.stats.metric_arrays import Group, MetricArrays
from weirdgen.stats.multiplicity import ERROR, holm
from weirdgen.stats.one_seed import OneSeed, one_seed
from weirdgen.stats.options import AnalysisOptions
from weirdgen.stats.power import Needed, needed
from weirdgen.stats.verdict import (
    Evidence,
    GroupEvidence,
    Outcome,
    Reason,
    decide,
    inside_margin,
)


@dataclass(frozen=True)
class ClaimVerdict:
    """One claim of a study, judged."""

    claim: Claim
    outcome: Outcome
    reason: Reason
    label: str
    """`supported`, `refuted`, `inconclusive`, `inconclusive (missing)`, `inconclusive (judge)`."""
    inside_margin: bool
    """Worse than the bound, at every fraction that decides, but inside the margin."""
    p_support: float
    p_refute: float
    adjusted_support: float
    adjusted_refute: float
    error: float
    """The one-sided error that the adjusted p values are held against."""
    groups: tuple[GroupEvidence, ...]
    needed: Needed | None
    """What would settle it; None where the claim is settled or there is nothing to reckon from."""
    offline: bool
    """Whether the offline judge labelled it, which never supports a claim."""
    n_claims: int
    """Of the study, over which p values are adjusted."""
    one_seed: tuple[tuple[Group, OneSeed], ...]
    n_missing: int
    """Labels that are missing in the metric's cube."""


@dataclass(frozen=True)
class Analysis:
    estimates: list[Estimate]
    """Every contrast of every metric and group."""
    verdicts: list[ClaimVerdict]
    """In the order of the claims."""


def analyse(
    cubes: Iterable[MetricArrays],
    claims: Sequence[Claim],
    options: AnalysisOptions | None = None,
) -> Analysis:
    """All estimates of `cubes`, one a metric, and the verdicts of `claims`.

    Holm runs over all supports and, separately, over all refutes, each held at 2.5% or the share
    of the look. Nothing raises for data that are missing or degenerate: rows say why there is no
    interval, and claims end inconclusive with a reason.
    """
    options = options or AnalysisOptions()
    by_metric = {cube.metric: cube for cube in cubes}
    rows = [row for cube in by_metric.values() for row in estimates(cube, options)]
    gathered = [evidence_of(by_metric.get(claim.metric), claim, options) for claim in claims]
    evidence = [g for g, _ in gathered]
    support = holm([e.p_support for e in evidence])
    refute = holm([e.p_refute for e in evidence])
    worst: list[dict[str, tuple[float, float]]] = [{} for _ in evidence]
    for kind in sorted({kind for e in evidence for kind in e.worst}):
        pairs = [e.worst.get(kind, (e.p_support, e.p_refute)) for e in evidence]
        for at, pair in enumerate(zip(*map(holm, zip(*pairs, strict=True)), strict=True)):
            worst[at][kind] = pair
    verdicts = []
    for at, (e, n_trained) in enumerate(gathered):
        error = options.looks.error(n_trained) if options.looks and n_trained else ERROR
        verdict = _verdict(
            by_metric.get(e.claim.metric),
            e,
            (support[at], refute[at]),
            worst[at],
            error or ERROR,
            len(claims),
            options,
        )
        verdicts.append(verdict)
    return Analysis(rows, verdicts)


def _verdict(
    cube: MetricArrays | None,
    evidence: Evidence,
    adjusted: tuple[float, float],
    worst: dict[str, tuple[float, float]],
    error: float,
    n_claims: int,
    options: AnalysisOptions,
) -> ClaimVerdict:
    claim = evidence.claim
    offline = claim.metric in options.offline
    outcome, reason = decide(evidence, adjusted, worst, error, offline)
    measured = [at.measured for at in evidence.groups if at.measured is not None]
    worse = outcome == "supported" and all(inside_margin(claim, m, error) for m in measured)
    alone = tuple(
        (at.group, one_seed(cube, claim, at.group, outcome))
        for at in evidence.groups
        if cube is not None and at.measured is not None and len(at.measured.seeds) > 1
    )
    return ClaimVerdict(
        claim,
        outcome,
        reason,
        f"inconclusive ({reason})" if reason in ("missing", "judge") else outcome,
        worse,
        evidence.p_support,
        evidence.p_refute,
        *adjusted,
        error,
        evidence.groups,
        _needed(evidence, reason, options, error / n_claims),
        offline,
        n_claims,
        alone,
        cube.n_missing if cube is not None else 0,
    )


def _needed(
    evidence: Evidence, reason: Reason, options: AnalysisOptions, error: float
) -> Needed | None:
    """The fraction that needs most decides; `error` is the share that one of the claims may have."""
    if reason not in ("not clear", "many claims"):
        return None
    needs = []
    for at in evidence.groups:
        m = at.measured
        if m is None or m.combined is None or min(m.z_SQ.shape) < 2:
            continue
        needs.append(
            needed(m, max(abs(m.estimate - evidence.claim.reach), options.effect), error=error)
        )
    order = ("seeds", "questions", "nothing practical")
    return max(needs, key=lambda n: (order.index(n.by), n.high or 10**6, n.low or 0), default=None)
