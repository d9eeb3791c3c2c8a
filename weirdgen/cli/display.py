"""What a person sees while a study runs: log lines, and on a terminal a live table below them."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import astuple

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from weirdgen.report.status import running_line
from weirdgen.runner.progress import running_work, seconds_left, stage_counts
from weirdgen.runner.remote import TrainingProgress
from weirdgen.runner.scheduler import Scheduler
from weirdgen.text import format_duration, single_line

_log = logging.getLogger("weirdgen.run")
SUMMARY_S = 60.0
"""Without a terminal, a summary line comes this often."""
_TABLE_S = 0.5
"""On a terminal, the table is made anew this often."""
_MOST_RUNNING = 12
"""Lines of running work below the table."""


class LineHandler(logging.Handler):
    """Prints each event of a run on a line, after the time since the start.

    Without a terminal it also prints a summary once a minute, which is no event.
    """

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        self._started = self._summarised = time.monotonic()

    def __enter__(self) -> LineHandler:
        _log.addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        _log.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self._print(record.getMessage())

    def _print(self, text: str) -> None:
        elapsed = format_duration(time.monotonic() - self._started)
        self._console.print(Text(single_line(f"{elapsed}  {text}")), soft_wrap=True)

    def update(self, scheduler: Scheduler) -> None:
        due = time.monotonic() - self._summarised >= SUMMARY_S
        if not due or not _log.isEnabledFor(logging.INFO):
            return
        self._summarised = time.monotonic()
        parts = [
            f"{stage} {n.done}/{sum(astuple(n))}" for stage, n in stage_counts(scheduler).items()
        ]
        self._print(f"{', '.join(parts)}; {self._time(scheduler, scheduler.progress())}")

    def _time(self, scheduler: Scheduler, progress: Mapping[str, TrainingProgress]) -> str:
        left = seconds_left(scheduler, progress)
        rest = f"about {format_duration(left)} left" if left else "time left unknown"
        return f"elapsed {format_duration(time.monotonic() - self._started)}, {rest}"


class LiveHandler(LineHandler):
    """Also keeps a table below the lines: steps by stage, what runs, and the time left."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._updated = 0.0
        self._live = Live(console=console, refresh_per_second=2, transient=True)

    def __enter__(self) -> LiveHandler:
        super().__enter__()
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()
        super().__exit__()

    def update(self, scheduler: Scheduler) -> None:
        if time.monotonic() - self._updated < _TABLE_S:
            return
        self._updated = time.monotonic()
        progress = scheduler.progress()
        table = Table("stage", "done", "running", "failed", "to do", box=None)
        for stage, counts in stage_counts(scheduler).items():
            table.add_row(stage, *map(str, astuple(counts)))
        running = running_work(scheduler, progress)[:_MOST_RUNNING]
        lines = [Text(single_line(f"  {running_line(each)}")) for each in running]
        self._live.update(Group(table, *lines, Text(self._time(scheduler, progress))))


def display_on(console: Console) -> LineHandler:
    """The display for this console: a context in which the events of a run are shown."""
    return LiveHandler(console) if console.is_terminal else LineHandler(console)
