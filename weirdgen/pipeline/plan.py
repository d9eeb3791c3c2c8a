"""The plan: a study as a list of steps with fingerprints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from weirdgen.config.study import Study
from weirdgen.data.aligned import aligned_examples
from weirdgen.data.lengths import Lengths, row_lengths
from weirdgen.data.mixing import Counts, grid_counts
from weirdgen.data.persona import Persona, find_persona
from weirdgen.judging.gold import Gold, find_gold
from weirdgen.judging.llm_judge import LlmJudge, llm_judges
from weirdgen.models.adapters import resolve_adapter
from weirdgen.models.identity import Model, resolve_model, served_model
from weirdgen.pipeline.stages.adapter import adapter_step
from weirdgen.pipeline.stages.aligned import ALIGNED, self_distilled_step
from weirdgen.pipeline.stages.given import PERSONA_EXAMPLES, PROMPTS, QUESTIONS, given_step
from weirdgen.pipeline.stages.model import model_step
from weirdgen.pipeline.stages.offline_judge import offline_judge_step
from weirdgen.pipeline.stages.responses import ResponseSet, response_sets
from weirdgen.pipeline.stages.train import GridCell, train_steps
from weirdgen.storage.artifacts import Step


@dataclass(frozen=True)
class Plan:
    """A study's steps, in an order in which each comes after what it consumes."""

    study: Study
    model: Model
    persona: Persona
    counts: dict[float, Counts]
    """Rows of each fraction's trainings."""
    inputs: dict[str, Callable[[Path], None]]
    """Fingerprint -> what writes the payload, for the steps that hold only what the user gave."""
    shared: list[Step]
    """What the cells build on: model, persona, questions, aligned examples, judge, existing adapters."""
    trainings: dict[GridCell, Step]
    response_sets: list[ResponseSet]
    judge: Step | None
    """The offline judge, learned from the study's own rows."""
    llm_judges: list[LlmJudge]
    """The judges that are models, each with each rubric; those of `study.judge` come first."""
    gold: Gold | None
    """The labels by which the judges are measured."""
    max_rank: int
    """The largest rank of the adapters to be asked."""
    lengths: Lengths | None
    """How long the rows of a training are; None where the study has none."""

    @property
    def by_fingerprint(self) -> dict[str, Step]:
        steps = [
            *self.shared,
            *self.trainings.values(),
            *(asked.step for asked in self.response_sets),
        ]
        return {step.fingerprint: step for step in steps}


def make_plan(study: Study, base: Path, where: object = "study") -> Plan:
    """The plan of `study`; local paths in it are relative to `base`.

    Raises InputError (at `where`, or at the data file) for what cannot be run.
    """
    served = study.evaluate.engine == "endpoint"
    model = (
        served_model(study.model, study.model_revision)
        if served
        else resolve_model(study.model, study.model_revision, base, where)
    )
    persona = find_persona(study.persona, base, where)
    grid, n_aligned = study.grid, study.aligned.rows
    counts = grid_counts(grid, len(persona.rows), n_aligned, where) if grid else {}
    inputs: dict[str, Callable[[Path], None]] = {}
    shared: list[Step] = []

    def share(step: Step, write: Callable[[Path], None] | None = None) -> Step:
        shared.append(step)
        if write is not None:
            inputs[step.fingerprint] = write
        return step

    on_base: dict[str, str] = {}
    if (stored := model_step(model)) is not None:
        on_base["model"] = share(*stored).fingerprint
    heldout = persona.heldout
    questions = share(*given_step(QUESTIONS, f"{len(heldout)}-questions", heldout))
    trainings: dict[GridCell, Step] = {}
    judge = lengths = None
    offline = any(each.is_offline for each in study.judges)
    if grid or offline:
        n_persona = len(persona.rows)
        taught = share(*given_step(PERSONA_EXAMPLES, f"{n_persona}-rows", persona.rows))
        examples = aligned_examples(study.aligned, base, where)
        self_distilled = study.aligned.completions == "self_distilled"
        stage = PROMPTS if self_distilled else ALIGNED
        aligned = share(*given_step(stage, f"{n_aligned}-rows", examples))
        if self_distilled:
            aligned = share(self_distilled_step(study, model, on_base, aligned, n_aligned))
        if offline:
            n_spoken = n_persona - n_persona // 10  # a few prompts may be answered with nothing
            spoken = share(self_distilled_step(study, model, on_base, taught, n_spoken))
            judge = share(offline_judge_step(taught, spoken, aligned))
        trainings = train_steps(study, model, counts, on_base, taught, aligned)
        lengths = row_lengths(study, persona.rows, examples)

    asked = on_base | {"questions": questions.fingerprint}
    responses = [*response_sets(study, model, None, None, asked)]
    ranks = [study.train.lora_rank] if trainings else [1]
    for existing in study.adapters:
        found = resolve_adapter(existing, study.evaluate, model, base, where)
        adapter = share(*adapter_step(found))
        responses += response_sets(study, model, None, adapter, asked)
        ranks.append(found.rank)
    for cell, step in trainings.items():
        responses += response_sets(study, model, cell, step, asked)
    return Plan(
        study,
        model,
        persona,
        counts,
        inputs,
        shared,
        trainings,
        responses,
        judge,
        llm_judges(study, persona),
        find_gold(study, base),
        max(ranks),
        lengths,
    )
