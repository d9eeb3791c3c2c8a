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
from weirdgen.pipeline.state import StudyState
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

Ranges = list[tuple[int, int]]
"""The samples that one asked model and condition still lacks."""


def plan_report(
    state: StudyState, store: ArtifactStore, placed: Placement | None = None
) -> RenderableType:
    """The grid with its rows, and per stage what is done and to do.

    `placed`: how a study that uses GPUs shares them.
    """
    plan = state.plan
    study = plan.study
    head = Text(
        single_line(
            f"{study.name}: {study.model} ({plan.model.revision[:12]}), {plan.persona.name}"
        )
    )
    storage = Text(single_line(f"storage: {store.uri}"))
    missing = [state.missing(asked) for asked in plan.response_sets]
    parts = [head, *([_grid(state)] if study.grid else []), _steps(state, missing)]
    on_gpus = [Text(line) for line in gpu_lines(state, placed)] if placed else []
    judging = map(Text, plan_lines(state))
    power = (Text(line) for line in power_lines(plan, _pilot(study.name, store)))
    return Group(*parts, _answers(state, missing), *on_gpus, *judging, *power, storage)


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
        table.add_row(
            f"{fraction:g}",
            str(counts.persona),
            str(counts.aligned),
            f"{counts.persona / sum(counts):.4f}",
            str(len(steps)),
            str(sum(map(state.is_done, steps))),
        )
    return table


def _steps(state: StudyState, missing: list[Ranges]) -> Table:
    plan = state.plan
    table = Table("stage", "steps", "done", "to do")
    steps = [*plan.shared, *plan.trainings.values()]
    for stage in STAGES:
        of_stage = [step for step in steps if step.stage == stage]
        if of_stage:
            done = sum(map(state.is_done, of_stage))
            table.add_row(stage, str(len(of_stage)), str(done), str(len(of_stage) - done))
    todo = sum(map(bool, missing))
    table.add_row("responses", str(len(missing)), str(len(missing) - todo), str(todo))
    return table


def _answers(state: StudyState, missing: list[Ranges]) -> Text:
    plan = state.plan
    questions = len(plan.persona.heldout)
    wanted = sum(asked.samples for asked in plan.response_sets) * questions
    asking = sum(end - first for ranges in missing for first, end in ranges) * questions
    return Text(f"{wanted:,} responses, {asking:,} of them to be asked")


def gpu_lines(state: StudyState, placed: Placement) -> Iterator[str]:
    """What takes how much of which GPU, and for how long."""
    yield from memory_lines(state, placed)
    took = hours(state, placed)
    parts = {}
    if took is not None:
        parts = {"training": took.training_s, "generation": took.starts_s + took.generation_s}
    to_do = {part: seconds for part, seconds in parts.items() if seconds}
    if line := prose("gpu_hours", took=took, parts=to_do, n_gpus=placed.gpus.count):
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
