"""A claim's evidence: its contrast at every fraction, and in its worst cases."""

from __future__ import annotations

import contextlib

import numpy as np

from weirdgen.config.claims import ADAPTERS, CONTRASTS, Claim, Point
from weirdgen.stats.contrast_estimate import ContrastEstimate, estimate_contrast
from weirdgen.stats.judge_error import shift_of
from weirdgen.stats.metric_arrays import Group, MetricArrays, worst_cases
from weirdgen.stats.options import AnalysisOptions
from weirdgen.stats.seeds_meeting import seeds_meeting_bound
from weirdgen.stats.verdict import Evidence, GroupEvidence, WorstCase, gather, p_values

_Case = tuple[MetricArrays, MetricArrays, tuple[float, float]]
"""Where added rates come from, where subtracted ones do, and a shift with its variance."""


def groups_of(claim: Claim, cube: MetricArrays | None, options: AnalysisOptions) -> list[Group]:
    """What the claim speaks of; `all` and `any`: every fraction with persona examples, and adapters."""
    if isinstance(claim.at, Point):
        return [claim.at.group]
    known = {*(cube.seeds if cube is not None else ()), *options.planned}
    fractions: list[Group] = sorted(g for g in known if not isinstance(g, str) and g > 0)
    return fractions + ([ADAPTERS] if ADAPTERS in known else [])


def evidence_of(
    cube: MetricArrays | None, claim: Claim, options: AnalysisOptions
) -> tuple[Evidence, int]:
    """A claim's evidence, and the fewest training runs that a fraction of it has seen."""
    points = groups_of(claim, cube, options)
    if cube is None:
        refusal = f"there are no labels of {claim.metric}"
        nothing = tuple(GroupEvidence(group, None, refusal, 1.0, 1.0) for group in points)
        return gather(claim, nothing, None), 0
    groups = tuple(_at_group(cube, claim, group, options) for group in points)
    trained = [at.n_trained for at in groups if at.group != ADAPTERS]
    if options.looks is None or not trained:  # adapters that existed are looked at once
        return gather(claim, groups, None), 0
    return gather(claim, groups, options.looks.state(min(trained))), min(trained)


def _at_group(
    cube: MetricArrays, claim: Claim, group: Group, options: AnalysisOptions
) -> GroupEvidence:
    failed = cube.failed.get(group, 0)
    trained = _asked(cube, claim, group) + failed
    try:
        measured = estimate_contrast(cube, claim.contrast, group, options.target)
    except ValueError as error:
        return GroupEvidence(group, None, str(error), 1.0, 1.0, n_trained=trained, n_failed=failed)
    support, refute = p_values(measured, claim)
    cases = _worst(cube, claim, group, options)
    # every training run that has no complete responses fails the bound, whatever became of it
    unmet = max(options.planned.get(group, 0), trained) - len(measured.seeds)
    theta_S = claim.sign * measured.z_SQ.mean(axis=1)
    meeting = seeds_meeting_bound(theta_S, claim.sign * claim.reach, unmet)
    return GroupEvidence(
        group,
        measured,
        measured.refusal,
        support,
        refute,
        {kind: _worst_case(of, claim, (support, refute)) for kind, of in cases.items()},
        meeting,
        trained,
        failed,
    )


def _asked(cube: MetricArrays, claim: Claim, group: Group) -> int:
    """Training runs that were asked under every condition of the claim, those it is compared with too."""
    contrast = CONTRASTS[claim.contrast]
    seeds = {*cube.seeds.get(group, ())}
    for place in (group, 0.0) if contrast.reference == "control" else (group,):
        for condition in contrast.conditions:
            asked_SQ = cube.asked_SQ.get(place, {}).get(condition, np.zeros((0, 0)))
            of = zip(cube.seeds.get(place, ()), asked_SQ, strict=False)
            seeds &= {seed for seed, asked_Q in of if asked_Q.any()}
    return len(seeds)


def _worst(
    cube: MetricArrays, claim: Claim, group: Group, options: AnalysisOptions
) -> dict[str, list[ContrastEstimate]]:
    """The claim's contrast in the worst cases of missing labels and of the judge's errors.

    A kind without any case is one that cannot be worked out: no verdict stands up to it.
    """
    bounds = {"missing": worst_cases(cube)} if cube.n_missing else {}
    if claim.metric in options.judges:
        bounds["judge: two judges"] = options.judges[claim.metric]
    unshifted = (0.0, 0.0)
    cases = {
        kind: [(low, high, unshifted), (high, low, unshifted)]
        for kind, (low, high) in bounds.items()
    }
    gold = options.gold.get(claim.metric, {})
    shift = shift_of(claim.contrast, group, gold)
    if shift is not None:
        cases["judge: gold labels"] = [(cube, cube, shift)]
    elif gold:  # labels that do not reach all that the claim rests on
        cases["judge: gold labels"] = []

    def estimates(of: list[_Case]) -> list[ContrastEstimate]:
        with contextlib.suppress(ValueError):  # a second judge that has not labelled all of it
            return [
                estimate_contrast(plus, claim.contrast, group, options.target, minus, shift)
                for plus, minus, shift in of
            ]
        return []

    return {kind: estimates(of) for kind, of in cases.items()}


def _worst_case(
    cases: list[ContrastEstimate], claim: Claim, as_measured: tuple[float, float]
) -> WorstCase:
    """The largest p values of any case, and from its lowest limit to its highest."""
    p_N = [as_measured, *(p_values(case, claim) for case in cases)] if cases else [(1.0, 1.0)]
    limits = [limit for case in cases for limit in case.limits()]
    known = [limit for limit in limits if limit is not None]
    widest = (min(known), max(known)) if known and len(known) == len(limits) else None
    return WorstCase(max(p for p, _ in p_N), max(p for _, p in p_N), widest)
