"""Shared by tests: the runner on a real Ray: fan-out, turns on the GPUs, failures."""

from __future__ import annotations

from weirdgen.runner.scheduler import Scheduler


class Recorder:
    """Keeps every event, and what ran at the same time."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.training_together = 0

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def event(self, text: str) -> None:
        self.events.append(text)

    def update(self, scheduler: Scheduler) -> None:
        running = {work.step.key for work in scheduler.running.values()}
        begun = len(running & scheduler.begun().keys())
        self.training_together = max(self.training_together, begun)

    def started(self, stage: str) -> list[str]:
        return [event.split()[1] for event in self.events if event.startswith(f"started {stage}/")]
