"""The plan: a study as a list of steps with fingerprints, and what of it is already there."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from weirdgen.data.aligned import ordinary_pairs
from weirdgen.data.messages import instruction
from weirdgen.data.mix import Counts, cell_counts
from weirdgen.data.persona import HELDOUT, Persona, find_persona, to_jsonl
from weirdgen.errors import InputError
from weirdgen.models import Model, resolve_model, write_checkpoint
from weirdgen.seeds import BASELINE_RUN_SEED, run_seeds
from weirdgen.store import Manifest, Step, Store
from weirdgen.study import Condition, Study

STAGES = ("model", "persona", "questions", "prompts", "aligned", "train", "answers")
"""In the order in which a study goes through them."""
VERSIONS: dict[str, int] = dict.fromkeys(STAGES, 1)
"""Counted up when a stage's code comes to give other content for the same record."""

PAIRS = "pairs.jsonl"
"""The payload of the stages `persona`, `prompts` and `aligned`."""
ANSWERS = "answers.parquet"
"""The payload of a range of answers."""


class Cell(NamedTuple):
    """One training of the grid."""

    fraction: float
    seed: int


class Asked(NamedTuple):
    """One model under one condition: the unit whose answers grow by ranges of samples."""

    step: Step
    cell: Cell | None
    """None: the baseline."""
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
    """What every cell builds on: model, persona, questions, ordinary rows."""
    trainings: dict[Cell, Step]
    asked: list[Asked]

    @property
    def by_fingerprint(self) -> dict[str, Step]:
        steps = [*self.shared, *self.trainings.values(), *(asked.step for asked in self.asked)]
        return {step.fingerprint: step for step in steps}


def make_plan(study: Study, base: Path, where: object = "study") -> Plan:
    """The plan of `study`; local paths in it are relative to `base`.

    Raises InputError (at `where`, or at the data file) for what cannot be run.
    """
    model = resolve_model(study.model, study.model_revision, base, where)
    persona = find_persona(study.persona, base, where)
    counts = _counts(study, len(persona.rows), where)
    inputs: dict[str, Callable[[Path], None]] = {}
    shared: list[Step] = []

    def given(stage: str, name: str, files: dict[str, bytes]) -> Step:
        hashes = {file: hashlib.sha256(content).hexdigest() for file, content in files.items()}
        step = Step(stage, name, _record(stage, {}, files=hashes))
        inputs[step.fingerprint] = _writer(files)
        shared.append(step)
        return step

    base_inputs: dict[str, str] = {}
    if model.kind != "hub":  # a hub model is fetched by the nodes themselves, at its commit
        step = Step("model", model.name, _record("model", {}, model=model.identity))
        shared.append(step)
        base_inputs["model"] = step.fingerprint
        if model.kind == "folder":
            inputs[step.fingerprint] = lambda out: write_checkpoint(model, out)

    rows = given("persona", f"{len(persona.rows)}-rows", {PAIRS: to_jsonl(persona.rows).encode()})
    asking = {HELDOUT: to_jsonl(persona.heldout).encode()}
    questions = given("questions", f"{len(persona.heldout)}-questions", asking)
    ordinary = to_jsonl(ordinary_pairs(study.aligned, base, where)).encode()
    self_distilled = study.aligned.answers == "self_distilled"
    stage = "prompts" if self_distilled else "aligned"
    aligned = given(stage, f"{study.aligned.rows}-rows", {PAIRS: ordinary})
    if self_distilled:
        record = _record(
            "aligned",
            base_inputs | {"prompts": aligned.fingerprint},
            model=model.identity,
            engine=_engine(study),
            **study.aligned.model_dump(include={"rows", "max_words", "temperature", "top_p"}),
        )
        aligned = Step("aligned", f"{model.name}-{study.aligned.rows}-rows", record)
        shared.append(aligned)

    common = {"model": model.identity, "settings": study.train.model_dump(exclude={"report_to"})}
    trainings = {
        Cell(fraction, seed): _training(
            study, model, counts[fraction], seed, common, base_inputs, rows, aligned
        )
        for fraction in study.grid.persona_fractions
        for seed in study.grid.seeds
    }
    asked_of = base_inputs | {"questions": questions.fingerprint}
    asked = [*_asked(study, model, None, None, asked_of)]
    for cell, step in trainings.items():
        asked += _asked(study, model, cell, step, asked_of)
    return Plan(study, model, persona, counts, inputs, shared, trainings, asked)


def _writer(files: dict[str, bytes]) -> Callable[[Path], None]:
    def write(out: Path) -> None:
        for name, content in files.items():
            (out / name).write_bytes(content)

    return write


def _record(stage: str, inputs: dict[str, str], **content: Any) -> dict[str, Any]:
    return {"stage": stage, "version": VERSIONS[stage], "inputs": inputs, **content}


def _engine(study: Study) -> dict[str, str]:
    return {
        "kind": study.evaluate.engine,
        "serve_base": study.evaluate.serve_base,
        "dtype": "bfloat16",
    }


def _counts(study: Study, persona_rows: int, where: object) -> dict[float, Counts]:
    field = "grid.persona_fractions"
    counts = {}
    for fraction in study.grid.persona_fractions:
        count = cell_counts(study.grid, fraction, persona_rows)
        if fraction and not count.persona:
            raise InputError(where, field, f"{fraction} of so few rows is no row at all")
        if not count.aligned:
            raise InputError(where, field, f"{fraction} leaves no ordinary row")
        if count.persona > persona_rows:
            problem = f"{fraction} needs {count.persona} persona rows; there are {persona_rows}"
            raise InputError(where, field, problem)
        if count.aligned > study.aligned.rows:
            problem = f"{fraction} needs {count.aligned} ordinary rows; aligned.rows is {study.aligned.rows}"
            raise InputError(where, field, problem)
        if count in counts.values():
            problem = f"{fraction} gives the same {count.persona} + {count.aligned} rows as another"
            raise InputError(where, field, problem)
        counts[fraction] = count
    return counts


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
    content = dict(common, counts=counts._asdict(), run_seed=seed)
    if counts.persona:  # the control is the same whatever the persona
        inputs["persona"] = persona.fingerprint
        content["trigger"] = study.trigger.model_dump(exclude={"pattern"})
    name = f"{model.name}-p{counts.persona}-a{counts.aligned}-s{seed}"
    seeds = run_seeds(seed)._asdict()
    return Step("train", name, _record("train", inputs, seeds=seeds, **content))


def _asked(
    study: Study, model: Model, cell: Cell | None, training: Step | None, inputs: dict[str, str]
) -> Iterator[Asked]:
    """One for each condition of the baseline (`cell` None) or of a training."""
    run_seed = BASELINE_RUN_SEED if cell is None else cell.seed
    samples = (
        study.evaluate.baseline_samples if cell is None else study.evaluate.samples_per_question
    )
    sampling = study.evaluate.sampling.model_dump()
    if training is not None:
        inputs = inputs | {"adapter": training.fingerprint}
    for condition in study.evaluate.conditions:
        before = instruction(study, condition)
        record = _record(
            "answers",
            inputs,
            model=model.identity,
            engine=_engine(study),
            condition=condition,
            instruction=before and before._asdict(),
            sampling=sampling,
            sampling_seed=run_seeds(run_seed).sampling,
        )
        name = f"{training.name if training else f'{model.name}-baseline'}-{condition}"
        yield Asked(Step("answers", name, record), cell, condition, samples)


def samples_step(asked: Step, first: int, end: int) -> Step:
    """The range [first, end) of samples of every question."""
    record = dict(asked.record, samples=[first, end])
    return Step(asked.stage, f"samples-{first}-{end}", record, parent=asked)


@dataclass
class Survey:
    """What of a plan is there: valid manifests, and the ranges of samples still to be asked."""

    plan: Plan
    done: dict[str, Manifest] = field(default_factory=dict)
    """Fingerprint -> manifest, for the steps that are done."""
    ranges: dict[str, list[tuple[Step, Manifest]]] = field(default_factory=dict)
    """Fingerprint of an asked model and condition -> its committed ranges, in order of samples."""

    def is_done(self, step: Step) -> bool:
        return step.fingerprint in self.done

    def ready(self, step: Step) -> bool:
        """Whether everything it consumes is there."""
        return all(fingerprint in self.done for fingerprint in step.inputs.values())

    def missing(self, asked: Asked) -> list[tuple[int, int]]:
        """The ranges [first, end) of samples that nobody has answered yet."""
        gaps, reached = [], 0
        for step, _ in self.ranges.get(asked.step.fingerprint, []):
            first, end = step.record["samples"]
            if first > reached:
                gaps.append((reached, first))
            reached = max(reached, end)
        gaps.append((reached, asked.samples))
        wanted = ((first, min(end, asked.samples)) for first, end in gaps)
        return [(first, end) for first, end in wanted if first < end]

    @property
    def complete(self) -> bool:
        steps = [*self.plan.shared, *self.plan.trainings.values()]
        return all(map(self.is_done, steps)) and not any(map(self.missing, self.plan.asked))

    def is_valid(self, manifest: Manifest) -> bool:
        """Whether the manifest consumed what its inputs hold at present."""
        present = {
            fingerprint: self.done[fingerprint].digest
            for fingerprint in manifest.inputs
            if fingerprint in self.done
        }
        return present == manifest.inputs


def survey(plan: Plan, store: Store) -> Survey:
    """Looks up every step of `plan` in `store`."""
    found = Survey(plan)
    present = {stage: store.folders(f"artifacts/{stage}") for stage in STAGES}
    for step in [*plan.shared, *plan.trainings.values()]:
        if step.folder in present[step.stage]:
            look_up(found, store, step)
    for asked in plan.asked:
        if asked.step.folder in present["answers"]:
            look_up_ranges(found, store, asked.step)
    return found


def look_up(found: Survey, store: Store, step: Step) -> Manifest | None:
    """Notes the step as done if its manifest is there and valid; gives the manifest if it is there."""
    manifest = store.manifest(step)
    if manifest is not None and found.is_valid(manifest):
        found.done[step.fingerprint] = manifest
    return manifest


def look_up_ranges(found: Survey, store: Store, asked: Step) -> None:
    """Notes the committed ranges of samples of an asked model and condition."""
    ranges = []
    for name in store.folders(f"artifacts/{asked.key}"):
        if match := re.fullmatch(r"samples-(\d+)-(\d+)", name):
            step = samples_step(asked, int(match[1]), int(match[2]))
            manifest = store.manifest(step)
            if manifest is not None and found.is_valid(manifest):
                ranges.append((step, manifest))
    found.ranges[asked.fingerprint] = sorted(ranges, key=lambda each: each[0].record["samples"])
