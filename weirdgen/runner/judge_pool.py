"""Judge pool: actors that send requests, fed from one queue."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError, RayTaskError

from weirdgen.config.judge import JudgeConfig
from weirdgen.errors import StorageError
from weirdgen.judging.journal import Ledger, has_writer, records
from weirdgen.judging.judgment import ItemResult
from weirdgen.judging.judgment_store import JournalFolder, JudgmentIndex, billed_judges
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.judging.queue import Batch, RequestQueue
from weirdgen.runner.cluster import on_this_node
from weirdgen.runner.judge_actors import NOT_UPLOADED, JudgeActor, rate_limiter_of
from weirdgen.runner.remote import WORKER_ENVIRONMENT
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.run_record import JudgeProgress

if TYPE_CHECKING:  # the client takes a second to import
    from weirdgen.judging.client import BatchResult

BACKOFF_S = 0.5
"""Before the second attempt at an item."""
MAX_CRASHES = 3
"""Actor crashes over an item after which it is given up."""
_BATCHES_AHEAD = 3
"""Batches per actor, so that it never waits for the driver."""
_ENOUGH_JOBS = 4
"""Pending jobs above which the queue needs no more."""
_CLOSE_S = 60.0
_DYING_S = 10.0
_ORPHANS_S = 60.0
"""How long to wait for actors of a killed driver, whose replies would be requested again."""


@dataclass(eq=False)
class _Worker:
    actor: Any
    journals: list[Path] = field(default_factory=list)
    """Empty until the actor is open."""
    batches: int = 0


@dataclass
class _Task:
    """What an actor is doing: a batch, its start (no batch), or the probe of a judge."""

    worker: _Worker
    batch: Batch | None = None
    is_probe: bool = False


def _end(worker: _Worker) -> None:
    """Kill the actor and wait until it can write nothing more."""
    ray.kill(worker.actor)
    deadline = time.monotonic() + _DYING_S
    while any(map(has_writer, worker.journals)) and time.monotonic() < deadline:
        time.sleep(0.02)


class JudgePool:
    """Judges jobs: each item is requested once in all runs, and never beyond the budget."""

    def __init__(
        self,
        store: ArtifactStore,
        study: str,
        judges: Sequence[LlmJudge],
        actors: int,
        event: Callable[[str], None],
    ) -> None:
        """`study` pays; at most `actors` processes send, on this node, so that only it needs the key.

        Without `judges` the pool does nothing.
        """
        self._store, self._study, self.judges = store, study, list(judges)
        self._unprobed = {judge.settings: judge for judge in reversed(self.judges)}
        widths = [settings.parallel for settings in self._unprobed]
        self._actors, self._event = min(actors, *widths) if widths else 0, event
        self._batch = max(8, max(widths) // self._actors) if widths else 0
        self.queue = RequestQueue(lambda key: self.index.get(key), self._read_journals())
        self._workers: list[_Worker] = []
        self._limiters: list[Any] = []
        self._crashes: Counter[str] = Counter()
        self.running: dict[ray.ObjectRef, _Task] = {}
        self.stopped: str | None = None
        """Why nothing more is sent, if so."""

    @cached_property
    def index(self) -> JudgmentIndex:
        """The judgments of all runs; on this node's disk, so made only where there are judges."""
        return JudgmentIndex()

    @property
    def unprobed(self) -> bool:
        """Whether some judge has not been reached yet."""
        return bool(self._unprobed)

    @property
    def progress(self) -> JudgeProgress | None:
        """Judgments and cost so far; None without judges."""
        if not self.judges:
            return None
        return JudgeProgress(
            judged=self.queue.judged,
            unjudged=dict(self.queue.unjudged),
            dollars=sum(map(self.queue.spent, {judge.settings for judge in self.judges})),
            stopped=self.stopped,
        )

    @property
    def has_enough(self) -> bool:
        """Whether the queue needs no more jobs for now."""
        return self.queue.pending_jobs > _ENOUGH_JOBS

    def open(self) -> None:
        """Start the actors; `dispatch` then probes the judges first."""
        self._limiters = [rate_limiter_of(settings) for settings in self._unprobed]
        while len(self._workers) < self._actors:
            self._open_worker()

    def dispatch(self) -> None:
        """Hand batches to actors that have room."""
        open_ = [worker for worker in self._workers if worker.journals]
        if self._unprobed:
            if open_ and self.stopped is None:
                self._probe(open_[0])
            if not self.stopped:
                return
        for held in range(_BATCHES_AHEAD):
            for worker in open_:
                if worker.batches <= held and (batch := self.queue.next_batch(self._batch)):
                    ref = worker.actor.judge.remote(batch.judge, batch.items)
                    worker.batches += 1
                    self.running[ref] = _Task(worker, batch)
        if self.stopped is not None:
            self.queue.next_batch(self._batch)  # ends what waits

    def turn(self, wait_s: float | None = None) -> None:
        """Dispatch, wait until something has ended, and take it in; give up waiting after `wait_s`."""
        self.dispatch()
        if self.running:
            for ref in ray.wait(list(self.running), timeout=wait_s)[0]:
                self.collect(ref)

    def collect(self, ref: ray.ObjectRef) -> None:
        """Take the result of `ref`, one of `running`."""
        task = self.running.pop(ref)
        try:
            result = ray.get(ref)
        except RayTaskError as error:
            if isinstance(error.cause, StorageError):
                raise error.cause from None  # no reply could be kept
            reason = f"{type(error.cause).__name__}: {error.cause}"
            self._stop(reason)
            self._recover(task, reason)
        except RayError as error:
            self._on_crash(task, type(error).__name__)
        else:
            self._on_result(task, result)

    def close(self) -> None:
        """Wait for what is in flight, then end the actors with their journals complete."""
        closing = {worker.actor.close.remote(): worker.actor for worker in self._workers}
        deadline = time.monotonic() + _CLOSE_S
        for ref, actor in closing.items():
            try:
                self._report(ray.get(ref, timeout=max(0.0, deadline - time.monotonic())))
            except RayError as error:
                if not self._store.is_local:
                    reason = type(error).__name__
                    self._event(f"a judge actor did not end ({reason}): {NOT_UPLOADED}")
            ray.kill(actor)
        self._workers.clear()
        if self.judges:
            self.index.close()

    def _read_journals(self) -> dict[JudgeConfig, float]:
        """Index every judgment in the store; return what the study has spent on each judge.

        Waits for the actors of a killed driver, which survive it for a moment.
        """
        if not self.judges:
            return {}
        deadline = time.monotonic() + _ORPHANS_S
        asked = {judge.folder for judge in self.judges}
        while True:
            spent, dying = dict.fromkeys(self._unprobed, 0.0), False
            for folder, charges in billed_judges(self._store, self.judges).items():
                ledger = Ledger()
                for payer, is_open, journal in JournalFolder(self._store, folder).journals():
                    read = list(journal) if folder in asked or payer == self._study else []
                    if folder in asked:
                        self.index.add(read)
                    if payer == self._study:
                        ledger.add(read, open_=is_open)
                        dying |= is_open
                for settings in charges:
                    spent[settings] += ledger.dollars
            if not dying or time.monotonic() > deadline:
                return spent
            time.sleep(0.2)

    def _open_worker(self) -> None:
        environment = {"env_vars": WORKER_ENVIRONMENT}
        actor: Any = on_this_node(JudgeActor, runtime_env=environment)
        of_all = self._store.uri, self._study, self.judges, self._actors
        worker = _Worker(actor.remote(*of_all, BACKOFF_S))
        self._workers.append(worker)
        self.running[worker.actor.open.remote()] = _Task(worker)

    def _probe(self, worker: _Worker) -> None:
        in_flight = [
            task.batch.judge for task in self.running.values() if task.is_probe and task.batch
        ]
        for settings, judge in list(self._unprobed.items()):
            if judge in in_flight:
                continue
            if batch := self.queue.probe(judge):
                self.running[worker.actor.probe.remote(judge)] = _Task(worker, batch, is_probe=True)
            else:
                del self._unprobed[settings]

    def _on_result(self, task: _Task, result: Any) -> None:
        if task.batch is None:
            task.worker.journals = list(map(Path, result))
            return
        batch_result: BatchResult = result
        self._report(batch_result.warnings)
        if batch_result.fatal is not None:
            self._stop(batch_result.fatal)
        if task.is_probe:
            del self._unprobed[task.batch.judge.settings]
            self.queue.complete(task.batch, [], sum(each.dollars for each in batch_result.results))
            return
        task.worker.batches -= 1
        self.index.add(json.loads(r.judgment) for r in batch_result.results if r.judgment)
        self.queue.complete(task.batch, batch_result.results)

    def _on_crash(self, task: _Task, reason: str) -> None:
        """End an actor that is gone or cannot be reached, and replace it.

        Of its batches, only items without a reply in the journals are sent again.
        """
        worker = task.worker
        if worker in self._workers:
            self._workers.remove(worker)
            _end(worker)
            self._crashes["actor"] += 1
            self._event(f"a judge actor died ({reason})")
            if self._crashes["actor"] < MAX_CRASHES * self._actors:
                self._open_worker()
            elif not self._workers:
                self._stop("the judge actors crash again and again")
        self._recover(task, reason)

    def _recover(self, task: _Task, reason: str) -> None:
        """Complete a lost batch with what its journals hold; requeue the rest, or give it up."""
        batch = task.batch
        if batch is None:
            return
        if task.is_probe:
            self.queue.complete(batch, [], batch.reserved)
            return
        keys = {item.key for item in batch.items}
        journaled = [
            record
            for path in task.worker.journals
            for record in records(path.read_bytes())
            if not keys.isdisjoint((record.get("sent"), record.get("failed"), record.get("judged")))
        ]
        self.index.add(journaled)
        ledger = Ledger()
        ledger.add(journaled)
        open_ = [item for item in batch.items if self.index.get(item.key) is None]
        self._crashes.update(item.key for item in open_)
        lost = [item for item in open_ if self._crashes[item.key] >= MAX_CRASHES or self.stopped]
        ended = [
            ItemResult(key, self.index.get(key), None, 0.0)
            for key in keys.difference(item.key for item in open_)
        ]
        ended += [ItemResult(item.key, None, reason, 0.0) for item in lost]
        self.queue.complete(batch, ended, ledger.dollars)
        self.queue.requeue(batch.judge, [item for item in open_ if item not in lost])

    def _report(self, warnings: Sequence[str]) -> None:
        for warning in warnings:
            self._event(warning)

    def _stop(self, reason: str) -> None:
        if self.stopped is None:
            self.stopped = reason
            self._event(f"judging stops: {reason}")
            self.queue.stop(reason)
            for worker in self._workers:
                worker.actor.stop.remote(reason)
