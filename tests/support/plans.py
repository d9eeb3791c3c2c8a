"""A plan's fingerprints, and artifacts made for its steps."""

from __future__ import annotations

from weirdgen.pipeline.plan import Plan
from weirdgen.pipeline.run_step import Task, run_step
from weirdgen.storage.artifacts import ArtifactStore, Step


def fingerprints(plan: Plan) -> dict[str, str]:
    steps = [*plan.shared, *plan.trainings.values(), *(asked.step for asked in plan.response_sets)]
    return {f"{step.stage} {step.name}": step.fingerprint for step in steps}


def make(store: ArtifactStore, plan: Plan, step: Step, text: str = "x") -> None:
    inputs = {role: plan.by_fingerprint[fp] for role, fp in step.inputs.items()}
    stale = store.manifest(step)
    task = Task(step, inputs, replacing=stale)
    run_step(store, task, lambda _, out: (out / "file").write_text(text) and None)
