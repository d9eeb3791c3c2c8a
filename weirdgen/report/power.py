"""What a planned study could see: the smallest effect that it would probably support."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from weirdgen.config.claims import FORMAT_METRICS
from weirdgen.pipeline.plan import Plan
from weirdgen.report.rates import rates
from weirdgen.stats.contrast_estimate import estimate_contrast
from weirdgen.stats.metric_arrays import group_label
from weirdgen.stats.power import Variances, detectable_effect, observed_variances

SEED_SDS = (0.05, 0.15)
"""How much training runs may differ by chance, as a standard deviation of the gap: little, and much."""
QUESTION_SD = 0.15
"""How much questions may differ, as a standard deviation of the gap."""
RATE = 0.5
"""Where responses scatter most."""


def power_lines(plan: Plan, pilot: pa.Table | None) -> Iterator[str]:
    """The smallest distance from its bound at which a claim about a gap is supported in 80% of such studies.

    With assumed variances, and with those of `pilot`, results that the study has already. Nothing
    for fewer than two seeds or questions.
    """
    study = plan.study
    S, Q, K = len(study.seeds), len(plan.persona.heldout), study.evaluate.samples_per_question
    if min(S, Q) < 2:
        return
    residual = 2 * RATE * (1 - RATE) / K
    effects = [
        detectable_effect(Variances(sd**2, QUESTION_SD**2, residual), S, Q) for sd in SEED_SDS
    ]
    little, much = (f"{100 * sd:g}" for sd in SEED_SDS)
    yield (
        f"smallest effect seen in 80% of studies, {S} seeds x {Q} questions x {K} samples, on a gap: "
        f"{_points(effects[0])} where seeds differ by a standard deviation of {little} points, "
        f"{_points(effects[1])} where by {much} (assumed: questions by {100 * QUESTION_SD:g}, "
        f"rates of {RATE:.0%})"
    )
    if pilot is None:
        return
    of = rates(pilot, FORMAT_METRICS[0])
    for group in of.seeds:
        try:
            variances = observed_variances(estimate_contrast(of, "gap", group))
        except ValueError:  # too little is there yet
            continue
        effect = _points(detectable_effect(variances, S, Q))
        at = group if isinstance(group, str) else f"fraction {group_label(group)}"
        yield f"with the variances of the format gap that its results show at {at}: {effect}"


def _points(effect: float) -> str:
    return f"{100 * effect:.0f} points"
