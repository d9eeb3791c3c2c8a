"""Which engines a run opens, which it no longer waits for, and when it gives up on them."""

from __future__ import annotations

from collections.abc import Callable

import ray

from weirdgen.runner.engine_pool import EnginePool
from weirdgen.runner.queue import WorkQueue
from weirdgen.runner.work_item import ENGINE_STAGES, MAX_ATTEMPTS, WorkItem
from weirdgen.storage.artifacts import Step


class EngineScaler:
    """The engines on their way. All that open at once are one try; a few tries may fail."""

    def __init__(self, pool: EnginePool, backlog: WorkQueue, event: Callable[[str], None]) -> None:
        self._pool, self._backlog, self._event = pool, backlog, event
        self._failed = 0
        self.failed_on: set[str] = set()
        """The ids of the nodes where another engine would fail."""
        self._died_on: set[str] = set()
        """Where that may have been chance."""

    def wanted(self, shares: bool) -> int:
        """How many more engines would find something to do.

        Where GPUs are shared with trainings (`shares`), also for what is to be asked later; where
        engines must make room for trainings that are to come, one has to do.
        """
        if self._failed >= MAX_ATTEMPTS and self._pool.engines:
            return 0
        pool, backlog = self._pool, self._backlog
        if not pool.gpus_each:
            now = min(1, len(backlog.asking))
        else:
            now = max(0, backlog.asking.n_groups - pool.opening)
            if shares and backlog.base_is_there:
                return max(now, backlog.to_ask.n_groups - len(pool.engines))
        if backlog.counts["train"]:
            return min(now, 0 if pool.engines else 1)
        return now

    def base(self) -> Step:
        """A step that asks the base to be opened; any does, as a study has one base."""
        (work,) = self._backlog.to_ask.first()
        return work.step

    def drop_needless(self, running: dict[ray.ObjectRef, WorkItem]) -> None:
        """Waits for no engine that would find nothing left to do."""
        if not self._pool.opening or self._backlog.to_ask:
            return
        opening = {ref: work.engine for ref, work in running.items() if work.opens}
        if any(work.step.stage in ENGINE_STAGES and not work.opens for work in running.values()):
            return
        for ref, engine in opening.items():
            del running[ref]
            if engine is not None:
                self._pool.close(engine)

    def succeeded(self) -> None:
        """An engine is open: what failed before is no reason to stop."""
        self._failed = 0

    def succeeded_on(self, node: str) -> None:
        """An engine there has made something: another may be opened there."""
        self.failed_on.discard(node)
        self._died_on.discard(node)

    def ended_on(self, node: str, surely: bool) -> None:
        """An engine there is of no more use; another would be, `surely` or as this is the second."""
        if surely or node in self._died_on:
            self.failed_on.add(node)
        self._died_on.add(node)

    def failed(self, opening: WorkItem, reason: str, counts: bool = True) -> None:
        """An engine did not come up. After a few tries, and without any, what needs one is given up.

        `counts`: whether that was a try; not where its node has been set aside.
        """
        engine, pool, backlog = opening.engine, self._pool, self._backlog
        assert engine is not None
        self._event(f"engine {engine.number} failed: {reason}")
        if engine in pool.engines:
            pool.close(engine)
        if pool.opening or not counts:
            return
        self._failed += 1
        if self._failed < MAX_ATTEMPTS or pool.engines:
            return
        self._failed = 0
        asking = [work for work in backlog.waiting if work.step.stage in ENGINE_STAGES]
        for work in asking:
            backlog.remove(work)
        for work in asking:
            backlog.give_up(work, f"no engine: {reason}", pool.log(engine))

    def died(self) -> None:
        """An engine that was open is gone: without another, opening has all its tries again."""
        if not self._pool.engines:
            self._failed = 0
