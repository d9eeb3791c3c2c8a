"""An observer of runs, and a run that sees one GPU of a larger cluster."""

from __future__ import annotations

import logging

import pytest

from weirdgen.runner import nodes, run
from weirdgen.runner.cluster import Capacity
from weirdgen.runner.scheduler import Scheduler

_log = logging.getLogger("weirdgen.run")


class Recorder(logging.Handler):
    """Keeps every event, and what ran at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[str] = []
        self.training_together = 0

    def __enter__(self) -> Recorder:
        _log.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        _log.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.events.append(record.getMessage())

    def update(self, scheduler: Scheduler) -> None:
        running = {work.step.key for work in scheduler.running.values()}
        training = len(running & scheduler.progress().keys())
        self.training_together = max(self.training_together, training)

    def started(self, stage: str) -> list[str]:
        return [event.split()[1] for event in self.events if event.startswith(f"started {stage}/")]


def with_one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner counts one GPU, however many Ray has."""
    monkeypatch.setattr(run, "connect", lambda: [Capacity(4, 1)])
    monkeypatch.setattr(nodes, "node_capacities", lambda: {"the only one": Capacity(4, 1)})
