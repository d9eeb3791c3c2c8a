"""Scale the generation engines: how many to start, which starts to cancel, when to stop trying."""

from __future__ import annotations

import logging

import ray

from weirdgen.pipeline.stages.train import TRAIN
from weirdgen.runner.engine_pool import EnginePool
from weirdgen.runner.failure_policy import (
    MAX_ATTEMPTS,
    Action,
    Cause,
    Event,
    bars_engines,
    decide,
)
from weirdgen.runner.queue import WorkQueue
from weirdgen.runner.work_item import WorkItem
from weirdgen.storage.artifacts import Step

_log = logging.getLogger("weirdgen.run.engines")


class EngineScaler:
    """Decides on engine starts. All engines that start at once count as one try."""

    def __init__(self, pool: EnginePool, queue: WorkQueue) -> None:
        self._pool, self._queue = pool, queue
        self._failed_starts = 0
        self.barred_nodes: set[str] = set()
        """The ids of the nodes where no engine is started."""
        self._ended_on: set[str] = set()
        """Nodes on which an engine ended before it made anything."""

    def wanted(self, shares: bool) -> int:
        """How many more engines would find something to do.

        Where engines share GPUs with trainings (`shares`), work that is not ready yet counts too.
        Where they take turns, one engine has to do until all trainings have started.
        """
        if self._failed_starts >= MAX_ATTEMPTS and self._pool.engines:
            return 0
        pool, queue = self._pool, self._queue
        if not pool.gpus_each:
            now = int(bool(queue.engine_ready))
        else:
            now = max(0, queue.engine_ready.n_groups - pool.opening)
            if shares and queue.base_is_there:
                return max(now, queue.engine_waiting.n_groups - len(pool.engines))
        if queue.counts[TRAIN.name]:
            return min(now, 0 if pool.engines else 1)
        return now

    def base(self) -> Step:
        """A step that needs the base model opened; any does, as a study has one base model."""
        (work,) = self._queue.engine_waiting.first()
        return work.step

    def cancel_needless(self, running: dict[ray.ObjectRef, WorkItem]) -> None:
        """Cancels engine starts when no work for an engine is left."""
        if not self._pool.opening or self._queue.engine_waiting:
            return
        starts = {ref: work.engine for ref, work in running.items() if work.is_engine_start}
        others = [work for work in running.values() if not work.is_engine_start]
        if any(work.executor == "engine" for work in others):
            return  # if it fails, it needs an engine again
        for ref, engine in starts.items():
            del running[ref]
            if engine is not None:
                self._pool.close(engine)

    def started(self) -> None:
        """An engine is open: earlier failures to start no longer count."""
        self._failed_starts = 0

    def worked_on(self, node: str) -> None:
        """An engine there has made something: others may be started there."""
        self.barred_nodes.discard(node)
        self._ended_on.discard(node)

    def ended(self, work: WorkItem, cause: Cause, node: str) -> None:
        """The engine of `work` failed or died: closes it, and notes what that says of its node."""
        engine = work.engine
        assert engine is not None
        if node:
            if bars_engines(cause, engine.has_worked, node in self._ended_on):
                self.barred_nodes.add(node)
            if not engine.has_worked:
                self._ended_on.add(node)
        if engine in self._pool.engines:
            self._pool.close(engine)
            if not work.is_engine_start and not self._pool.engines:
                self._failed_starts = 0  # the next start has all its tries again

    def start_failed(self, start: WorkItem, reason: str, counts: bool = True) -> None:
        """Counts the failed start of an engine; gives up all that needs one where the policy does.

        `counts`: False where its node has been excluded.
        """
        engine, pool, queue = start.engine, self._pool, self._queue
        assert engine is not None
        _log.warning("engine %d failed: %s", engine.number, reason)
        if pool.opening or not counts:
            return
        self._failed_starts += 1
        tries, open_engines = self._failed_starts, len(pool.engines)
        event = Event(Cause.ENGINE_START, failed_starts=tries, open_engines=open_engines)
        if decide(event) is Action.RETRY:
            return
        self._failed_starts = 0
        needing = [work for work in queue.waiting if work.executor == "engine"]
        for work in needing:
            queue.remove(work)
        for work in needing:
            queue.give_up(work, f"no engine: {reason}", pool.log(engine))
