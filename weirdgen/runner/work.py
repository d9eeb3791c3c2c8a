"""What the driver has to have made: steps, alone or several together, and how they failed."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from weirdgen.plan import Asked, samples_step
from weirdgen.runner.engines import OpenEngine
from weirdgen.runner.remote import Made
from weirdgen.store import Step
from weirdgen.timeline import Span


@dataclass(eq=False)
class Work:
    """A step to be made."""

    step: Step
    asked: Asked | None = None
    """For a range of samples: what it is a part of."""
    attempt: int = 1
    deaths: int = 0
    """How often its process died under it."""
    micro_batch: int = 0
    started: float = 0.0
    engine: OpenEngine | None = None
    opens: bool = False
    """The engine's own start, which is no step."""
    beside: list[Work] = field(default_factory=list)
    """Trainings, or answers of one model, that go together with this."""
    most_together: int | None = None
    """How many may go together at most, after more have failed."""

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


def span_of(work: Work, made: Made) -> Span | None:
    """What has just ended, for the timeline; None where it is not known where it ran."""
    engine, now = work.engine, time.time()
    node, gpu = made.node, made.gpu
    if not node and engine is not None:
        node, gpu = engine.node, engine.gpu
    if not node:
        return None
    number = engine.number if engine else None
    return Span(
        what=f"engine {number}" if work.opens else work.step.key,
        kind="engine" if work.opens else work.step.stage,
        node=node,
        gpu=gpu,
        engine=number,
        started=now - (time.monotonic() - work.started),
        ended=now,
        together=1 + len(work.beside),
        ok=bool(made.node),
    )


def ranges(asked: Asked, parts: Iterable[tuple[int, int]]) -> list[Work]:
    """The ranges of samples that `asked` still lacks."""
    return [Work(samples_step(asked.step, *part), asked=asked) for part in parts]


def rows(work: Work) -> int:
    """What a training's time grows with."""
    return sum(work.step.record["counts"].values())


def trained_together(ready: list[Work], most: int) -> list[Work]:
    """The first training, and those that can go with it: as many rows, and parted as often."""
    first = ready[0]
    alike = [
        work
        for work in ready
        if work.step.record["counts"] == first.step.record["counts"]
        and (work.micro_batch, work.most_together) == (first.micro_batch, first.most_together)
    ]
    return alike[: min(most, first.most_together or most)]


def calls(wanted: list[Work]) -> list[Work]:
    """Of each call that engines would be asked on a GPU, the first step."""
    firsts: dict[int, Work] = {}
    for work in wanted:
        if work.asked is None or work.most_together == 1:
            firsts[id(work)] = work
        else:
            firsts.setdefault(id(work.asked.adapter), work)
    return [*firsts.values()]


def asked_together(ready: list[Work]) -> list[Work]:
    """The first step for an engine, and the other answers that it wants of the same model."""
    first = ready[0]
    if first.asked is None or first.most_together == 1:
        return [first]
    model = first.asked.adapter
    alike = (each for each in ready if each.asked is not None and each.asked.adapter is model)
    return [each for each in alike if each.most_together != 1]
