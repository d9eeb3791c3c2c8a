"""Units of work for the driver: a step with its attempts, alone or as the first of a batch."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from weirdgen.pipeline.stages import stage_of
from weirdgen.pipeline.stages.base import Executor
from weirdgen.pipeline.stages.responses import ResponseSet, samples_step
from weirdgen.pipeline.state import StudyState
from weirdgen.runner.engine_pool import OpenEngine
from weirdgen.runner.location import WorkerLocation
from weirdgen.runner.remote import StepResult, TrainingProgress
from weirdgen.storage.artifacts import Step
from weirdgen.storage.timeline import ENGINE_START, Span, SpanDetails


@dataclass(eq=False)
class WorkItem:
    """A step to run."""

    step: Step
    response_set: ResponseSet | None = None
    """For a range of samples: the responses that it is a part of."""
    number: int = 0
    """Its place among all that ever waited."""
    attempt: int = 1
    crashes: int = 0
    """How often its process died."""
    errors: int = 0
    """How often it ended in an error that may have been its node's."""
    node_losses: int = 0
    """How often its node was lost."""
    failed_on: frozenset[str] = frozenset()
    """The ids of the nodes where it would fail again."""
    micro_batch: int = 0
    started: float = 0.0
    engine: OpenEngine | None = None
    is_engine_start: bool = False
    """Whether this is the start of `engine`, which is no step."""
    batched_with: list[WorkItem] = field(default_factory=list)
    """Trainings, or responses of one model, that run together with this."""
    most_together: int | None = None
    """The largest batch that it may join, after a larger one failed."""

    @property
    def batch(self) -> list[WorkItem]:
        """This item and what runs together with it."""
        return [self, *self.batched_with]

    @property
    def avoids(self) -> frozenset[str]:
        """The ids of the nodes where an item of the batch would fail again."""
        return frozenset[str]().union(*(each.failed_on for each in self.batch))

    def avoid(self, node: str) -> None:
        """Keeps the batch off the node from now on."""
        for each in self.batch:
            each.failed_on |= {node}

    @property
    def executor(self) -> Executor:
        """What runs it."""
        return stage_of(self.step).executor

    @property
    def is_training(self) -> bool:
        return self.executor == "training"

    @property
    def size(self) -> int:
        """What its time grows with."""
        return stage_of(self.step).size(self.step)


def span_of(work: WorkItem, made: StepResult | None) -> Span | None:
    """The timeline's span of what has just ended; None where its location is not known.

    `made`: None where it failed.
    """
    engine, now = work.engine, time.time()
    place = made.place if made else engine.place if engine else WorkerLocation()
    if not place.host:
        return None
    number, took = engine.number if engine else None, time.monotonic() - work.started
    return Span(
        name=f"engine {number}" if work.is_engine_start else work.step.key,
        cat=ENGINE_START if work.is_engine_start else work.step.stage,
        ts=round(1e6 * (now - took)),
        dur=round(1e6 * took),
        pid=place.host,
        tid=f"GPU {place.gpu}" if place.gpu else "CPU",
        args=SpanDetails(engine=number, together=len(work.batch), ok=made is not None),
    )


def progress_of(
    work: WorkItem, progress: Mapping[str, TrainingProgress]
) -> TrainingProgress | None:
    """The reported progress of this very attempt; None where it has not begun."""
    reported = progress.get(work.step.key)
    return reported if reported is not None and reported.attempt == work.attempt else None


def missing_work(state: StudyState) -> Iterator[WorkItem]:
    """Everything that is not there, in the plan's order."""
    plan = state.plan
    for step in [*plan.shared, *plan.trainings.values()]:
        if not state.is_done(step):
            yield WorkItem(step, micro_batch=plan.study.train.micro_batch)
    for whole in plan.response_sets:
        yield from ranges(whole, state.missing(whole))


def ranges(whole: ResponseSet, parts: Iterable[tuple[int, int]]) -> list[WorkItem]:
    """A work item for each range of samples in `parts`."""
    return [WorkItem(samples_step(whole.step, *part), response_set=whole) for part in parts]


def start_rank(work: WorkItem) -> int:
    """Of the items that are ready, the smallest rank starts first."""
    return stage_of(work.step).starts_by(work.step)


def batch_group(work: WorkItem) -> Hashable:
    """Items of one group can run as a batch: their stage says so, and they were split as often."""
    key = stage_of(work.step).batch_key(work.step)
    if key is None or work.most_together == 1:
        return work.number
    return key, work.micro_batch, work.most_together
