"""The queue of work: what waits, what is ready, and what is given up with all that consumes it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Container, Hashable, Iterable
from dataclasses import replace
from itertools import count, islice

from weirdgen.runner.work_item import WorkItem, batch_group, start_rank
from weirdgen.storage.run_record import FailedStep, one_line

_log = logging.getLogger("weirdgen.run.queue")


class GroupedQueue:
    """Work in groups that can be batched, which come by rank, then in order of arrival."""

    def __init__(self, rank: Callable[[WorkItem], int] | None = None) -> None:
        """`rank`: the same for all items of a group; by default all groups have the same."""
        self._rank = rank
        self._groups: dict[Hashable, dict[int, WorkItem]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._groups.values()))

    def __bool__(self) -> bool:
        return bool(self._groups)

    @property
    def n_groups(self) -> int:
        return len(self._groups)

    def add(self, work: WorkItem) -> None:
        self._groups.setdefault(batch_group(work), {})[work.number] = work

    def discard(self, work: WorkItem) -> None:
        """Removes the item if it is there."""
        key = batch_group(work)
        group = self._groups.get(key, {})
        group.pop(work.number, None)
        if not group:
            self._groups.pop(key, None)

    def first(self, most: int | None = 1) -> list[WorkItem]:
        """The first item and those that can be batched with it: `most` at most, or fewer if it says so."""
        heads, rank = map(_first, self._groups.values()), self._rank
        head = next(heads, None) if rank is None else min(heads, key=rank, default=None)
        if head is None:
            return []
        limits = [each for each in (most, head.most_together) if each is not None]
        return [*islice(self._groups[batch_group(head)].values(), min(limits, default=None))]


def _first(group: dict[int, WorkItem]) -> WorkItem:
    return next(iter(group.values()))


class WorkQueue:
    """The work that waits, and the steps that were given up."""

    def __init__(self, study: str, done: Container[str]) -> None:
        """`done`: the fingerprints of the steps that are there; `mark_done` reports each new one."""
        self._study, self._done = study, done
        self._waiting: dict[int, WorkItem] = {}
        self._numbers = count(1)
        self._consumers: dict[str, list[WorkItem]] = {}
        """Fingerprint of a step that is not there -> what waits for it."""
        self.cpu_ready = GroupedQueue()
        """Ready steps that need neither an engine nor a training process."""
        self.trainings = GroupedQueue(start_rank)
        """Ready trainings, the shortest first, so that engines and judges have work early."""
        self.engine_ready = GroupedQueue()
        """Work that is ready for an engine."""
        self.engine_waiting = GroupedQueue()
        """All work for an engine, ready or not."""
        self.counts: Counter[str] = Counter()
        """Stage -> number of waiting items."""
        self.sizes: Counter[str] = Counter()
        """Stage -> sum of their sizes."""
        self.failures: list[FailedStep] = []
        self._failed: set[str] = set()
        self.retried: dict[str, list[str]] = {}
        """Key of a step -> why each attempt of this run failed that was followed by another."""

    @property
    def waiting(self) -> Collection[WorkItem]:
        """What has not been started."""
        return self._waiting.values()

    @property
    def base_is_there(self) -> bool:
        """Whether the base model that engines need can be opened."""
        bases = [work.step.inputs.get("model") for work in self.engine_waiting.first()]
        return any(base is None or base in self._done for base in bases)

    def add(self, works: Iterable[WorkItem]) -> None:
        """Adds them; what consumes a failed step is given up at once."""
        for work in works:
            work.number = next(self._numbers)
            self._waiting[work.number] = work
            self.counts[work.step.stage] += 1
            self.sizes[work.step.stage] += work.size
            if work.executor == "engine":
                self.engine_waiting.add(work)
            inputs = work.step.inputs.values()
            for fingerprint in inputs:
                if fingerprint not in self._done:
                    self._consumers.setdefault(fingerprint, []).append(work)
            if not self._failed.isdisjoint(inputs):
                self._drop([work])
            elif self._is_ready(work):
                self._ready(work).add(work)

    def mark_done(self, fingerprint: str) -> None:
        """The step is there: what waited for it alone becomes ready."""
        for work in self._consumers.pop(fingerprint, ()):
            if work.number in self._waiting and self._is_ready(work):
                self._ready(work).add(work)

    def remove(self, work: WorkItem) -> None:
        """The item waits no longer."""
        del self._waiting[work.number]
        self.counts[work.step.stage] -= 1
        self.sizes[work.step.stage] -= work.size
        self._ready(work).discard(work)
        self.engine_waiting.discard(work)

    def retry(self, works: Iterable[WorkItem], why: str) -> None:
        """Has each wait for another attempt."""
        for work in works:
            self.retried.setdefault(work.step.key, []).append(one_line(why))
            _log.warning("retry %s: %s", work.step.key, why)
            self.add([replace(work, attempt=work.attempt + 1, engine=None, batched_with=[])])

    def split_and_retry(self, work: WorkItem, why: str) -> None:
        """Retries a batch of trainings in halves, and one of responses one by one.

        Memory may suffice then, or one of them is to blame.
        """
        most = 1 if work.response_set is not None else (len(work.batch) + 1) // 2
        self.retry((replace(each, most_together=most) for each in work.batch), why)

    def give_up(self, work: WorkItem, reason: str, log: str | None = None) -> None:
        """Records the step as failed, and gives up what consumes it.

        `log`: the file that has the details; default: that of its attempt.
        """
        failed = FailedStep(
            step=work.step.key,
            reason=one_line(reason),
            log=log or self.log_file(work),
            tries=1 + len(self.retried.get(work.step.key, ())),
        )
        self.failures.append(failed)
        _log.error("failed %s: %s", failed.step, failed.reason)
        self._fail(work)

    def log_file(self, work: WorkItem) -> str:
        """The log file of this attempt, relative to the storage."""
        name = work.step.key.replace("/", "-")
        return f"{self._study}/logs/{name}-attempt-{work.attempt}.log"

    def _fail(self, work: WorkItem) -> None:
        self._failed.add(work.step.fingerprint)
        self._drop(self._consumers.pop(work.step.fingerprint, ()))

    def _drop(self, works: Iterable[WorkItem]) -> None:
        for work in works:
            if work.number in self._waiting:
                self.remove(work)
                _log.error("not run %s: a step that it needs failed", work.step.key)
                self._fail(work)

    def _is_ready(self, work: WorkItem) -> bool:
        return all(fingerprint in self._done for fingerprint in work.step.inputs.values())

    def _ready(self, work: WorkItem) -> GroupedQueue:
        """Where it is once it is ready."""
        if work.is_training:
            return self.trainings
        return self.engine_ready if work.executor == "engine" else self.cpu_ready
