"""A whole study, start to end: plan, what is there, what is left, results."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import ray

from weirdgen.config.loading import resolved_yaml
from weirdgen.errors import BudgetError
from weirdgen.generation.factory import make_engine
from weirdgen.judging.queue import BUDGET
from weirdgen.pipeline.plan import Plan
from weirdgen.pipeline.resources.describe import memory_lines
from weirdgen.pipeline.resources.gpus import Gpus
from weirdgen.pipeline.resources.placement import place, uses_gpus
from weirdgen.pipeline.run_step import Task, run_step
from weirdgen.pipeline.state import StudyState, scan
from weirdgen.pipeline.status import failed_trainings
from weirdgen.runner.cluster import (
    Capacity,
    check_resources,
    check_shared_storage,
    cluster_gpus,
    connect,
)
from weirdgen.runner.engine_pool import EngineClass
from weirdgen.runner.recorder import Recorder
from weirdgen.runner.scheduler import Observer, Scheduler
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.lease import Lease
from weirdgen.storage.run_record import FailedStep
from weirdgen.training.trainer import Trainer, train_adapters

_log = logging.getLogger("weirdgen.run")


class RunResult(NamedTuple):
    """What a run leaves."""

    state: StudyState
    """What is there now."""
    failures: list[FailedStep]
    unjudged: Counter[str]
    """Why -> responses that were left without a judgment."""

    @property
    def exit_code(self) -> int:
        """0 where nothing failed and everything is there, judged."""
        if BUDGET in self.unjudged:
            return BudgetError.exit_code
        return 1 if self.failures or self.unjudged or not self.state.complete else 0

    @property
    def failed_trainings(self) -> Counter[float]:
        """Fraction -> trainings that failed."""
        return failed_trainings(self.failures, self.state.plan)


def run_plan(
    plan: Plan,
    state: StudyState,
    store: ArtifactStore,
    display: Callable[[], AbstractContextManager[Observer]],
    where: object = "study",
    engine: EngineClass | None = None,
    trainer: Trainer | None = None,
) -> RunResult:
    """Run every step of `plan` that `state` lacks, on Ray.

    `engine` and `trainer` take the place of those that the study names. Ray is joined or started, and shut
    down again if it was started here. Raises LockedError when another live run holds the study.
    """
    store.check_writable()
    joined = ray.is_initialized()
    nodes = connect()
    have = Capacity.of_all(nodes)
    try:
        state, lines = _placed(state, have, where)
        check_resources(state.plan.study, nodes, where)
        with (
            Lease(store, plan.study.name) as lease,
            display() as shown,
            Recorder(store, plan.study.name, lease) as recorder,
        ):
            for line in lines:
                _log.info(line)
            check_shared_storage(store)
            resolved = resolved_yaml(plan.study, plan.model.revision)
            store.write(f"{plan.study.name}/study.yaml", resolved)
            if commit_inputs(plan, state, store):
                state = scan(state.plan, store)  # what consumed them before counts again
            chosen = engine or partial(make_engine, plan.study.evaluate)
            trains = trainer or train_adapters
            watching = (shown, recorder)
            scheduler = Scheduler(state, store, have, lease, watching, chosen, trains)
            failures = scheduler.run()
            ran = RunResult(scan(plan, store), failures, scheduler.unjudged)
            recorder.end(ran.exit_code)
        return ran
    finally:
        if not joined:
            ray.shutdown()


def _placed(state: StudyState, have: Capacity, where: object) -> tuple[StudyState, list[str]]:
    """The state with numbers for `auto` among the resources, and how GPUs are shared in words.

    Raises InputError where GPU memory does not suffice.
    """
    study = state.plan.study
    gpus = cluster_gpus(have.gpus) if uses_gpus(study) else Gpus(have.gpus, None, "no GPU")
    placed = place(state, gpus, where)
    lines = [*memory_lines(state, placed)] if uses_gpus(study) else []
    plan = replace(state.plan, study=study.model_copy(update={"resources": placed.resources}))
    return replace(state, plan=plan), lines


def commit_inputs(plan: Plan, state: StudyState, store: ArtifactStore) -> bool:
    """Commit what the user gave, as workers read only the storage; return whether anything was missing."""
    missing = [
        step for step in plan.shared if step.fingerprint in plan.inputs and not state.is_done(step)
    ]
    for step in missing:
        write = plan.inputs[step.fingerprint]

        def make(_: object, out: Path, write: Callable[[Path], None] = write) -> None:
            write(out)

        state.record(step, run_step(store, Task(step, {}), make))
    return bool(missing)
