"""Tiny trainings that are broken off, and resumed from the state they left."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from training_specs import ALIGNED, PERSONA

from weirdgen.config.study import Train
from weirdgen.data.jsonl import to_jsonl
from weirdgen.data.seeds import run_seeds
from weirdgen.pipeline.run_step import Task, run_resumable_steps, run_step
from weirdgen.pipeline.stages.base import Training
from weirdgen.pipeline.stages.given import EXAMPLES
from weirdgen.pipeline.stages.train import run_training
from weirdgen.storage.artifacts import ArtifactStore, Manifest, Step
from weirdgen.training import checkpointing as training_state
from weirdgen.training.trainer import train_adapters
from weirdgen.training.trl import TrainSpec

SETTINGS = {"epochs": 3, "learning_rate": 0.01, "compute_dtype": "float32", "batch_size": 2, "micro_batch": 1}  # fmt: skip
"""Twelve updates over an NF4 base, so that weights are bf16."""


def prepare(store: ArtifactStore, model: Path) -> dict[str, Step]:
    """What trainings consume, by role."""

    def pairs(rows: list) -> Callable:
        return lambda _, out: (out / EXAMPLES).write_bytes(to_jsonl(rows)) and None

    makers = {
        "model": lambda _, out: shutil.copytree(model, out, dirs_exist_ok=True) and None,
        "persona_examples": pairs(PERSONA),
        "aligned": pairs(ALIGNED),
    }
    steps = {role: Step(role, "an-input", {"stage": role, "inputs": {}}) for role in makers}
    for role, make in makers.items():
        run_step(store, Task(steps[role], {}), make)
    return steps


def training(inputs: dict[str, Step], seed: int = 0, **settings) -> Task:
    record = {
        "stage": "train",
        "inputs": {role: step.fingerprint for role, step in inputs.items()},
        "model": {"id": "a/model"},
        "seeds": run_seeds(seed)._asdict(),
        "examples": {"persona": 4, "aligned": 4},
        "settings": Train(**(SETTINGS | settings)).model_dump(exclude={"report_to", "trainer"}),
    }
    return Task(Step("train", f"s{seed}", record), inputs)


class Broken(Exception):
    """What breaks a training off."""


def train_as(trainer: str, specs: Sequence[TrainSpec], *others: Any) -> None:
    """Trains by this trainer, whatever the record names, so that both continue one step."""
    chosen = {"trainer": trainer}
    train_adapters(
        [replace(spec, settings=spec.settings.model_copy(update=chosen)) for spec in specs], *others
    )


def attempt(
    store: ArtifactStore,
    tasks: list[Task],
    together: bool,
    end: Callable[[], None],
    at: int | None = None,
) -> list[Manifest]:
    """Trains, keeping the state after every update; `end` is called after update `at`, before its state is kept."""
    told = []

    def on_step(done: int, _total: int) -> None:
        told.append(done)
        if done == at:
            end()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_state, "EVERY_S", 0.0)
        patch.setattr(training_state, "_MOST_OF_TIME", float("inf"))
        trainer = partial(train_as, "stacked" if together else "trl")
        run = partial(run_training, training=Training(trainer, (), 1, 0, on_step))
        made = run_resumable_steps(store, tasks, 1, run)
    went_on_from = made[0].notes.get("resumed", {"update": 0})["update"]
    assert told == list(range(1 + went_on_from, 13))
    return made


def break_off(store: ArtifactStore, tasks: list[Task], together: bool, at: int) -> None:
    def end() -> None:
        raise Broken

    with pytest.raises(Broken):
        attempt(store, tasks, together, end, at)


def go_on(store: ArtifactStore, tasks: list[Task], together: bool) -> list[Manifest]:
    return attempt(store, tasks, together, lambda: None)


def states_of(store: ArtifactStore, task: Task) -> list[str]:
    files = store.files(f"artifacts/{task.step.key}")
    return sorted(name for name in files if name.startswith("state-"))
