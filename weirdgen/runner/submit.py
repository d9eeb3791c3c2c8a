"""How waiting work becomes a task: its step is looked up once more before it starts."""

from __future__ import annotations

from collections.abc import Mapping

from weirdgen.pipeline.run_step import Task
from weirdgen.pipeline.state import StudyState, look_up
from weirdgen.runner.work_item import WorkItem
from weirdgen.storage.artifacts import ArtifactStore, Step, is_attempt


def as_task(
    work: WorkItem, state: StudyState, store: ArtifactStore, steps: Mapping[str, Step]
) -> Task | None:
    """The work as a task, its attempt counted on from those that the storage holds; `steps`: by fingerprint.

    None where the step, or a part of its range of samples, is there: made by another study, or its
    inputs came back the same. `state` knows it then.
    """
    step, stale = work.step, None
    if work.response_set is not None:
        look_up(state, store, work.response_set.step)
        if tuple(step.record["samples"]) not in state.missing(work.response_set):
            return None
    if store.exists(f"artifacts/{step.key}"):  # most are not: one request to an object store
        stale = store.manifest(step) if work.response_set else look_up(state, store, step)
        if state.is_done(step):
            return None
        begun = store.folders(f"artifacts/{step.key}")
        work.attempt = max(work.attempt, 1 + sum(map(is_attempt, begun)))
    return Task(step, inputs_of(step, steps), work.attempt, stale)


def inputs_of(step: Step, steps: Mapping[str, Step]) -> dict[str, Step]:
    """Role -> the step that this one consumes; `steps`: by fingerprint."""
    return {role: steps[fingerprint] for role, fingerprint in step.inputs.items()}
