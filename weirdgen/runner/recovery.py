"""Carries the failure policy out: on the queue, the nodes and the engines."""

from __future__ import annotations

from dataclasses import replace

from ray.exceptions import ActorDiedError, ActorUnavailableError, NodeDiedError, RayError

from weirdgen.runner.engine_scaling import EngineScaler
from weirdgen.runner.failure_policy import (
    COUNTS,
    Action,
    Cause,
    Event,
    avoids_node,
    classify,
    decide,
)
from weirdgen.runner.location import node_of
from weirdgen.runner.nodes import Nodes
from weirdgen.runner.queue import WorkQueue
from weirdgen.runner.work_item import WorkItem
from weirdgen.storage.artifacts import ArtifactStore

_FREES_ENGINE = (Cause.STEP, Cause.GPU_MEMORY, Cause.MAYBE_NODE)
"""After these the engine is as good as before."""


class Recovery:
    """Describes a failure to the policy, and does what it decides.

    `node` is the id of the node where the work ran, empty where it is not known.
    """

    def __init__(
        self, store: ArtifactStore, nodes: Nodes, scaler: EngineScaler, queue: WorkQueue
    ) -> None:
        self._store, self._nodes = store, nodes
        self._scaler, self._queue = scaler, queue

    def on_error(self, work: WorkItem, error: BaseException, node: str) -> None:
        """The work ended in a Python error.

        Raises StorageError where the storage is full or cannot be written, and NodeDiskError where
        the disk of a node is, and the run needs that node.
        """
        node = node_of(error) or node
        cause = classify(
            error,
            on_engine=work.engine is not None,
            starts_engine=work.is_engine_start,
            node_excluded=self._nodes.is_excluded(node),
        )
        dispensable = True
        if cause is Cause.STORAGE:
            self._store.check_writable()  # raises where it is no trouble of that node alone
        if cause is Cause.NODE_DISK:
            dispensable = self._nodes.exclude(node, str(error))
        if decide(Event(cause, dispensable=dispensable)) is Action.ABORT:
            raise error
        self._recover(work, cause, f"{type(error).__name__}: {error}", node)

    def on_death(self, work: WorkItem, error: RayError, node: str) -> None:
        """The worker, the actor or the node died."""
        cause = Cause.NODE_LOSS if went_with_node(error) else Cause.CRASH
        self._recover(work, cause, why(error), node)

    def _recover(self, work: WorkItem, cause: Cause, reason: str, node: str) -> None:
        excluded = self._nodes.is_excluded(node)
        if work.engine is not None:
            if cause in _FREES_ENGINE:
                work.engine.busy = False
            else:
                self._scaler.ended(work, cause, node)
        if work.is_engine_start:
            self._scaler.start_failed(work, reason, counts=not excluded)
            return
        event = self._event(work, Cause.NODE_LOSS if excluded else cause, node)
        if avoids_node(event, on_engine=work.engine is not None):
            work.avoid(node)
        if decide(event) is Action.SPLIT:
            self._queue.split_and_retry(work, reason)
            return
        for each in work.batch:
            own = event._replace(crashes=each.crashes, node_losses=each.node_losses)
            match decide(own):
                case Action.RETRY:
                    count = COUNTS[event.cause]
                    counted = replace(each, **{count: getattr(each, count) + 1})
                    self._queue.retry([counted], reason)
                case Action.HALVE_MICRO_BATCH:
                    smaller = replace(each, micro_batch=each.micro_batch // 2)
                    self._queue.retry([smaller], "out of GPU memory, half the micro-batch")
                case _:
                    self._queue.give_up(each, reason, self._queue.log_file(work))

    def _event(self, work: WorkItem, cause: Cause, node: str) -> Event:
        others = bool(node) and self._nodes.suffice_without(work.avoids | {node})
        return Event(
            cause,
            batched=bool(work.batched_with),
            errors=max(each.errors for each in work.batch),
            crashes=work.crashes,
            node_losses=work.node_losses,
            batch_crashed=work.crashes > 0,
            dispensable=cause is Cause.NODE_DISK or others,
            micro_batch=work.micro_batch,
        )


def went_with_node(error: RayError) -> bool:
    """Whether Ray means that the node has gone, not what ran there alone."""
    if isinstance(error, NodeDiedError | ActorUnavailableError):
        return True
    return isinstance(error, ActorDiedError) and "node has died" in str(error)


def why(error: RayError) -> str:
    """The error in one line, with the last line of Ray's message, which names the cause."""
    first, *others = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join([first, *others[-1:]])}"
