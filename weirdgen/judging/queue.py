"""Which answers a judge is still to be asked about: each once, whoever wants it, and within the budget."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from weirdgen.config.judge import JudgeConfig
from weirdgen.judging.judgment import MAX_ATTEMPTS, PROBE_ITEM, ItemResult, JudgeItem
from weirdgen.judging.llm_judge import LlmJudge

BUDGET = "budget"
"""Why an item has no verdict: asking about it may cost more than is left."""
_UNPRICED = 8
"""Items asked at a time until the endpoint has told what one costs."""

Why = dict[str, str]
"""Key -> why there is no verdict."""
VerdictOf = Callable[[str], str | None]
"""Key -> the record of its verdict as JSON, or None."""


class Job(Protocol):
    """Answers that belong together, for one judge."""

    @property
    def judge(self) -> LlmJudge: ...

    def items(self) -> Iterable[JudgeItem]:
        """Its items, made when it is their turn."""
        ...

    def finish(self, verdict_of: VerdictOf, why: Why) -> None:
        """Called once every item has its end: a verdict, or a reason in `why`."""
        ...


class Batch(NamedTuple):
    """Items that one process is asked to ask about."""

    judge: LlmJudge
    items: list[JudgeItem]
    reserved: float
    """Dollars that they may cost at most."""


@dataclass(eq=False)
class _Active:
    job: Job
    open: set[str] = field(default_factory=set)
    why: Why = field(default_factory=dict)


@dataclass
class _Account:
    """What one judge has cost, and may."""

    spent: float = 0.0
    under_way: int = 0
    """Batches."""
    reserved: float = 0.0
    """Dollars that those may cost."""
    dearest: float | None = None
    """Dollars of the dearest item so far."""

    def take(self, dollars: float) -> None:
        self.under_way += 1
        self.reserved += dollars

    def settle(self, dollars: float) -> None:
        self.under_way -= 1
        # Sums of dollars leave a rest, with which a budget would never be found spent.
        self.reserved = self.reserved - dollars if self.under_way else 0.0


class RequestQueue:
    """Keeps the order; knows neither processes nor endpoints."""

    def __init__(self, verdict_of: VerdictOf, spent: dict[JudgeConfig, float]) -> None:
        """`verdict_of` knows every verdict that was ever received; `spent` is what the study has spent."""
        self._verdict_of = verdict_of
        self._accounts = {judge: _Account(dollars) for judge, dollars in spent.items()}
        self._jobs: deque[Job] = deque()
        self._queues: dict[LlmJudge, deque[JudgeItem]] = {}
        self._waiting: dict[str, list[_Active]] = {}
        self._stopped: str | None = None
        self.verdicts = 0
        """How many items ended with a verdict."""
        self.unasked: Counter[str] = Counter()
        """Why -> how many items ended without a verdict."""

    @property
    def busy(self) -> bool:
        """Whether anything has not ended yet."""
        return bool(self._jobs or self._waiting)

    @property
    def untouched(self) -> int:
        """Jobs whose turn has not come."""
        return len(self._jobs)

    def spent(self, judge: JudgeConfig) -> float:
        """Dollars, as far as they are known."""
        return self._accounts[judge].spent

    def add(self, job: Job) -> None:
        self._jobs.append(job)

    def check(self, judge: LlmJudge) -> Batch | None:
        """What tells whether `judge` can be asked at all; None where even that is beyond the budget."""
        account = self._accounts[judge.settings]
        cost = self._at_most(judge, PROBE_ITEM, account)
        if account.spent + account.reserved + cost > (judge.settings.budget_usd or math.inf):
            return None
        account.take(cost)
        return Batch(judge, [PROBE_ITEM], cost)

    def take(self, most: int) -> Batch | None:
        """At most so many items of one judge; None where there is nothing to ask, or may not be."""
        while True:
            while self._jobs and self._queued < most:
                self._take_up(self._jobs.popleft())
            for judge, queue in self._queues.items():
                if self._stopped is not None:
                    self._end_all(queue, self._stopped)
                elif batch := self._affordable(judge, queue, most):
                    self._accounts[judge.settings].take(batch.reserved)
                    return batch
            if self._queued or not self._jobs:
                return None

    def settle(self, batch: Batch, ended: Sequence[ItemResult], lost: float = 0.0) -> None:
        """Takes what became of items of `batch`; `lost` dollars went to those that did not end."""
        account = self._accounts[batch.judge.settings]
        account.settle(batch.reserved)
        account.spent += lost
        for each in ended:
            account.spent += each.dollars
            if each.dollars:
                account.dearest = max(account.dearest or 0.0, each.dollars)
            self._end(each.key, each.why if each.verdict is None else None)

    def again(self, judge: LlmJudge, items: Iterable[JudgeItem]) -> None:
        """Puts items that were taken and did not end in front of the queue."""
        self._queues[judge].extendleft(items)

    def stop(self, why: str) -> None:
        """What was not asked yet never is."""
        self._stopped = self._stopped or why

    @property
    def _queued(self) -> int:
        return sum(map(len, self._queues.values()))

    def _take_up(self, job: Job) -> None:
        active = _Active(job)
        queue = self._queues.setdefault(job.judge, deque())
        for item in job.items():
            if item.key in active.open or self._verdict_of(item.key) is not None:
                continue
            active.open.add(item.key)
            if item.key not in self._waiting:
                queue.append(item)
            self._waiting.setdefault(item.key, []).append(active)
        if not active.open:
            job.finish(self._verdict_of, {})

    def _affordable(self, judge: LlmJudge, queue: deque[JudgeItem], most: int) -> Batch | None:
        settings, account = judge.settings, self._accounts[judge.settings]
        if not queue:
            return None
        if settings.budget_usd is None:
            return Batch(judge, [queue.popleft() for _ in range(min(most, len(queue)))], 0.0)
        items, reserved = [], 0.0
        if settings.price is None and account.dearest is None:
            most = 0 if account.under_way else _UNPRICED
        while queue and len(items) < most:
            cost = self._at_most(judge, queue[0], account)
            if account.spent + account.reserved + reserved + cost > settings.budget_usd:
                break
            reserved += cost
            items.append(queue.popleft())
        if not items and not account.under_way:  # nothing can turn out cheaper
            self._end_all(queue, BUDGET)
        return Batch(judge, items, reserved) if items else None

    def _at_most(self, judge: LlmJudge, item: JudgeItem, account: _Account) -> float:
        """Dollars for an item: every request that may be billed counts, answered or not."""
        if judge.settings.price is not None:
            tokens = judge.estimated_tokens(item.question, item.answer)
            return (MAX_ATTEMPTS + 1) * judge.settings.price.of(*tokens)
        return 2 * account.dearest if account.dearest else 1e-9

    def _end_all(self, queue: deque[JudgeItem], why: str) -> None:
        while queue:
            self._end(queue.popleft().key, why)

    def _end(self, key: str, why: str | None) -> None:
        if why is None:
            self.verdicts += 1
        else:
            self.unasked[why] += 1
        for active in self._waiting.pop(key, ()):
            active.open.discard(key)
            if why is not None:
                active.why[key] = why
            if not active.open:
                active.job.finish(self._verdict_of, active.why)
