"""Training: one adapter for each cell of the grid."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from weirdgen.config.evaluation_spec import Trigger
from weirdgen.config.study import Study, Train
from weirdgen.data.mixing import Counts, mix
from weirdgen.data.seeds import Seeds, run_seeds
from weirdgen.models.identity import Model
from weirdgen.pipeline.run_step import Notes, RunningStep
from weirdgen.pipeline.stages.base import Stage, Training
from weirdgen.pipeline.stages.given import read_examples
from weirdgen.pipeline.stages.model import base_checkpoint
from weirdgen.storage.artifacts import Step
from weirdgen.training.checkpointing import TrainingCheckpoints
from weirdgen.training.trl import TrainSpec


class GridCell(NamedTuple):
    """One training run of the grid."""

    fraction: float
    seed: int


def train_steps(
    study: Study,
    model: Model,
    counts: Mapping[float, Counts],
    base: dict[str, str],
    persona: Step,
    aligned: Step,
) -> dict[GridCell, Step]:
    """The training runs of a study's grid; `counts`: examples of each fraction."""
    settings = study.train.model_dump(exclude={"report_to", "trainer"})
    common: dict[str, Any] = {"model": model.identity, "settings": settings}
    if study.train.trainer != "trl":
        common["trainer"] = study.train.trainer
    steps = {}
    for fraction in study.fractions:
        of_fraction = counts[fraction]
        inputs = base | {"aligned": aligned.fingerprint}
        content = common | {"examples": of_fraction._asdict()}
        if of_fraction.persona:  # the control is the same whatever the persona
            inputs["persona_examples"] = persona.fingerprint
            content["trigger"] = study.trigger.model_dump(exclude={"pattern"})
        for seed in study.seeds:
            steps[GridCell(fraction, seed)] = TRAIN.step(
                f"{model.name}-p{of_fraction.persona}-a{of_fraction.aligned}-s{seed}",
                inputs,
                seeds=run_seeds(seed)._asdict(),
                run_seed=seed,
                **content,
            )
    return steps


def run_training(
    steps: Sequence[RunningStep], checkpoints: TrainingCheckpoints, training: Training
) -> Notes:
    """Train an adapter for each step; several where the study's trainer is `stacked`."""
    specs = [train_spec(running, training) for running in steps]
    outs = [running.out for running in steps]
    training.trainer(specs, outs, training.on_step, checkpoints, training.gpu_share)
    stacked = specs[0].settings.trainer == "stacked"
    batched = {"batched_steps": len(steps)} if stacked else {}
    return {"micro_batch": training.micro_batch, **batched, **checkpoints.notes}


def train_spec(running: RunningStep, training: Training) -> TrainSpec:
    """Everything that decides the adapter of a step."""
    record, inputs = running.record, running.inputs
    seeds = Seeds(**record["seeds"])
    rows = mix(
        read_examples(inputs["persona_examples"]) if "persona_examples" in inputs else [],
        read_examples(inputs["aligned"]),
        Counts(**record["examples"]),
        Trigger.model_construct(**record.get("trigger", {})),
        seeds.data,
    )
    own = {"report_to": list(training.report_to), "micro_batch": training.micro_batch}
    own["trainer"] = record.get("trainer", "trl")
    return TrainSpec(
        model_dir=base_checkpoint(record, inputs),
        model_id=record["model"]["id"],
        rows=rows,
        seeds=seeds,
        settings=Train(**record["settings"] | own),
    )


def _examples(step: Step) -> int:
    return sum(step.record["examples"].values())


def _equal_examples(step: Step) -> Hashable:
    return tuple(sorted(step.record["examples"].items()))


TRAIN = Stage(
    "train",
    "training",
    run=run_training,
    starts_by=_examples,  # the shortest first: engines and judges have work early
    batch_key=_equal_examples,
)
