"""A whole study, start to end: plan, what is there, what is left, results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import ray

from weirdgen.errors import BudgetError
from weirdgen.generate.choose import make_engine
from weirdgen.gpus import Gpus
from weirdgen.judge.desk import BUDGET
from weirdgen.lease import Lease
from weirdgen.plan import Plan
from weirdgen.report.plan import memory_lines
from weirdgen.runner.cluster import (
    Capacity,
    check_resources,
    check_shared_storage,
    cluster_gpus,
    connect,
)
from weirdgen.runner.engines import EngineClass
from weirdgen.runner.recorder import Recorder
from weirdgen.runner.schedule import Display, Scheduler
from weirdgen.runner.work import Failure
from weirdgen.sharing import place, uses_gpus
from weirdgen.stages import Task, perform
from weirdgen.status import failed_trainings
from weirdgen.store import Store
from weirdgen.study_file import resolved_yaml
from weirdgen.survey import Survey, survey


class Ran(NamedTuple):
    """What a run leaves."""

    found: Survey
    """What is there now."""
    failures: list[Failure]
    unjudged: Counter[str]
    """Why -> answers that were left without a verdict."""

    @property
    def exit_code(self) -> int:
        """0 where nothing failed and everything is there, judged."""
        if BUDGET in self.unjudged:
            return BudgetError.exit_code
        return 1 if self.failures or self.unjudged or not self.found.complete else 0

    @property
    def failed_trainings(self) -> Counter[float]:
        """Fraction -> trainings that failed."""
        return failed_trainings({failure.step.key for failure in self.failures}, self.found.plan)


def run_plan(
    plan: Plan,
    found: Survey,
    store: Store,
    display: Callable[[], AbstractContextManager[Display]],
    where: object = "study",
    engine: EngineClass | None = None,
) -> Ran:
    """Makes everything of `plan` that `found` lacks, on Ray.

    `engine` takes the place of the one that the study names. Ray is joined or started, and shut
    down again if it was started here. Raises LockedError when another live run holds the study.
    """
    store.check_writable()
    joined = ray.is_initialized()
    nodes = connect()
    have = Capacity.of_all(nodes)
    try:
        found, lines = _placed(found, have, where)
        check_resources(found.plan.study, nodes, where)
        with (
            Lease(store, plan.study.name) as lease,
            display() as watched,
            Recorder(store, plan.study.name, lease, watched) as shown,
        ):
            for line in lines:
                shown.event(line)
            check_shared_storage(store)
            resolved = resolved_yaml(plan.study, plan.model.revision)
            store.write(f"{plan.study.name}/study.yaml", resolved)
            if commit_inputs(plan, found, store):
                found = survey(found.plan, store)  # what consumed them before counts again
            chosen = engine or partial(make_engine, plan.study.evaluate)
            scheduler = Scheduler(found, store, have, lease, shown, chosen)
            failures = scheduler.run()
            ran = Ran(survey(plan, store), failures, scheduler.unjudged)
            shown.end(ran.exit_code)
        return ran
    finally:
        if not joined:
            ray.shutdown()


def _placed(found: Survey, have: Capacity, where: object) -> tuple[Survey, list[str]]:
    """The survey with numbers for `auto` among the resources, and how GPUs are shared in words.

    Raises InputError where GPU memory does not suffice.
    """
    study = found.plan.study
    gpus = cluster_gpus(have.gpus) if uses_gpus(study) else Gpus(have.gpus, None, "no GPU")
    placed = place(found, gpus, where)
    lines = [*memory_lines(found, placed)] if uses_gpus(study) else []
    plan = replace(found.plan, study=study.model_copy(update={"resources": placed.resources}))
    return replace(found, plan=plan), lines


def commit_inputs(plan: Plan, found: Survey, store: Store) -> bool:
    """Puts what the user gave into the storage: workers read nothing else. Whether anything lacked."""
    lacking = [
        step for step in plan.shared if step.fingerprint in plan.inputs and not found.is_done(step)
    ]
    for step in lacking:
        write = plan.inputs[step.fingerprint]

        def make(_: object, out: Path, write: Callable[[Path], None] = write) -> None:
            write(out)

        found.done[step.fingerprint] = perform(store, Task(step, {}), make)
    return bool(lacking)
