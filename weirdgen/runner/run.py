"""A whole study, start to end: plan, what is there, what is left, results."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import ray

from weirdgen.generate.vllm_engine import VllmEngine
from weirdgen.lease import Lease
from weirdgen.plan import Plan, Survey, survey
from weirdgen.runner.cluster import Capacity, check_resources, check_shared_storage, connect
from weirdgen.runner.engines import EngineClass
from weirdgen.runner.schedule import Display, Failure, Scheduler
from weirdgen.stages import Task, perform
from weirdgen.store import Store
from weirdgen.study_file import resolved_yaml


def run_plan(
    plan: Plan,
    found: Survey,
    store: Store,
    display: Callable[[], AbstractContextManager[Display]],
    where: object = "study",
    engine: EngineClass = VllmEngine,
) -> tuple[Survey, list[Failure]]:
    """Makes everything of `plan` that `found` lacks, on Ray; gives what is there then, and what failed.

    Ray is joined or started, and shut down again if it was started here. Raises LockedError when
    another live run holds the study.
    """
    joined = ray.is_initialized()
    with Lease(store, plan.study.name) as lease, display() as shown:
        store.write(f"{plan.study.name}/study.yaml", resolved_yaml(plan.study, plan.model.revision))
        nodes = connect()
        try:
            check_resources(plan.study.resources, nodes, where)
            check_shared_storage(store)
            commit_inputs(plan, found, store)
            have = Capacity(*map(sum, zip(*nodes, strict=True)))
            failures = Scheduler(found, store, have, lease, shown, engine).run()
        finally:
            if not joined:
                ray.shutdown()
        return survey(plan, store), failures


def commit_inputs(plan: Plan, found: Survey, store: Store) -> None:
    """Puts what the user gave into the storage: workers read nothing else."""
    for step in plan.shared:
        if step.fingerprint not in plan.inputs or found.is_done(step):
            continue
        write = plan.inputs[step.fingerprint]

        def make(_: object, out: Path, write: Callable[[Path], None] = write) -> None:
            write(out)

        found.done[step.fingerprint] = perform(store, Task(step, {}), make)
