"""What the driver has to have made: steps, alone or several together, and how they failed."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from weirdgen.pipeline.plan import ResponseSet, samples_step
from weirdgen.pipeline.state import StudyState
from weirdgen.runner.engine_pool import OpenEngine
from weirdgen.runner.location import WorkerLocation
from weirdgen.runner.remote import StepResult, TrainingProgress
from weirdgen.storage.artifacts import Step
from weirdgen.storage.timeline import Span

ENGINE_STAGES = ("aligned", "responses")
"""The stages that an engine makes."""
MAX_ATTEMPTS = 3
"""How often a step is begun when workers die under it, or errors end it that may be a node's."""
MAX_LOSSES = 20
"""How often a step is begun when nodes go under it, as a cloud takes them back."""


@dataclass(eq=False)
class WorkItem:
    """A step to be made."""

    step: Step
    asked: ResponseSet | None = None
    """For a range of samples: what it is a part of."""
    number: int = 0
    """Its place among all that ever waited."""
    attempt: int = 1
    deaths: int = 0
    """How often its process died under it."""
    errors: int = 0
    """How often an error ended it that may have been its node's."""
    losses: int = 0
    """How often its node did."""
    failed_on: frozenset[str] = frozenset()
    """The ids of the nodes where it would fail again."""
    micro_batch: int = 0
    started: float = 0.0
    engine: OpenEngine | None = None
    opens: bool = False
    """The engine's own start, which is no step."""
    beside: list[WorkItem] = field(default_factory=list)
    """Trainings, or answers of one model, that go together with this."""
    most_together: int | None = None
    """How many may go together at most, after more have failed."""

    @property
    def all(self) -> list[WorkItem]:
        """With what goes together with it."""
        return [self, *self.beside]

    @property
    def avoids(self) -> frozenset[str]:
        """The ids of the nodes where one of those that go together would fail again."""
        return frozenset[str]().union(*(each.failed_on for each in self.all))

    def avoid(self, node: str) -> None:
        """All that go together are to be made on other nodes."""
        for each in self.all:
            each.failed_on |= {node}

    @property
    def size(self) -> int:
        """What its time grows with: samples of every question, else 1."""
        first, end = self.step.record.get("samples", (0, 1))
        return end - first


@dataclass
class Failure:
    """A step that could not be made, and why."""

    step: Step
    reason: str
    log: str


def span_of(work: WorkItem, made: StepResult | None) -> Span | None:
    """What has just ended, for the timeline; None where it is not known where it ran.

    `made`: None where it failed.
    """
    engine, now = work.engine, time.time()
    place = made.place if made else engine.place if engine else WorkerLocation()
    if not place.host:
        return None
    number = engine.number if engine else None
    return Span(
        what=f"engine {number}" if work.opens else work.step.key,
        kind="engine" if work.opens else work.step.stage,
        node=place.host,
        gpu=place.gpu,
        engine=number,
        started=now - (time.monotonic() - work.started),
        ended=now,
        together=1 + len(work.beside),
        ok=made is not None,
    )


def begun_of(work: WorkItem, begun: Mapping[str, TrainingProgress]) -> TrainingProgress | None:
    """What the board tells of this attempt; None where it has not begun, though an earlier one had."""
    told = begun.get(work.step.key)
    return told if told is not None and told.attempt == work.attempt else None


def lacking(state: StudyState) -> Iterator[WorkItem]:
    """Everything that is not there, in the plan's order."""
    plan = state.plan
    for step in [*plan.shared, *plan.trainings.values()]:
        if not state.is_done(step):
            yield WorkItem(step, micro_batch=plan.study.train.micro_batch)
    for asked in plan.response_sets:
        yield from ranges(asked, state.missing(asked))


def ranges(asked: ResponseSet, parts: Iterable[tuple[int, int]]) -> list[WorkItem]:
    """The ranges of samples that `asked` still lacks."""
    return [WorkItem(samples_step(asked.step, *part), asked=asked) for part in parts]


def rows(work: WorkItem) -> int:
    """What a training's time grows with."""
    return sum(work.step.record["examples"].values())


def alike(work: WorkItem) -> Hashable:
    """What trainings that can go together have in common: as many rows, and parted as often."""
    counts = tuple(sorted(work.step.record["examples"].items()))
    return counts, work.micro_batch, work.most_together


def call(work: WorkItem) -> Hashable:
    """What the steps have in common that an engine on a GPU is asked at once: answers of one model."""
    if work.asked is None or work.most_together == 1:
        return work.number
    adapter = work.asked.adapter
    return adapter.fingerprint if adapter else ""
