"""A whole study, start to end: plan, what is there, what is left, results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import ray

from weirdgen.generate.choose import make_engine
from weirdgen.lease import Lease
from weirdgen.plan import Plan
from weirdgen.runner.cluster import Capacity, check_resources, check_shared_storage, connect
from weirdgen.runner.engines import EngineClass
from weirdgen.runner.schedule import Display, Scheduler
from weirdgen.runner.work import Failure
from weirdgen.stages import Task, perform
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
    def failed_trainings(self) -> Counter[float]:
        """Fraction -> trainings that failed."""
        failed = {failure.step.fingerprint for failure in self.failures}
        trainings = self.found.plan.trainings.items()
        return Counter(cell.fraction for cell, step in trainings if step.fingerprint in failed)


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
    try:
        check_resources(plan.study, nodes, where)
        with Lease(store, plan.study.name) as lease, display() as shown:
            check_shared_storage(store)
            resolved = resolved_yaml(plan.study, plan.model.revision)
            store.write(f"{plan.study.name}/study.yaml", resolved)
            commit_inputs(plan, found, store)
            have = Capacity(*map(sum, zip(*nodes, strict=True)))
            chosen = engine or partial(make_engine, plan.study.evaluate)
            scheduler = Scheduler(found, store, have, lease, shown, chosen)
            failures = scheduler.run()
        return Ran(survey(plan, store), failures, scheduler.unjudged)
    finally:
        if not joined:
            ray.shutdown()


def commit_inputs(plan: Plan, found: Survey, store: Store) -> None:
    """Puts what the user gave into the storage: workers read nothing else."""
    for step in plan.shared:
        if step.fingerprint not in plan.inputs or found.is_done(step):
            continue
        write = plan.inputs[step.fingerprint]

        def make(_: object, out: Path, write: Callable[[Path], None] = write) -> None:
            write(out)

        found.done[step.fingerprint] = perform(store, Task(step, {}), make)
