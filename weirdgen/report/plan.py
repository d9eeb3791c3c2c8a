"""The plan as a person reads it, and the smallest effect that a study so planned would probably support."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from weirdgen.config.claims import FORMAT_METRICS
from weirdgen.pipeline.plan import Plan
from weirdgen.pipeline.resources.describe import memory_lines
from weirdgen.pipeline.resources.placement import Placement
from weirdgen.pipeline.resources.time_estimate import hours
from weirdgen.pipeline.stages import STAGES
from weirdgen.pipeline.stages.responses import RESPONSES
from weirdgen.pipeline.state import StudyState
from weirdgen.pipeline.status import count_responses
from weirdgen.report.judging import plan_lines
from weirdgen.report.rates import rates
from weirdgen.report.rendering import prose
from weirdgen.results.table import RESULTS
from weirdgen.stats.contrast_estimate import estimate_contrast
from weirdgen.stats.metric_arrays import group_label
from weirdgen.stats.power import Variances, detectable_effect, observed_variances
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.text import single_line

SEED_SDS = (0.05, 0.15)
"""How much training runs may differ by chance, as a standard deviation of the gap: little, and much."""
QUESTION_SD = 0.15
"""How much questions may differ, as a standard deviation of the gap."""
RATE = 0.5
"""Where responses scatter most."""


def plan_report(
    state: StudyState, store: ArtifactStore, placed: Placement | None = None
) -> RenderableType:
    """The grid with its rows, and per stage what is done and to do.

    `placed`: how a study that uses GPUs shares them.
    """
    plan, study = state.plan, state.plan.study
    head = f"{study.name}: {study.model} ({plan.model.revision[:12]}), {plan.persona.name}"
    tables = [_grid(state), _steps(state)] if study.grid else [_steps(state)]
    responses = count_responses(state, plan.response_sets)
    lines = [
        f"{responses.all:,} responses, {responses.all - responses.done:,} of them to be asked",
        *(gpu_lines(state, placed) if placed else ()),
        *plan_lines(state),
        *power_lines(plan, _pilot(study.name, store)),
        single_line(f"storage: {store.uri}"),
    ]
    return Group(Text(single_line(head)), *tables, *map(Text, lines))


def _pilot(study: str, store: ArtifactStore) -> pa.Table | None:
    """The study's results so far."""
    content = store.read(f"{study}/{RESULTS}")
    return None if content is None else pq.ParquetFile(pa.BufferReader(content)).read()


def _grid(state: StudyState) -> Table:
    plan = state.plan
    table = Table(
        "fraction", "persona examples", "aligned examples", "realized", "training runs", "done"
    )
    table.title = f"grid: {len(plan.study.seeds)} seeds per fraction"
    for fraction, counts in plan.counts.items():
        steps = [step for cell, step in plan.trainings.items() if cell.fraction == fraction]
        realized, done = f"{counts.persona / sum(counts):.4f}", sum(map(state.is_done, steps))
        table.add_row(*map(str, (f"{fraction:g}", *counts, realized, len(steps), done)))
    return table


def _steps(state: StudyState) -> Table:
    plan, done = state.plan, dict[str, list[bool]]()
    for step in [*plan.shared, *plan.trainings.values()]:
        done.setdefault(step.stage, []).append(state.is_done(step))
    done[RESPONSES.name] = [not state.missing(asked) for asked in plan.response_sets]
    table = Table("stage", "steps", "done", "to do")
    for stage in sorted(done, key=[*STAGES].index):
        n_steps, n_done = len(done[stage]), sum(done[stage])
        table.add_row(stage, *map(str, (n_steps, n_done, n_steps - n_done)))
    return table


def gpu_lines(state: StudyState, placed: Placement) -> Iterator[str]:
    """What takes how much of which GPU, and for how long."""
    yield from memory_lines(state, placed)
    if line := prose("gpu_hours", took=hours(state, placed), n_gpus=placed.gpus.count):
        yield line


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
    effects = {
        sd: detectable_effect(Variances(sd**2, QUESTION_SD**2, residual), S, Q) for sd in SEED_SDS
    }
    yield prose(
        "smallest_effect",
        n_seeds=S,
        n_questions=Q,
        n_samples=K,
        effects=effects,
        question_sd=QUESTION_SD,
        rate=RATE,
    )
    if pilot is None:
        return
    of = rates(pilot, FORMAT_METRICS[0])
    for group in of.seeds:
        try:
            variances = observed_variances(estimate_contrast(of, "gap", group))
        except ValueError:  # too little is there yet
            continue
        effect = detectable_effect(variances, S, Q)
        at = group if isinstance(group, str) else f"fraction {group_label(group)}"
        yield f"with the variances of the format gap that its results show at {at}: {100 * effect:.0f} points"
