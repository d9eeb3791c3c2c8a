"""Running steps against the store: fetch their inputs, run them, commit what they wrote with its provenance."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from weirdgen.errors import NodeError
from weirdgen.storage.artifacts import ArtifactStore, Manifest, Step
from weirdgen.storage.provenance import provenance
from weirdgen.training.checkpointing import TrainingCheckpoints


@dataclass(frozen=True)
class Task:
    """A step with the steps it consumes, by role: all that a worker needs to know."""

    step: Step
    inputs: dict[str, Step]
    attempt: int = 1
    """Counted from 1."""
    replacing: Manifest | None = None
    """A committed manifest whose inputs have changed since."""


Inputs = Mapping[str, Path]
"""Role -> folder of the payload on this node."""
Notes = dict[str, Any]
"""What a step reports of itself; it goes into the manifest."""


class RunningStep(NamedTuple):
    """A step while it runs."""

    step: Step
    inputs: Inputs
    out: Path
    """The empty folder for its payload."""

    @property
    def record(self) -> dict[str, Any]:
        return self.step.record


RunSteps = Callable[[Sequence[RunningStep]], Notes | None]
"""Writes the payloads of steps that run together; returns notes that hold for each of them."""


def run_steps(store: ArtifactStore, tasks: Sequence[Task], run: RunSteps) -> list[Manifest]:
    """Run several steps together and commit each; notes and time are those of all.

    Where the notes say that a training resumed, the time includes what came before. Raises
    NodeError where an input is not in the store, and whatever `run` raises.
    """
    started = time.monotonic()
    fetched = [_fetch(store, task.inputs) for task in tasks]
    with ExitStack() as stack:
        attempts = [stack.enter_context(store.attempt(task.step)) for task in tasks]
        running = [
            RunningStep(task.step, folders, out)
            for task, (folders, _), (_, out) in zip(tasks, fetched, attempts, strict=True)
        ]
        notes = run(running) or {}
        earlier_s = notes.get("resumed", {}).get("wall_s", 0.0)
        wall_s = round(earlier_s + time.monotonic() - started, 3)
        made = {**provenance(), "wall_s": wall_s, "notes": notes}
        return [
            store.commit(
                task.step,
                attempt,
                inputs=digests,
                provenance=made | {"attempts": task.attempt},
                replacing=task.replacing,
            )
            for task, attempt, (_, digests) in zip(tasks, attempts, fetched, strict=True)
        ]


def run_step(
    store: ArtifactStore, task: Task, write: Callable[[Inputs, Path], Notes | None]
) -> Manifest:
    """Run one step with `write(inputs, out)`, and commit it. Raises as `run_steps` does."""

    def run(steps: Sequence[RunningStep]) -> Notes | None:
        return write(steps[0].inputs, steps[0].out)

    (manifest,) = run_steps(store, [task], run)
    return manifest


def run_resumable_steps(
    store: ArtifactStore,
    tasks: Sequence[Task],
    micro_batch: int,
    run: Callable[[Sequence[RunningStep], TrainingCheckpoints], Notes | None],
) -> list[Manifest]:
    """Run trainings that continue from the checkpoints of an earlier attempt, and commit each."""
    # Read before the inputs are: a checkpoint is never taken for one of inputs that came later.
    digests = [_digests(store, task.inputs) for task in tasks]
    checkpoints = TrainingCheckpoints(store, [task.step for task in tasks], digests, micro_batch)
    manifests = run_steps(store, tasks, lambda steps: run(steps, checkpoints))
    checkpoints.delete()
    return manifests


def _digests(store: ArtifactStore, inputs: Mapping[str, Step]) -> dict[str, str]:
    """The digests of the inputs that are there, by fingerprint."""
    manifests = {step.fingerprint: store.manifest(step) for step in inputs.values()}
    return {key: manifest.digest for key, manifest in manifests.items() if manifest is not None}


def _fetch(
    store: ArtifactStore, inputs: Mapping[str, Step]
) -> tuple[dict[str, Path], dict[str, str]]:
    """The inputs' payloads on this node by role, and their digests by fingerprint."""
    folders, digests = {}, {}
    for role, step in inputs.items():
        manifest = store.manifest(step)
        if manifest is None:
            raise NodeError(f"{step.key} is not in the storage {store.uri} as this node sees it")
        folders[role] = store.payload(step, manifest)
        digests[step.fingerprint] = manifest.digest
    return folders, digests
