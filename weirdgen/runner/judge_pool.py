"""The judge pool of a run: actors that ask, fed from one desk."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayError, RayTaskError

from weirdgen.config.judge import JudgeConfig
from weirdgen.errors import StorageError
from weirdgen.judging.journal import Ledger, is_written, records
from weirdgen.judging.judgment import ItemResult
from weirdgen.judging.judgment_store import JudgmentFolder, VerdictIndex, charged
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.judging.queue import Batch, Job, RequestQueue
from weirdgen.runner.cluster import on_this_node
from weirdgen.runner.judge_actors import UNSHIPPED, JudgeActor, limiter_of
from weirdgen.runner.remote import WORKER_ENVIRONMENT
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.run_record import JudgeProgress

if TYPE_CHECKING:  # the client takes a second to import
    from weirdgen.judging.requests import Outcome

MAX_DEATHS = 3
"""How often actors may die over an item before it is given up."""
_AT_HAND = 3
"""Batches that an actor holds, so that it never waits for the driver."""
_UNTOUCHED = 4
"""Jobs that wait for their turn when there is enough to do."""
_CLOSE_S = 60.0
_DYING_S = 10.0
_ORPHANS_S = 60.0
"""How long actors may survive the driver that was killed: what they still hear would be asked again."""


@dataclass(eq=False)
class _Worker:
    actor: Any
    journals: list[Path] = field(default_factory=list)
    """Empty until it is open."""
    batches: int = 0


@dataclass
class _Task:
    """What an actor is doing: a batch, or its start, or the check of a judge."""

    worker: _Worker
    batch: Batch | None = None
    checks: bool = False


def _end(worker: _Worker) -> None:
    """Kills the actor, and waits until its journals hold all that it will ever write."""
    ray.kill(worker.actor)
    deadline = time.monotonic() + _DYING_S
    while any(map(is_written, worker.journals)) and time.monotonic() < deadline:
        time.sleep(0.02)


class JudgePool:
    """Has jobs judged: nothing that has a verdict is asked again, and nothing beyond the budget."""

    def __init__(
        self,
        store: ArtifactStore,
        study: str,
        judges: Sequence[LlmJudge],
        actors: int,
        event: Callable[[str], None],
    ) -> None:
        """`study` pays; at most `actors` processes ask, on this node, as only there the key is needed."""
        self._store, self._study, self._judges = store, study, list(judges)
        self._unchecked = {judge.settings: judge for judge in reversed(self._judges)}
        widths = [settings.parallel for settings in self._unchecked]
        self._actors, self._event = min(actors, *widths), event
        self._batch = max(8, max(widths) // self._actors)
        self._index = VerdictIndex()
        self._desk = RequestQueue(self._index.get, self._read_journals())
        self._workers: list[_Worker] = []
        self._limiters: list[Any] = []
        self._deaths: Counter[str] = Counter()
        self.running: dict[ray.ObjectRef, _Task] = {}
        self.stopped: str | None = None
        """Why nobody is asked any more."""

    @property
    def busy(self) -> bool:
        """Whether a job has not ended yet."""
        return self._desk.busy

    @property
    def unchecked(self) -> bool:
        """Whether it is not known yet that every judge can be asked."""
        return bool(self._unchecked)

    @property
    def unasked(self) -> Counter[str]:
        """Why -> items that ended without a verdict."""
        return self._desk.unasked

    @property
    def judged(self) -> JudgeProgress:
        """What has been said so far."""
        return JudgeProgress(
            verdicts=self._desk.verdicts,
            without=dict(self.unasked),
            dollars=sum(map(self._desk.spent, {judge.settings for judge in self._judges})),
            stopped=self.stopped,
        )

    @property
    def full(self) -> bool:
        """Whether there is enough to do for now."""
        return self._desk.untouched > _UNTOUCHED

    def verdict_of(self, key: str) -> str | None:
        """The record of the verdict as JSON, or None."""
        return self._index.get(key)

    def add(self, job: Job) -> None:
        self._desk.add(job)

    def open(self) -> None:
        """Starts the actors and checks that the judges can be asked."""
        self._limiters = [limiter_of(settings) for settings in self._unchecked]
        while len(self._workers) < self._actors:
            self._open_worker()

    def turn(self) -> None:
        """Sends what can be sent."""
        open_ = [worker for worker in self._workers if worker.journals]
        if self._unchecked:
            if open_ and self.stopped is None:
                self._check(open_[0])
            if not self.stopped:
                return
        for held in range(_AT_HAND):
            for worker in open_:
                if worker.batches <= held and (batch := self._desk.take(self._batch)):
                    ref = worker.actor.judge.remote(batch.judge, batch.items)
                    worker.batches += 1
                    self.running[ref] = _Task(worker, batch)
        if self.stopped is not None:
            self._desk.take(self._batch)  # ends what waits

    def finish(self, ref: ray.ObjectRef) -> None:
        """Takes what `ref`, one of `running`, has brought."""
        task = self.running.pop(ref)
        try:
            brought = ray.get(ref)
        except RayTaskError as error:
            if isinstance(error.cause, StorageError):
                raise error.cause from None  # nothing that is heard would be kept
            reason = f"{type(error.cause).__name__}: {error.cause}"
            self._stop(reason)
            self._recover(task, reason)
        except RayError as error:
            self._died(task, type(error).__name__)
        else:
            self._brought(task, brought)

    def close(self) -> None:
        """Ends the actors with their journals whole: what is under way is waited for."""
        closing = {worker.actor.close.remote(): worker.actor for worker in self._workers}
        deadline = time.monotonic() + _CLOSE_S
        for ref, actor in closing.items():
            try:
                self._tell(ray.get(ref, timeout=max(0.0, deadline - time.monotonic())))
            except RayError as error:
                if not self._store.is_local:
                    reason = type(error).__name__
                    self._event(f"a judge actor did not end ({reason}): {UNSHIPPED}")
            ray.kill(actor)
        self._workers.clear()
        self._index.close()

    def _read_journals(self) -> dict[JudgeConfig, float]:
        """Indexes every verdict there is; gives what the study has spent on each judge.

        A driver that was killed may be survived by its actors for a moment, which are waited for.
        """
        deadline = time.monotonic() + _ORPHANS_S
        asked = {judge.folder for judge in self._judges}
        while True:
            spent, dying = dict.fromkeys(self._unchecked, 0.0), False
            for folder, charges in charged(self._store, self._judges).items():
                ledger = Ledger()
                for payer, is_open, journal in JudgmentFolder(self._store, folder).all():
                    read = list(journal) if folder in asked or payer == self._study else []
                    if folder in asked:
                        self._index.add(read)
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
        worker = _Worker(actor.remote(self._store.uri, self._study, self._judges, self._actors))
        self._workers.append(worker)
        self.running[worker.actor.open.remote()] = _Task(worker)

    def _check(self, worker: _Worker) -> None:
        under_way = [
            task.batch.judge for task in self.running.values() if task.checks and task.batch
        ]
        for settings, judge in list(self._unchecked.items()):
            if judge in under_way:
                continue
            if batch := self._desk.check(judge):
                self.running[worker.actor.check.remote(judge)] = _Task(worker, batch, checks=True)
            else:
                del self._unchecked[settings]

    def _brought(self, task: _Task, brought: Any) -> None:
        if task.batch is None:
            task.worker.journals = list(map(Path, brought))
            return
        outcome: Outcome = brought
        self._tell(outcome.troubles)
        if outcome.fatal is not None:
            self._stop(outcome.fatal)
        if task.checks:
            del self._unchecked[task.batch.judge.settings]
            self._desk.settle(task.batch, [], sum(each.dollars for each in outcome.ended))
            return
        task.worker.batches -= 1
        for each in outcome.ended:
            if each.verdict is not None:
                self._index.add_one(each.key, each.verdict)
        self._desk.settle(task.batch, outcome.ended)

    def _died(self, task: _Task, reason: str) -> None:
        """The actor is gone, or cannot be reached, and is ended: another takes its place, and asks only
        what it had under way or before it.
        """
        worker = task.worker
        if worker in self._workers:
            self._workers.remove(worker)
            _end(worker)
            self._deaths["actor"] += 1
            self._event(f"a judge actor died ({reason})")
            if self._deaths["actor"] < MAX_DEATHS * self._actors:
                self._open_worker()
            elif not self._workers:
                self._stop("the judge actors died again and again")
        self._recover(task, reason)

    def _recover(self, task: _Task, reason: str) -> None:
        """Settles of a broken batch what its journals hold; the others are asked again, or given up."""
        batch = task.batch
        if batch is None:
            return
        if task.checks:
            self._desk.settle(batch, [], batch.reserved)
            return
        keys = {item.key for item in batch.items}
        heard = [
            record
            for path in task.worker.journals
            for record in records(path.read_bytes())
            if not keys.isdisjoint((record.get("ask"), record.get("tried"), record.get("got")))
        ]
        self._index.add(heard)
        ledger = Ledger()
        ledger.add(heard)
        open_ = [item for item in batch.items if self._index.get(item.key) is None]
        self._deaths.update(item.key for item in open_)
        lost = [item for item in open_ if self._deaths[item.key] >= MAX_DEATHS or self.stopped]
        ended = [
            ItemResult(key, self._index.get(key), None, 0.0)
            for key in keys.difference(item.key for item in open_)
        ]
        ended += [ItemResult(item.key, None, reason, 0.0) for item in lost]
        self._desk.settle(batch, ended, ledger.dollars)
        self._desk.again(batch.judge, [item for item in open_ if item not in lost])

    def _tell(self, troubles: Sequence[str]) -> None:
        for trouble in troubles:
            self._event(trouble)

    def _stop(self, why: str) -> None:
        if self.stopped is None:
            self.stopped = why
            self._event(f"judging stops: {why}")
            self._desk.stop(why)
            for worker in self._workers:
                worker.actor.stop.remote(why)
