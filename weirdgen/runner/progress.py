"""How far a live run is: steps by stage, what runs where, and an estimate of the time left."""

from __future__ import annotations

import time
from collections.abc import Mapping

from weirdgen.pipeline.stages import STAGES
from weirdgen.pipeline.stages.responses import RESPONSES
from weirdgen.pipeline.stages.train import TRAIN
from weirdgen.pipeline.status import StepCounts
from weirdgen.runner.location import WorkerLocation
from weirdgen.runner.remote import TrainingProgress
from weirdgen.runner.scheduler import Scheduler
from weirdgen.runner.work_item import WorkItem, progress_of
from weirdgen.storage.run_record import RunningWork


def stage_counts(scheduler: Scheduler) -> dict[str, StepCounts]:
    """Stage -> its steps, for the stages that have any; a range of samples counts as one."""
    state = scheduler.state
    counts = {stage: [0, 0, 0, 0] for stage in STAGES}
    for step in [*state.plan.shared, *state.plan.trainings.values()]:
        counts[step.stage][0] += state.is_done(step)
    counts[RESPONSES.name][0] = sum(map(len, state.ranges.values()))
    for work in scheduler.running.values():
        counts[work.step.stage][1] += 0 if work.is_engine_start else len(work.batch)
    for failed in scheduler.queue.failures:
        counts[failed.step.partition("/")[0]][2] += 1
    for stage, waiting in scheduler.queue.counts.items():
        counts[stage][3] += waiting
    return {stage: StepCounts(*n) for stage, n in counts.items() if any(n)}


def running_work(
    scheduler: Scheduler, progress: Mapping[str, TrainingProgress]
) -> list[RunningWork]:
    """What runs now, with its location and its updates."""
    retried = scheduler.queue.retried
    return [
        _running(work, progress, 1 + len(retried.get(work.step.key, ())))
        for work in scheduler.running.values()
    ]


def _running(work: WorkItem, progress: Mapping[str, TrainingProgress], tries: int) -> RunningWork:
    engine, reported = work.engine, progress_of(work, progress)
    place = reported.place if reported else engine.place if engine else WorkerLocation()
    done, total = updates_of(work, progress)
    return RunningWork(
        steps=[] if work.is_engine_start else [each.step.key for each in work.batch],
        engine=engine.number if engine else None,
        attempt=work.attempt,
        tries=tries,
        for_s=round(time.monotonic() - work.started, 1),
        waits=work.is_training and reported is None,
        node=place.host,
        gpu=place.gpu,
        updates=(done, total) if total else None,
    )


def updates_of(work: WorkItem, progress: Mapping[str, TrainingProgress]) -> tuple[int, int]:
    """A training's updates, done and all; zeros where they are not known."""
    reported = progress_of(work, progress)
    return reported.updates if reported else (0, 0)


def seconds_left(scheduler: Scheduler, progress: Mapping[str, TrainingProgress]) -> float | None:
    """An estimate from the mean time of each stage's finished steps; None before there are any.

    Until a training has finished, the pace of a running one is used.
    """
    now = time.monotonic()
    mean = {stage: seconds / ended for stage, (ended, seconds) in scheduler.took.items()}
    for work in scheduler.running.values():
        done, total = updates_of(work, progress)
        if done and work.step.stage not in mean:
            mean[work.step.stage] = (now - work.started) / done * total
    lanes = {TRAIN.name: max(1, sum(work.is_training for work in scheduler.running.values()))}
    waiting = {stage: size for stage, size in scheduler.queue.sizes.items() if size}
    running = [work for work in scheduler.running.values() if not work.is_engine_start]
    if {*waiting, *(work.step.stage for work in running)} - mean.keys():
        return None
    seconds = sum(mean[stage] * size / lanes.get(stage, 1) for stage, size in waiting.items())
    for work in running:
        stage = work.step.stage
        rest = mean[stage] * work.size - (now - work.started)
        seconds += max(0.0, rest) / lanes.get(stage, 1)
    return seconds
