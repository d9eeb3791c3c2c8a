"""What becomes of work that did not end well: its own fault, its engine's, its node's, the storage's."""

from __future__ import annotations

from ray.exceptions import ActorDiedError, ActorUnavailableError, NodeDiedError, RayError

from weirdgen.errors import (
    NodeDiskError,
    NodeError,
    StepError,
    StorageError,
    StorageFullError,
)
from weirdgen.runner.engine_pool import EnginePool
from weirdgen.runner.engine_scaling import EngineScaler
from weirdgen.runner.location import node_of
from weirdgen.runner.nodes import Nodes
from weirdgen.runner.queue import WorkQueue
from weirdgen.runner.work_item import WorkItem
from weirdgen.storage.artifacts import ArtifactStore


class FailurePolicy:
    """Decides what is tried again, and where not; what is no step's own ends the run.

    `node` is the id of the one where it ran, empty where it is not known.
    """

    def __init__(
        self,
        store: ArtifactStore,
        nodes: Nodes,
        pool: EnginePool,
        openings: EngineScaler,
        backlog: WorkQueue,
    ) -> None:
        self._store, self._nodes, self._pool = store, nodes, pool
        self._openings, self._backlog = openings, backlog

    def failed(self, work: WorkItem, cause: BaseException, node: str) -> None:
        """It ended in a Python error.

        Raises StorageError where the storage is full or not to be written, and NodeDiskError where
        the node's disk is not and the node cannot be done without.
        """
        node, reason = node_of(cause) or node, f"{type(cause).__name__}: {cause}"
        if isinstance(cause, StorageFullError):
            raise cause  # no step's own: one after the other would fare as badly
        if isinstance(cause, StorageError):
            self._store.check_writable()  # raises where it is no trouble of that node alone
            self.died(work, reason, node)
            return
        if isinstance(cause, NodeDiskError) and not self._nodes.set_aside(node, str(cause)):
            raise cause
        if isinstance(cause, NodeDiskError) or self._nodes.is_aside(node):
            self.died(work, reason, node, with_node=True)
        elif work.opens or (work.engine is not None and not isinstance(cause, StepError)):
            self.died(work, reason, node, surely=work.opens)  # it may break the next step too
        else:
            if work.engine is not None:
                work.engine.busy = False
            own = isinstance(cause, StepError) and not isinstance(cause, NodeError)
            self._backlog.failed(work, cause, elsewhere=not own and self._avoid(work, node))

    def died(
        self, work: WorkItem, reason: str, node: str, with_node: bool = False, surely: bool = False
    ) -> None:
        """The process that made it ended, alone or `with_node`, or its engine is of no more use.

        `surely`: no engine will open on that node.
        """
        is_aside = self._nodes.is_aside(node)
        if engine := work.engine:
            if node and not engine.has_made:
                self._openings.ended_on(node, surely=surely)
            if engine in self._pool.engines:
                self._pool.close(engine)
                if not work.opens:
                    self._openings.died()
        elif work.deaths:  # the first may have been chance
            self._avoid(work, node)
        if work.opens:
            self._openings.failed(work, reason, counts=not is_aside)
        elif with_node or is_aside:
            self._backlog.lost(work, reason)
        else:
            self._backlog.died(work, reason)

    def _avoid(self, work: WorkItem, node: str) -> bool:
        """Whether other nodes are left: then it is begun there no more."""
        if not node or not self._nodes.suffice_without(work.avoids | {node}):
            return False
        work.avoid(node)
        return True


def went_with_node(error: RayError) -> bool:
    """Whether Ray means that the node has gone, not what ran there alone."""
    if isinstance(error, NodeDiedError | ActorUnavailableError):
        return True
    return isinstance(error, ActorDiedError) and "node has died" in str(error)


def why(error: RayError) -> str:
    """What happened, and what Ray knows of the cause, which stands last."""
    first, *others = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join([first, *others[-1:]])}"
