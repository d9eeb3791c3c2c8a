"""How steps are handed to Ray: looked up once more, then started in a process of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ray

from weirdgen.config.study import Study
from weirdgen.pipeline.run_step import Task
from weirdgen.pipeline.stages import stage_of
from weirdgen.pipeline.state import StudyState, look_up
from weirdgen.runner.remote import run_on_cpu, run_training, start_process
from weirdgen.runner.work_item import WorkItem
from weirdgen.storage.artifacts import ArtifactStore, Step, is_attempt
from weirdgen.training.trainer import Trainer


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


def start_on_cpu(
    store: ArtifactStore, task: Task, log: str, placing: Mapping[str, Any]
) -> ray.ObjectRef:
    """Start a step that needs neither an engine nor a trainer; `placing`: options of Ray's."""
    cpus = stage_of(task.step).cpus
    return start_process(run_on_cpu, store.uri, task, log, threads=1, num_cpus=cpus, **placing)


def start_training(
    study: Study,
    store: ArtifactStore,
    work: WorkItem,
    tasks: Sequence[Task],
    tracker: Any,
    log: str,
    placing: Mapping[str, Any],
    trainer: Trainer,
) -> ray.ObjectRef:
    """Start a training, stacked ones together; it reports to `tracker` how far it is.

    `placing`: options of Ray's.
    """
    resources, report_to = study.resources, study.train.report_to
    return start_process(
        run_training,
        *(store.uri, tasks, trainer, report_to, work.micro_batch, tracker, log),
        threads=max(1, int(resources.cpus_per_training)),
        num_gpus=resources.gpus_per_training,
        num_cpus=resources.cpus_per_training,
        **placing,
    )
