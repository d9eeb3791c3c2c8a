"""What runs on the cluster: a process for each training, an actor for each generation engine."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from io import FileIO
from typing import Any, NamedTuple

import ray

from weirdgen.generation.engine import Engine
from weirdgen.models.checkpoints import named_by_content
from weirdgen.pipeline.run_step import Task, run_resumable_steps, run_steps
from weirdgen.pipeline.stages import stage_of
from weirdgen.pipeline.stages.base import EngineSession, Training
from weirdgen.pipeline.stages.model import served_base
from weirdgen.runner.location import WorkerLocation, current_location, telling_node
from weirdgen.storage.artifacts import ArtifactStore, Manifest
from weirdgen.storage.cache import node_cache, scratch
from weirdgen.storage.disk_errors import on_node_disk
from weirdgen.training.trainer import Trainer

# Threads that wait by spinning take the cores from their neighbours: 145 s against 37 s for two
# trainings side by side on two cores.
WORKER_ENVIRONMENT = {
    "OMP_WAIT_POLICY": "PASSIVE",
    # Ray 2.60 shows every GPU to tasks that ask for none, unless told so.
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "1",
}


class StepResult(NamedTuple):
    """What came of a piece of work, and where."""

    manifests: list[Manifest]
    place: WorkerLocation


class TrainingProgress(NamedTuple):
    """Where an attempt at a training runs, and its progress."""

    attempt: int
    place: WorkerLocation
    updates: tuple[int, int] = (0, 0)
    """Done and all; zeros before the first."""


def _made(*manifests: Manifest) -> StepResult:
    return StepResult([*manifests], current_location())


def start_process(
    call: Callable[..., StepResult], *args: Any, threads: int, **options: Any
) -> ray.ObjectRef:
    """Call a function in a process of its own, with so many patient threads and Ray's options.

    A reused worker would keep GPU memory. The process is an actor's, which ends with the call as
    nobody keeps it. Of a node that fell silent Ray told the driver after 63 s that an actor was
    gone, and after 351 s, when gRPC gave the connection up, that a task was.
    """
    environment = {**WORKER_ENVIRONMENT, "OMP_NUM_THREADS": str(threads)}
    process: Any = _Process.options(runtime_env={"env_vars": environment}, **options).remote()
    return process.run.options(name=call.__name__).remote(call, *args)


@ray.remote(max_restarts=0, max_task_retries=0)
class _Process:
    @telling_node
    def run(self, call: Callable[..., StepResult], *args: Any) -> StepResult:
        return call(*args)


@contextmanager
def logged(store: ArtifactStore, path: str) -> Iterator[None]:
    """Sends everything this process prints into the file `path` of the store.

    Raises StorageError or NodeDiskError where no log can be begun.
    """
    with _log(store, path) as log:
        _flush()
        kept = os.dup(1), os.dup(2)
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        try:
            yield
        except BaseException:
            with suppress(OSError):
                traceback.print_exc()
            raise
        finally:
            _flush()
            for fd, original in zip((1, 2), kept, strict=True):
                os.dup2(original, fd)
                os.close(original)


@contextmanager
def _log(store: ArtifactStore, path: str) -> Iterator[FileIO]:
    """A file that is appended to; an object store gets it at the end."""
    if store.is_local:
        with store.open_log(path) as log:
            yield log
        return
    with ExitStack() as stack:
        with on_node_disk(node_cache()):
            file = stack.enter_context(scratch()) / "log"
            log = stack.enter_context(file.open("ab", buffering=0))
        try:
            yield log
        finally:
            with suppress(OSError):
                store.write(path, file.read_bytes())


def _flush() -> None:
    """A log that cannot be written costs its lines, and hides no error."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()


@ray.remote(num_cpus=0)
class ProgressTracker:
    """The trainings that run, by key.

    An attempt on a node that fell silent may live on, beside the next: it is not listened to. Where
    it begins after `end` it stays, so whoever reads compares attempts.
    """

    def __init__(self) -> None:
        self._begun: dict[str, TrainingProgress] = {}

    def begin(self, key: str, begun: TrainingProgress) -> None:
        if key not in self._begun or self._begun[key].attempt <= begun.attempt:
            self._begun[key] = begun

    def report(self, key: str, attempt: int, done: int, total: int) -> None:
        begun = self._begun.get(key)
        if begun is not None and begun.attempt == attempt:  # else it comes from one given up
            self._begun[key] = begun._replace(updates=(done, total))

    def end(self, key: str) -> None:
        self._begun.pop(key, None)

    def read(self) -> dict[str, TrainingProgress]:
        return self._begun


def run_on_cpu(uri: str, task: Task, log: str) -> StepResult:
    """Run a step whose stage needs neither a trainer nor an engine."""
    store = ArtifactStore(uri)
    with logged(store, log):
        return _made(*run_steps(store, [task], stage_of(task.step).run))


def run_training(
    uri: str,
    tasks: list[Task],
    trainer: Trainer,
    report_to: Sequence[str],
    micro_batch: int,
    tracker: Any,
    log: str,
) -> StepResult:
    """Run one training, or several stacked ones; report progress to `tracker` under the first one's key."""
    store, (first, *_) = ArtifactStore(uri), tasks

    def on_step(done: int, total: int) -> None:
        tracker.report.remote(first.step.key, first.attempt, done, total)

    tracker.begin.remote(first.step.key, TrainingProgress(first.attempt, current_location()))
    gpu_share = ray.get_runtime_context().get_assigned_resources().get("GPU", 0)
    training = Training(trainer, report_to, micro_batch, gpu_share, on_step)
    with logged(store, log):
        run = partial(stage_of(first.step).run, training=training)
        return _made(*run_resumable_steps(store, tasks, micro_batch, run))


@ray.remote(max_restarts=0, max_task_retries=0)
class EngineActor:
    """One open engine, which runs the steps of the engine's stages, one call after another."""

    def __init__(self, uri: str, make_engine: Callable[[], Engine]) -> None:
        self._uri = uri
        self._session = EngineSession(make_engine())

    def placed(self) -> WorkerLocation:
        """Answers once the actor has its GPU."""
        return current_location()

    @telling_node
    def open(self, task: Task, serve_base: str, max_rank: int, log: str) -> StepResult:
        """Open the store, and the base that `task`, any step for an engine, asks.

        Raises StorageError where the store does not answer: of an actor whose `__init__` raises, Ray
        reports only that it died.
        """
        self._store = ArtifactStore(self._uri)
        with logged(self._store, log):
            inputs = {
                role: named_by_content(self._store.payload(step, manifest), manifest.digest)
                for role, step in task.inputs.items()
                if role == "model" and (manifest := self._store.manifest(step))
            }
            base = served_base(task.step.record, inputs)
            self._session.engine.open(base, serve_base, max_rank)
            return _made()

    @telling_node
    def run(self, tasks: list[Task], log: str) -> StepResult:
        """Run steps of one stage that go together."""
        run = partial(stage_of(tasks[0].step).run, session=self._session)
        with logged(self._store, log):
            return _made(*run_steps(self._store, tasks, run))
