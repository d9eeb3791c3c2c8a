"""What is still to be done, what is tried again, and what is given up with all that builds on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Container, Hashable, Iterable
from dataclasses import replace
from heapq import heappop, heappush
from itertools import count, islice

from weirdgen.errors import MemoryExceeded
from weirdgen.runner.work_item import (
    ENGINE_STAGES,
    MAX_ATTEMPTS,
    MAX_LOSSES,
    Failure,
    WorkItem,
    alike,
    call,
    rows,
)


class GroupedQueue:
    """Works in order of their rank and then of their coming, each with those that can go with it."""

    def __init__(
        self, group: Callable[[WorkItem], Hashable], rank: Callable[[WorkItem], int] = lambda _: 0
    ) -> None:
        """Works of one `group` can go together; they have one rank."""
        self._group, self._rank = group, rank
        self._groups: dict[Hashable, dict[int, WorkItem]] = {}
        self._order: list[tuple[int, int, Hashable]] = []
        """A heap of rank, number and group; of works that have gone, too."""
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def n_groups(self) -> int:
        return len(self._groups)

    def add(self, work: WorkItem) -> None:
        key = self._group(work)
        group = self._groups.setdefault(key, {})
        if work.number not in group:
            group[work.number] = work
            heappush(self._order, (self._rank(work), work.number, key))
            self._length += 1

    def discard(self, work: WorkItem) -> None:
        """Takes the work out if it is in it."""
        key = self._group(work)
        group = self._groups.get(key, {})
        if group.pop(work.number, None) is not None:
            self._length -= 1
            if not group:
                del self._groups[key]

    def first(self, most: int | None = 1) -> list[WorkItem]:
        """The first work, and those that can go with it: `most` at most, or as few as it allows."""
        while self._order:
            _, number, key = self._order[0]
            group = self._groups.get(key, {})
            if number in group:
                limits = [each for each in (most, group[number].most_together) if each is not None]
                return [*islice(group.values(), min(limits, default=None))]
            heappop(self._order)
        return []


class WorkQueue:
    """The work that waits, and the steps that failed for good."""

    def __init__(self, study: str, event: Callable[[str], None], done: Container[str]) -> None:
        """`done`: the fingerprints of the steps that are there; `made` tells of each that is new."""
        self._study, self._event, self._done = study, event, done
        self._waiting: dict[int, WorkItem] = {}
        self._numbers = count(1)
        self._consumers: dict[str, list[WorkItem]] = {}
        """Fingerprint of a step that is not there -> what waits for it."""
        self.on_cpu = GroupedQueue(lambda work: work.number)
        """What is ready for a process without an engine, but trainings."""
        self.trainings = GroupedQueue(alike, rows)
        """The trainings that are ready, the shortest first: engines and judges have work early."""
        self.asking = GroupedQueue(call)
        """What is ready for an engine."""
        self.to_ask = GroupedQueue(call)
        """All that waits for an engine, ready or not."""
        self.counts: Counter[str] = Counter()
        """Stage -> works that wait."""
        self.sizes: Counter[str] = Counter()
        """Stage -> their sizes together."""
        self.failures: list[Failure] = []
        self._failed: set[str] = set()
        self.retried: dict[str, list[str]] = {}
        """Key of a step -> why each of its attempts in this run that was followed by another had failed."""

    @property
    def waiting(self) -> Collection[WorkItem]:
        """What has not been started."""
        return self._waiting.values()

    @property
    def base_is_there(self) -> bool:
        """Whether the base that engines are to be asked can be opened."""
        bases = [work.step.inputs.get("model") for work in self.to_ask.first()]
        return any(base is None or base in self._done for base in bases)

    def add(self, works: Iterable[WorkItem]) -> None:
        """Has them wait; what builds on a failed step is given up."""
        for work in works:
            work.number = next(self._numbers)
            self._waiting[work.number] = work
            self.counts[work.step.stage] += 1
            self.sizes[work.step.stage] += work.size
            if work.step.stage in ENGINE_STAGES:
                self.to_ask.add(work)
            inputs = work.step.inputs.values()
            for fingerprint in inputs:
                if fingerprint not in self._done:
                    self._consumers.setdefault(fingerprint, []).append(work)
            if not self._failed.isdisjoint(inputs):
                self._drop([work])
            elif self._is_ready(work):
                self._ready(work).add(work)

    def made(self, fingerprint: str) -> None:
        """The step is there: what waited for it alone is ready."""
        for work in self._consumers.pop(fingerprint, ()):
            if work.number in self._waiting and self._is_ready(work):
                self._ready(work).add(work)

    def remove(self, work: WorkItem) -> None:
        """It waits no longer."""
        del self._waiting[work.number]
        self.counts[work.step.stage] -= 1
        self.sizes[work.step.stage] -= work.size
        self._ready(work).discard(work)
        self.to_ask.discard(work)

    def again(self, works: Iterable[WorkItem], why: str) -> None:
        """Has each wait for another attempt."""
        for work in works:
            self.retried.setdefault(work.step.key, []).append(" ".join(why.split()))
            self._event(f"again {work.step.key}: {why}")
            self.add([replace(work, attempt=work.attempt + 1, engine=None, beside=[])])

    def part(self, work: WorkItem, why: str) -> None:
        """Trainings that went together and failed go in halves: memory may suffice, or one is to blame.

        Answers that failed together are asked one by one.
        """
        most = 1 if work.asked is not None else (len(work.all) + 1) // 2
        self.again((replace(each, most_together=most) for each in work.all), why)

    def failed(self, work: WorkItem, cause: BaseException, elsewhere: bool) -> None:
        """It ended in a Python error: once more elsewhere, in parts or with less memory, or not at all.

        `elsewhere`: the error may be its node's, and another node is left for it.
        """
        reason = f"{type(cause).__name__}: {cause}"
        if elsewhere and all(each.errors + 1 < MAX_ATTEMPTS for each in work.all):
            self.again((replace(each, errors=each.errors + 1) for each in work.all), reason)
        elif work.beside:
            self.part(work, reason)
        elif isinstance(cause, MemoryExceeded) and work.micro_batch % 2 == 0:
            smaller = replace(work, micro_batch=work.micro_batch // 2)
            self.again([smaller], "out of GPU memory, half the micro-batch")
        else:
            self.give_up(work, reason)

    def died(self, work: WorkItem, reason: str) -> None:
        """Its process ended under it: tried again a few times, in parts from the second death on."""
        if work.beside and work.deaths:
            self.part(work, reason)
        else:
            for each in work.all:
                if each.deaths + 1 < MAX_ATTEMPTS:
                    self.again([replace(each, deaths=each.deaths + 1)], reason)
                else:
                    self.give_up(each, reason, self.log(work))

    def lost(self, work: WorkItem, reason: str) -> None:
        """It went with its node, which is hardly ever its own doing: tried again many times."""
        for each in work.all:
            if each.losses + 1 < MAX_LOSSES:
                self.again([replace(each, losses=each.losses + 1)], reason)
            else:
                self.give_up(each, reason, self.log(work))

    def give_up(self, work: WorkItem, reason: str, log: str | None = None) -> None:
        """The step fails, and what builds on it is not run.

        `log`: the file that tells why; default: that of its attempt.
        """
        reason = " ".join(reason.split())
        self.failures.append(Failure(work.step, reason, log or self.log(work)))
        self._event(f"failed {work.step.key}: {reason}")
        self._fail(work)

    def log(self, work: WorkItem) -> str:
        """The log file of this attempt, below the storage."""
        name = work.step.key.replace("/", "-")
        return f"{self._study}/logs/{name}-attempt-{work.attempt}.log"

    def _fail(self, work: WorkItem) -> None:
        self._failed.add(work.step.fingerprint)
        self._drop(self._consumers.pop(work.step.fingerprint, ()))

    def _drop(self, works: Iterable[WorkItem]) -> None:
        for work in works:
            if work.number in self._waiting:
                self.remove(work)
                self._event(f"not run {work.step.key}: what it builds on failed")
                self._fail(work)

    def _is_ready(self, work: WorkItem) -> bool:
        return all(fingerprint in self._done for fingerprint in work.step.inputs.values())

    def _ready(self, work: WorkItem) -> GroupedQueue:
        """Where it is once it is ready."""
        if work.step.stage == "train":
            return self.trainings
        return self.asking if work.step.stage in ENGINE_STAGES else self.on_cpu
