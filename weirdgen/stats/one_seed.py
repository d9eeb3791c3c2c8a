"""What one seed would have said: each training run judged as if it were the only one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from weirdgen.config.claims import Claim
from weirdgen.stats.contrast_estimate import estimate_contrast
from weirdgen.stats.metric_arrays import Group, MetricArrays
from weirdgen.stats.multiplicity import ERROR
from weirdgen.stats.verdict import Outcome, p_values


@dataclass(frozen=True)
class OneSeed:
    """The verdicts of single training runs under one claim at one fraction."""

    outcomes: dict[int | str, Outcome]
    """Seed -> what its responses alone, with questions as the only noise, would have been taken for."""
    study: Outcome
    differing: int
    """How many of them differ from the study's verdict."""


def one_seed(cube: MetricArrays, claim: Claim, group: Group, study: Outcome) -> OneSeed:
    """Judge each seed of `group` alone by the claim, at a one-sided 2.5%, and compare.

    A single seed's interval knows no noise of training: this is what a study of one seed would have
    claimed, not what it may. Nothing adjusts these for the number of claims or looks. Seeds without
    complete responses are left out.
    """
    outcomes: dict[int | str, Outcome] = {}
    for seed in cube.seeds[group]:
        try:
            measured = estimate_contrast(_only(cube, group, seed), claim.contrast, group)
        except ValueError:
            continue  # its responses are not complete
        support, refute = p_values(measured, claim)
        outcomes[seed] = (
            "supported" if support <= ERROR else "refuted" if refute <= ERROR else "inconclusive"
        )
    differing = sum(outcome != study for outcome in outcomes.values())
    return OneSeed(outcomes, study, differing)


def _only(cube: MetricArrays, group: Group, seed: int | str) -> MetricArrays:
    """`cube` with one seed at `group` and, for comparison, at fraction 0."""
    kept = {g for g in (group, 0.0) if g in cube.seeds and seed in cube.seeds[g]}
    rows = {g: [cube.seeds[g].index(seed)] for g in kept}

    def cut(of: dict[Group, dict[str, np.ndarray]]) -> dict[Group, dict[str, np.ndarray]]:
        return {g: {c: a[rows[g]] for c, a in by.items()} for g, by in of.items() if g in kept}

    return replace(
        cube,
        seeds=dict.fromkeys(kept, (seed,)),
        y_SQ=cut(dict(cube.y_SQ)),  # pyright: ignore[reportArgumentType]
        n_SQ=cut(dict(cube.n_SQ)),  # pyright: ignore[reportArgumentType]
        asked_SQ={},
        asked_Q={},
    )
