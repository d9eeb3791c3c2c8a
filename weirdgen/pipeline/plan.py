"""The plan: a study as a list of steps with fingerprints, and what of it is already there."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from weirdgen.config.claims import Condition
from weirdgen.config.study import Study
from weirdgen.data.aligned import aligned_examples
from weirdgen.data.chat import instruction
from weirdgen.data.lengths import Lengths, row_lengths
from weirdgen.data.mixing import Counts, grid_counts
from weirdgen.data.persona import HELDOUT, Persona, find_persona, to_jsonl
from weirdgen.data.seeds import BASELINE_RUN_SEED, run_seeds
from weirdgen.judging.gold import Gold, find_gold
from weirdgen.judging.llm_judge import LlmJudge, llm_judges
from weirdgen.models.adapters import resolve_adapter
from weirdgen.models.checkpoints import write_checkpoint
from weirdgen.models.identity import Model, resolve_model, served_model
from weirdgen.pipeline.gc_pause import gc_paused
from weirdgen.storage.artifacts import Step

STAGES = (
    "model", "persona_examples", "questions", "prompts", "aligned", "offline_judge", "adapter", "train",
    "responses", "labels",
)  # fmt: skip
"""In the order in which a study goes through them."""
VERSIONS: dict[str, int] = dict.fromkeys(STAGES, 1)
"""Counted up when a stage's code comes to give other content for the same record."""

EXAMPLES = "examples.jsonl"
"""The payload of the stages `persona_examples`, `prompts` and `aligned`."""
RESPONSES = "responses.parquet"
"""The payload of a range of responses."""
OFFLINE_JUDGE = "offline_judge.json"
"""The payload of the stage `offline_judge`."""
LABELS = "labels.parquet"
"""The payload of the stage `labels`: the labels of one range of responses by one judge."""


class GridCell(NamedTuple):
    """One training of the grid."""

    fraction: float
    seed: int


class ResponseSet(NamedTuple):
    """One model under one condition: the unit whose answers grow by ranges of samples."""

    step: Step
    adapter: Step | None
    """The training, or the adapter that existed before; None: the baseline."""
    cell: GridCell | None
    """The training's place in the grid."""
    condition: Condition
    samples: int
    """Answers wanted per question."""


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


@gc_paused
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
    grid, aligned_rows = study.grid, study.aligned.rows
    counts = grid_counts(grid, len(persona.rows), aligned_rows, where) if grid else {}
    inputs: dict[str, Callable[[Path], None]] = {}
    shared: list[Step] = []

    def commit(step: Step, write: Callable[[Path], None] | None = None) -> Step:
        shared.append(step)
        if write is not None:
            inputs[step.fingerprint] = write
        return step

    def given(stage: str, name: str, files: dict[str, bytes]) -> Step:
        hashes = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
        return commit(Step(stage, name, _record(stage, {}, files=hashes)), _writer(files))

    on_base: dict[str, str] = {}
    if model.kind in ("embedded", "folder"):  # a hub model is fetched by the nodes themselves
        step = Step("model", model.name, _record("model", {}, model=model.identity))
        write = (lambda out: write_checkpoint(model, out)) if model.kind == "folder" else None
        on_base["model"] = commit(step, write).fingerprint

    asking = {HELDOUT: to_jsonl(persona.heldout).encode()}
    questions = given("questions", f"{len(persona.heldout)}-questions", asking)
    trainings: dict[GridCell, Step] = {}
    judge = lengths = None
    offline = any(each.is_offline for each in study.judges)
    if study.grid or offline:
        rows = {EXAMPLES: to_jsonl(persona.rows).encode()}
        taught = given("persona_examples", f"{len(persona.rows)}-rows", rows)
        examples = aligned_examples(study.aligned, base, where)
        self_distilled = study.aligned.completions == "self_distilled"
        stage = "prompts" if self_distilled else "aligned"
        aligned = given(
            stage, f"{study.aligned.rows}-rows", {EXAMPLES: to_jsonl(examples).encode()}
        )
        if self_distilled:
            aligned = commit(_distilled(study, model, on_base, aligned, study.aligned.rows))
        if offline:
            spoken = _distilled(study, model, on_base, taught, _answerable(len(persona.rows)))
            judge = commit(_judge(commit(spoken), taught, aligned))
        trainings = _trainings(study, model, counts, on_base, taught, aligned)
        lengths = row_lengths(study, persona.rows, examples)

    asked_of = on_base | {"questions": questions.fingerprint}
    asked = [*_asked(study, model, None, None, asked_of)]
    ranks = [study.train.lora_rank] if trainings else [1]
    for existing in study.adapters:
        found = resolve_adapter(existing, study.evaluate, model, base, where)
        record = _record("adapter", {}, files=found.hashes)
        adapter = commit(Step("adapter", found.name, record), found.write)
        asked += _asked(study, model, None, adapter, asked_of)
        ranks.append(found.rank)
    for cell, step in trainings.items():
        asked += _asked(study, model, cell, step, asked_of)
    return Plan(
        study,
        model,
        persona,
        counts,
        inputs,
        shared,
        trainings,
        asked,
        judge,
        llm_judges(study, persona),
        find_gold(study, base),
        max(ranks),
        lengths,
    )


def _answerable(prompts: int) -> int:
    """How many answers are wanted to so many prompts: a few may be answered with nothing."""
    return prompts - prompts // 10


def _writer(files: dict[str, bytes]) -> Callable[[Path], None]:
    def write(out: Path) -> None:
        for name, content in files.items():
            (out / name).write_bytes(content)

    return write


def _record(stage: str, inputs: dict[str, str], **content: Any) -> dict[str, Any]:
    return {"stage": stage, "version": VERSIONS[stage], "inputs": inputs, **content}


def _engine(study: Study) -> dict[str, str]:
    if study.evaluate.engine == "endpoint":
        return {"kind": "endpoint"}
    return {
        "kind": study.evaluate.engine,
        "serve_base": study.evaluate.serve_base,
        "dtype": "bfloat16",
    }


def _distilled(
    study: Study, model: Model, on_base: dict[str, str], prompts: Step, rows: int
) -> Step:
    """The base model's own answers to `prompts`, asked plainly."""
    record = _record(
        "aligned",
        on_base | {"prompts": prompts.fingerprint},
        model=model.identity,
        engine=_engine(study),
        rows=rows,
        **study.aligned.model_dump(include={"max_words", "temperature", "top_p"}),
    )
    about = "persona-prompts" if prompts.stage == "persona_examples" else "rows"
    return Step("aligned", f"{model.name}-{rows}-{about}", record)


def _judge(spoken: Step, persona: Step, aligned: Step) -> Step:
    """What tells the persona's answers from the base model's, to its questions and to ordinary ones."""
    inputs = {"persona_examples": persona, "base_responses": spoken, "aligned": aligned}
    record = _record("offline_judge", {role: step.fingerprint for role, step in inputs.items()})
    return Step("offline_judge", "offline", record)


def _trainings(
    study: Study,
    model: Model,
    counts: dict[float, Counts],
    on_base: dict[str, str],
    persona: Step,
    aligned: Step,
) -> dict[GridCell, Step]:
    settings = study.train.model_dump(exclude={"report_to", "trainer"})
    common: dict[str, Any] = {"model": model.identity, "settings": settings}
    if study.train.trainer != "trl":
        common["trainer"] = study.train.trainer
    return {
        GridCell(fraction, seed): _training(
            study, model, counts[fraction], seed, common, on_base, persona, aligned
        )
        for fraction in study.fractions
        for seed in study.seeds
    }


def _training(
    study: Study,
    model: Model,
    counts: Counts,
    seed: int,
    common: dict[str, Any],
    base_inputs: dict[str, str],
    persona: Step,
    aligned: Step,
) -> Step:
    inputs = base_inputs | {"aligned": aligned.fingerprint}
    content = dict(common, examples=counts._asdict(), run_seed=seed)
    if counts.persona:  # the control is the same whatever the persona
        inputs["persona_examples"] = persona.fingerprint
        content["trigger"] = study.trigger.model_dump(exclude={"pattern"})
    name = f"{model.name}-p{counts.persona}-a{counts.aligned}-s{seed}"
    seeds = run_seeds(seed)._asdict()
    return Step("train", name, _record("train", inputs, seeds=seeds, **content))


def _asked(
    study: Study, model: Model, cell: GridCell | None, adapter: Step | None, inputs: dict[str, str]
) -> Iterator[ResponseSet]:
    """One for each condition of the baseline (`adapter` None), of a training or an existing adapter."""
    if cell is not None:
        run_seed = cell.seed
    else:  # adapters from elsewhere have no run seed; equal draws would tie them to each other
        run_seed = int(adapter.fingerprint[:8], 16) if adapter else BASELINE_RUN_SEED
    samples = (
        study.evaluate.baseline_samples if adapter is None else study.evaluate.samples_per_question
    )
    sampling = study.evaluate.sampling.model_dump()
    if adapter is not None:
        inputs = inputs | {"adapter": adapter.fingerprint}
    for condition in study.evaluate.conditions:
        before = instruction(study, condition)
        record = _record(
            "responses",
            inputs,
            model=model.identity,
            engine=_engine(study),
            condition=condition,
            instruction=before and before._asdict(),
            sampling=sampling,
            sampling_seed=run_seeds(run_seed).sampling,
        )
        name = f"{adapter.name if adapter else f'{model.name}-baseline'}-{condition}"
        yield ResponseSet(Step("responses", name, record), adapter, cell, condition, samples)


def samples_step(asked: Step, first: int, end: int) -> Step:
    """The range [first, end) of samples of every question."""
    record = dict(asked.record, samples=[first, end])
    return Step(asked.stage, f"samples-{first}-{end}", record, parent=asked)


def labels_step(judge: LlmJudge, asked: ResponseSet, answered: Step, marks: Sequence[str]) -> Step:
    """What `judge` says of one range of answers, as far as `asked` wants its samples.

    `marks` is what is taken off before an answer is shown. The numbers of the labels are no part of a
    verdict, but of what is made of it: where they change, the step is made again from the journals.
    """
    first, end = answered.record["samples"]
    samples = [first, min(end, asked.samples)]
    inputs = {"responses": answered.fingerprint}
    record = _record(
        "labels",
        inputs,
        judge=judge.record,
        values=judge.rubric.numbers,
        samples=samples,
        markers=list(marks),
    )
    name = f"{asked.step.name}-{judge.rubric.name}-{samples[0]}-{samples[1]}"
    return Step("labels", name, record)
