"""The cluster as it is at present: nodes join a run, and are lost to it."""

from __future__ import annotations

import time
from collections.abc import Callable

from ray.exceptions import ActorDiedError, ActorUnavailableError, NodeDiedError, RayError

from weirdgen.runner.cluster import Capacity, check_shared_storage, node_capacities
from weirdgen.store import Store

LOOK_S = 5.0
"""How long to wait between two looks at the nodes."""


class Nodes:
    """What all nodes have together, looked at anew every few seconds."""

    def __init__(self, have: Capacity, store: Store, event: Callable[[str], None]) -> None:
        """`have`: what there is at the start of the run."""
        self.have = have
        self._store, self._event = store, event
        self._alive = node_capacities()
        self._looked = time.monotonic()

    def look(self) -> bool:
        """Whether a node has joined or gone since the last look; LOOK_S must lie between two.

        Raises WeirdgenError where one has joined that does not see the storage.
        """
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return False
        self._looked, before, had = now, self._alive, self.have
        self._alive = node_capacities()
        self.have = Capacity.of_all(self._alive.values())
        if self._alive.keys() == before.keys() and self.have == had:
            return False
        self._event(
            f"nodes: {len(self._alive)}, with {self.have.cpus:g} CPUs and {self.have.gpus:g} GPUs"
        )
        if new := self._alive.keys() - before.keys():
            check_shared_storage(self._store, new)
        return True


def went_with_node(error: RayError) -> bool:
    """Whether Ray means that the node has gone, not what ran there alone."""
    if isinstance(error, NodeDiedError | ActorUnavailableError):
        return True
    return isinstance(error, ActorDiedError) and "node has died" in str(error)
