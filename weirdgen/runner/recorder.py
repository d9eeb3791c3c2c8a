"""Keeps a run's record in the storage up to date, beside what shows the run to a person."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

from weirdgen.errors import WeirdgenError
from weirdgen.runner.display import seconds_left
from weirdgen.runner.location import WorkerLocation
from weirdgen.runner.remote import TrainingProgress
from weirdgen.runner.scheduler import Display, Scheduler
from weirdgen.runner.work_item import WorkItem, begun_of
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.lease import Lease
from weirdgen.storage.run_record import Failed, Record, Running, StepEnd, write_record

EVERY_S = 5.0
"""How old a record becomes at most, while the storage can be written."""
_EVENTS = 5
_LONGEST = 500
"""Characters of a reason or an event that are kept."""


class Recorder:
    """A display that passes on what it is told, and writes it down.

    Nothing is written once the lease is lost: the record is another run's then.
    """

    def __init__(self, store: ArtifactStore, study: str, lease: Lease, shown: Display) -> None:
        self._store, self._study, self._lease, self._shown = store, study, lease, shown
        self._started = self._taken = time.monotonic()
        self._scheduler: Scheduler | None = None
        self._events: deque[tuple[float, str]] = deque(maxlen=_EVENTS)
        self._code = 0
        # A storage that is away takes half a minute to say so, for which the driver cannot wait.
        self._writer = ThreadPoolExecutor(1, "record")
        self._writing: Future[None] | None = None
        self._fails = False

    def __enter__(self) -> Recorder:
        self._write(self._record([], None, None))
        return self

    def __exit__(self, kind: object, error: BaseException | None, at: object) -> None:
        ended = StepEnd(code=self._code, reason="") if error is None else _broken_off(error)
        self._write(self._record([], None, ended))
        self._writer.shutdown()
        self._tell_trouble()

    def end(self, code: int) -> None:
        """The run has come to its end; `code` is its exit code."""
        self._code = code

    def event(self, text: str) -> None:
        self._events.append((self._elapsed(), _short(text)))
        self._shown.event(text)

    def update(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._shown.update(scheduler)
        if time.monotonic() - self._taken < EVERY_S or not (self._writing and self._writing.done()):
            return
        self._tell_trouble()
        self._taken = time.monotonic()
        begun, retried = scheduler.begun(), scheduler.backlog.retried
        running = [
            _running(work, begun, 1 + len(retried.get(work.step.key, ())))
            for work in scheduler.running.values()
        ]
        self._write(self._record(running, seconds_left(scheduler, begun), None))

    def _record(
        self, running: list[Running], left_s: float | None, ended: StepEnd | None
    ) -> Record:
        scheduler, mine = self._scheduler, self._lease.mine
        failures = scheduler.failures if scheduler else []
        retried = scheduler.backlog.retried if scheduler else {}
        aside = scheduler.nodes.aside if scheduler else {}
        return Record(
            run=mine.owner,
            host=mine.host_name,
            pid=mine.pid,
            elapsed_s=self._elapsed(),
            left_s=None if left_s is None else round(left_s, 1),
            running=running,
            failed=[
                Failed(
                    step=each.step.key,
                    reason=_short(each.reason),
                    log=each.log,
                    tries=1 + len(retried.get(each.step.key, ())),
                )
                for each in failures
            ],
            aside={address: _short(why) for address, why in aside.items()},
            retried={key: [*map(_short, reasons)] for key, reasons in retried.items()},
            judged=scheduler.judging.judged if scheduler else None,
            events=[*self._events],
            ended=ended,
        )

    def _write(self, record: Record) -> None:
        self._writing = self._writer.submit(self._write_mine, record)

    def _write_mine(self, record: Record) -> None:
        if not self._lease.lost:
            write_record(record, self._study, self._store)

    def _tell_trouble(self) -> None:
        """Says once that the record could not be written, which is no reason to end the run."""
        error = self._writing.exception() if self._writing else None
        if error is not None and not self._fails:
            self.event(f"the run's record could not be written ({_short(str(error))})")
        self._fails = error is not None

    def _elapsed(self) -> float:
        return round(time.monotonic() - self._started, 1)


def _running(work: WorkItem, begun: Mapping[str, TrainingProgress], tries: int) -> Running:
    engine, told = work.engine, begun_of(work, begun)
    updates = told.updates if told else (0, 0)
    place = told.place if told else engine.place if engine else WorkerLocation()
    training = work.step.stage == "train" and not work.opens
    return Running(
        steps=[] if work.opens else [each.step.key for each in work.all],
        engine=engine.number if engine else None,
        attempt=work.attempt,
        tries=tries,
        for_s=round(time.monotonic() - work.started, 1),
        waits=training and told is None,
        node=place.host,
        gpu=place.gpu,
        updates=updates if updates[1] else None,
    )


def _broken_off(error: BaseException) -> StepEnd:
    if isinstance(error, WeirdgenError):
        return StepEnd(code=error.exit_code, reason=_short(str(error)))
    if isinstance(error, KeyboardInterrupt):
        return StepEnd(code=130, reason="interrupted")
    code = 2 if isinstance(error, OSError) else 1
    return StepEnd(code=code, reason=_short(f"{type(error).__name__}: {error}"))


def _short(text: str) -> str:
    line = " ".join(text.encode(errors="replace").decode().split())
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}..."
