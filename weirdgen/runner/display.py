"""What a person sees while a study runs: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from weirdgen.pipeline.plan import STAGES
from weirdgen.runner.remote import TrainingProgress
from weirdgen.runner.scheduler import Scheduler
from weirdgen.runner.work_item import Failure, WorkItem, begun_of
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.run_record import failure_line
from weirdgen.text import format_duration, single_line

SUMMARY_S = 60.0
"""Without a terminal, a summary line comes this often."""
_SHOWN_S = 0.5
"""On a terminal, the table is made anew this often."""
_SHOWN_RUNNING = 12


class RunDisplay:
    """Live progress: per stage what is done, running, failed and to do; what runs now; time left."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = self._summarised = time.monotonic()
        self._shown = 0.0
        self._live = Live(console=console, refresh_per_second=2, transient=True)
        self._begun: dict[str, TrainingProgress] = {}

    def __enter__(self) -> RunDisplay:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._console.is_terminal:
            self._live.stop()

    def event(self, text: str) -> None:
        elapsed = format_duration(time.monotonic() - self._started)
        self._console.print(Text(single_line(f"{elapsed}  {text}")), soft_wrap=True)

    def update(self, scheduler: Scheduler) -> None:
        now = time.monotonic()
        if self._console.is_terminal:
            if now - self._shown < _SHOWN_S:
                return
            self._shown = now
            self._begun = scheduler.begun()
            self._live.update(self._table(scheduler))
        elif now - self._summarised >= SUMMARY_S:
            self._summarised = now
            self._begun = scheduler.begun()
            self.event(self._summary(scheduler))

    def _table(self, scheduler: Scheduler) -> Group:
        table = Table("stage", "done", "running", "failed", "to do", box=None)
        for stage, counts in stage_counts(scheduler).items():
            table.add_row(stage, *map(str, counts))
        lines = [
            Text(f"  {self._running(work)}")
            for work in list(scheduler.running.values())[:_SHOWN_RUNNING]
        ]
        return Group(table, *lines, Text(self._time(scheduler)))

    def _running(self, work: WorkItem) -> str:
        took = format_duration(time.monotonic() - work.started)
        if work.opens:
            return f"opening an engine  {took}"
        done, total = updates_of(work, self._begun)
        return f"{work.step.key}  {took}" + (f"  step {done} of {total}" if total else "")

    def _summary(self, scheduler: Scheduler) -> str:
        counts = stage_counts(scheduler)
        parts = [
            f"{stage} {done}/{done + running + failed + todo}"
            for stage, (done, running, failed, todo) in counts.items()
        ]
        return f"{', '.join(parts)}; {self._time(scheduler)}"

    def _time(self, scheduler: Scheduler) -> str:
        elapsed = format_duration(time.monotonic() - self._started)
        left = seconds_left(scheduler, self._begun)
        return f"elapsed {elapsed}, " + (
            f"about {format_duration(left)} left" if left else "time left unknown"
        )


def failure_lines(failures: list[Failure], store: ArtifactStore) -> list[str]:
    """Each step that failed, why, and its log."""
    return [
        failure_line(failure.step.key, failure.reason, failure.log, store) for failure in failures
    ]


def stage_counts(scheduler: Scheduler) -> dict[str, tuple[int, int, int, int]]:
    """Stage -> steps done, running, failed, to do; a range of samples counts as a step."""
    state = scheduler.state
    counts = {stage: [0, 0, 0, 0] for stage in STAGES}
    for step in [*state.plan.shared, *state.plan.trainings.values()]:
        counts[step.stage][0] += state.is_done(step)
    counts["responses"][0] = sum(map(len, state.ranges.values()))
    for work in scheduler.running.values():
        counts[work.step.stage][1] += 0 if work.opens else 1 + len(work.beside)
    for failure in scheduler.failures:
        counts[failure.step.stage][2] += 1
    for stage, waiting in scheduler.backlog.counts.items():
        counts[stage][3] += waiting
    return {stage: (n[0], n[1], n[2], n[3]) for stage, n in counts.items() if any(n)}


def updates_of(work: WorkItem, begun: Mapping[str, TrainingProgress]) -> tuple[int, int]:
    """Done and all; zeros where it is not known."""
    told = begun_of(work, begun)
    return told.updates if told else (0, 0)


def seconds_left(scheduler: Scheduler, begun: Mapping[str, TrainingProgress]) -> float | None:
    """An estimate from the mean time of each stage's finished steps; None before there are any.

    A running training's own pace stands in until the first has ended.
    """
    now = time.monotonic()
    mean = {stage: seconds / ended for stage, (ended, seconds) in scheduler.took.items()}
    for work in scheduler.running.values():
        done, total = updates_of(work, begun)
        if done and work.step.stage not in mean:
            mean[work.step.stage] = (now - work.started) / done * total
    lanes = {"train": max(1, sum(w.step.stage == "train" for w in scheduler.running.values()))}
    waiting = {stage: size for stage, size in scheduler.backlog.sizes.items() if size}
    running = [work for work in scheduler.running.values() if not work.opens]
    if {*waiting, *(work.step.stage for work in running)} - mean.keys():
        return None
    seconds = sum(mean[stage] * size / lanes.get(stage, 1) for stage, size in waiting.items())
    for work in running:
        stage = work.step.stage
        rest = mean[stage] * work.size - (now - work.started)
        seconds += max(0.0, rest) / lanes.get(stage, 1)
    return seconds
