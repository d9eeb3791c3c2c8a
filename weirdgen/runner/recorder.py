"""Keep the run's record in the storage up to date while the run goes on."""

from __future__ import annotations

import logging
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

from weirdgen.errors import WeirdgenError
from weirdgen.runner.progress import running_work, seconds_left
from weirdgen.runner.scheduler import Scheduler
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.lease import Lease
from weirdgen.storage.run_record import Record, RunEnd, RunningWork, one_line, write_record

_log = logging.getLogger("weirdgen.run")
EVERY_S = 5.0
"""How often the record is written."""
_EVENTS = 5
_LONGEST = 500
"""Characters of a reason or an event that are kept."""


class Recorder(logging.Handler):
    """Writes the record of a run: its latest events, and the state of its scheduler.

    Nothing is written once the lease is lost: the record is another run's then.
    """

    def __init__(self, store: ArtifactStore, study: str, lease: Lease) -> None:
        super().__init__()
        self._store, self._study, self._lease = store, study, lease
        self._started = self._taken = time.monotonic()
        self._scheduler: Scheduler | None = None
        self._events: deque[tuple[float, str]] = deque(maxlen=_EVENTS)
        self._code = 0
        # A storage that is away takes half a minute to fail; the driver cannot wait for that.
        self._writer = ThreadPoolExecutor(1, "record")
        self._writing: Future[None] | None = None
        self._fails = False

    def __enter__(self) -> Recorder:
        _log.addHandler(self)
        self._write(self._record([], None, None))
        return self

    def __exit__(self, kind: object, error: BaseException | None, at: object) -> None:
        ended = RunEnd(code=self._code, reason="") if error is None else _run_end(error)
        self._write(self._record([], None, ended))
        self._writer.shutdown()
        self._report_failure()
        _log.removeHandler(self)

    def end(self, code: int) -> None:
        """The run has come to its end; `code` is its exit code."""
        self._code = code

    def emit(self, record: logging.LogRecord) -> None:
        self._events.append((self._elapsed(), _short(record.getMessage())))

    def update(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        if time.monotonic() - self._taken < EVERY_S or not (self._writing and self._writing.done()):
            return
        self._report_failure()
        self._taken = time.monotonic()
        progress = scheduler.progress()
        left_s = seconds_left(scheduler, progress)
        self._write(self._record(running_work(scheduler, progress), left_s, None))

    def _record(
        self, running: list[RunningWork], left_s: float | None, ended: RunEnd | None
    ) -> Record:
        scheduler, mine = self._scheduler, self._lease.mine
        failures = scheduler.queue.failures if scheduler else []
        retried = scheduler.queue.retried if scheduler else {}
        excluded = scheduler.nodes.excluded if scheduler else {}
        return Record(
            run=mine.owner,
            host=mine.host_name,
            pid=mine.pid,
            elapsed_s=self._elapsed(),
            left_s=None if left_s is None else round(left_s, 1),
            running=running,
            failed=[each.model_copy(update={"reason": _short(each.reason)}) for each in failures],
            excluded_nodes={address: _short(why) for address, why in excluded.items()},
            retried={key: [*map(_short, reasons)] for key, reasons in retried.items()},
            judged=scheduler.judges.progress if scheduler and scheduler.judges else None,
            events=[*self._events],
            ended=ended,
        )

    def _write(self, record: Record) -> None:
        self._writing = self._writer.submit(self._write_mine, record)

    def _write_mine(self, record: Record) -> None:
        if not self._lease.lost:
            write_record(record, self._study, self._store)

    def _report_failure(self) -> None:
        """Warns once that the record could not be written, which is no reason to end the run."""
        error = self._writing.exception() if self._writing else None
        if error is not None and not self._fails:
            _log.warning("the run's record could not be written (%s)", _short(str(error)))
        self._fails = error is not None

    def _elapsed(self) -> float:
        return round(time.monotonic() - self._started, 1)


def _run_end(error: BaseException) -> RunEnd:
    if isinstance(error, WeirdgenError):
        return RunEnd(code=error.exit_code, reason=_short(str(error)))
    if isinstance(error, KeyboardInterrupt):
        return RunEnd(code=130, reason="interrupted")
    code = 2 if isinstance(error, OSError) else 1
    return RunEnd(code=code, reason=_short(f"{type(error).__name__}: {error}"))


def _short(text: str) -> str:
    line = one_line(text)
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
