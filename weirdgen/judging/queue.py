"""Deduplicating, budget-aware queue of judge requests."""

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
"""Reason of an item that may cost more than is left of the budget."""
_UNPRICED = 8
"""Items in flight at a time until the endpoint has reported what one costs."""

Reasons = dict[str, str]
"""Key -> why there is no judgment."""
JudgmentOf = Callable[[str], str | None]
"""Key -> the record of its judgment as JSON, or None."""


class Job(Protocol):
    """Responses that belong together, for one judge."""

    @property
    def judge(self) -> LlmJudge: ...

    def items(self) -> Iterable[JudgeItem]:
        """Its items, built when their turn comes."""
        ...

    def finish(self, judgment_of: JudgmentOf, reasons: Reasons) -> None:
        """Called once every item has a judgment, or a reason in `reasons`."""
        ...


class Batch(NamedTuple):
    """Items of one judge that one process handles."""

    judge: LlmJudge
    items: list[JudgeItem]
    reserved: float
    """Most dollars that they may cost."""


@dataclass(eq=False)
class _Active:
    job: Job
    open: set[str] = field(default_factory=set)
    reasons: Reasons = field(default_factory=dict)


@dataclass
class _Account:
    """What one judge has cost, and may still cost."""

    spent: float = 0.0
    in_flight: int = 0
    """Batches."""
    reserved: float = 0.0
    """Most dollars that those may cost."""
    highest: float | None = None
    """Dollars of the most expensive item so far."""

    def reserve(self, dollars: float) -> None:
        self.in_flight += 1
        self.reserved += dollars

    def release(self, dollars: float) -> None:
        self.in_flight -= 1
        # Rounding would leave a remainder, and a budget would never count as spent.
        self.reserved = self.reserved - dollars if self.in_flight else 0.0


class RequestQueue:
    """Order requests, send each item once for all jobs that need it, and stay within budgets.

    Knows neither processes nor endpoints.
    """

    def __init__(self, judgment_of: JudgmentOf, spent: dict[JudgeConfig, float]) -> None:
        """`judgment_of` finds every judgment received so far; `spent` is what the study has spent."""
        self._judgment_of = judgment_of
        self._accounts = {judge: _Account(dollars) for judge, dollars in spent.items()}
        self._jobs: deque[Job] = deque()
        self._queues: dict[LlmJudge, deque[JudgeItem]] = {}
        self._waiting: dict[str, list[_Active]] = {}
        self._stopped: str | None = None
        self.judged = 0
        """Items that ended with a judgment."""
        self.unjudged: Counter[str] = Counter()
        """Reason -> items that ended without a judgment."""

    @property
    def busy(self) -> bool:
        """Whether any job is unfinished."""
        return bool(self._jobs or self._waiting)

    @property
    def pending_jobs(self) -> int:
        """Jobs that have not been started."""
        return len(self._jobs)

    def spent(self, judge: JudgeConfig) -> float:
        """Dollars spent on `judge`, as far as known."""
        return self._accounts[judge].spent

    def add(self, job: Job) -> None:
        self._jobs.append(job)

    def probe(self, judge: LlmJudge) -> Batch | None:
        """A batch that shows whether `judge` can be reached; None if even that exceeds the budget."""
        account = self._accounts[judge.settings]
        cost = self._at_most(judge, PROBE_ITEM, account)
        if account.spent + account.reserved + cost > (judge.settings.budget_usd or math.inf):
            return None
        account.reserve(cost)
        return Batch(judge, [PROBE_ITEM], cost)

    def next_batch(self, most: int) -> Batch | None:
        """At most `most` items of one judge; None if there are none, or none may be sent."""
        while True:
            while self._jobs and self._queued < most:
                self._start(self._jobs.popleft())
            for judge, queue in self._queues.items():
                if self._stopped is not None:
                    self._end_all(queue, self._stopped)
                elif batch := self._affordable(judge, queue, most):
                    self._accounts[judge.settings].reserve(batch.reserved)
                    return batch
            if self._queued or not self._jobs:
                return None

    def complete(self, batch: Batch, results: Sequence[ItemResult], lost: float = 0.0) -> None:
        """Record the results of `batch`; `lost` dollars went to items without a result."""
        account = self._accounts[batch.judge.settings]
        account.release(batch.reserved)
        account.spent += lost
        for each in results:
            account.spent += each.dollars
            if each.dollars:
                account.highest = max(account.highest or 0.0, each.dollars)
            self._end(each.key, each.reason if each.judgment is None else None)

    def requeue(self, judge: LlmJudge, items: Iterable[JudgeItem]) -> None:
        """Put items of a batch that got no result back at the front."""
        self._queues[judge].extendleft(items)

    def stop(self, reason: str) -> None:
        """Send nothing more; what is queued ends with `reason`."""
        self._stopped = self._stopped or reason

    @property
    def _queued(self) -> int:
        return sum(map(len, self._queues.values()))

    def _start(self, job: Job) -> None:
        active = _Active(job)
        queue = self._queues.setdefault(job.judge, deque())
        for item in job.items():
            if item.key in active.open or self._judgment_of(item.key) is not None:
                continue
            active.open.add(item.key)
            if item.key not in self._waiting:
                queue.append(item)
            self._waiting.setdefault(item.key, []).append(active)
        if not active.open:
            job.finish(self._judgment_of, {})

    def _affordable(self, judge: LlmJudge, queue: deque[JudgeItem], most: int) -> Batch | None:
        settings, account = judge.settings, self._accounts[judge.settings]
        if not queue:
            return None
        if settings.budget_usd is None:
            return Batch(judge, [queue.popleft() for _ in range(min(most, len(queue)))], 0.0)
        items, reserved = [], 0.0
        if settings.price is None and account.highest is None:
            most = 0 if account.in_flight else _UNPRICED
        while queue and len(items) < most:
            cost = self._at_most(judge, queue[0], account)
            if account.spent + account.reserved + reserved + cost > settings.budget_usd:
                break
            reserved += cost
            items.append(queue.popleft())
        if not items and not account.in_flight:  # no batch in flight can free any budget
            self._end_all(queue, BUDGET)
        return Batch(judge, items, reserved) if items else None

    def _at_most(self, judge: LlmJudge, item: JudgeItem, account: _Account) -> float:
        """Most dollars for an item: every request that may be billed counts, with a reply or without."""
        if judge.settings.price is not None:
            tokens = judge.estimated_tokens(item.question, item.response)
            return (MAX_ATTEMPTS + 1) * judge.settings.price.of(*tokens)
        return 2 * account.highest if account.highest else 1e-9

    def _end_all(self, queue: deque[JudgeItem], reason: str) -> None:
        while queue:
            self._end(queue.popleft().key, reason)

    def _end(self, key: str, reason: str | None) -> None:
        if reason is None:
            self.judged += 1
        else:
            self.unjudged[reason] += 1
        for active in self._waiting.pop(key, ()):
            active.open.discard(key)
            if reason is not None:
                active.reasons[key] = reason
            if not active.open:
                active.job.finish(self._judgment_of, active.reasons)
