"""Track the cluster's nodes during a run: nodes join, are lost, and are excluded."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable
from typing import Any

from weirdgen.errors import WeirdgenError
from weirdgen.runner.capacity import ClusterCapacity
from weirdgen.runner.cluster import (
    Capacity,
    blind_nodes,
    node_capacities,
    node_names,
    what_is_blind,
)
from weirdgen.storage.artifacts import ArtifactStore

_log = logging.getLogger("weirdgen.run.nodes")
REFRESH_S = 5.0
"""The least time between two looks at the nodes."""


class Nodes:
    """The nodes in use and their capacity, refreshed every few seconds.

    Nothing more is sent to an excluded node. A node is excluded only while the others can hold
    what the study needs.
    """

    def __init__(
        self,
        capacity: ClusterCapacity,
        needs: Iterable[Capacity],
        store: ArtifactStore,
    ) -> None:
        """`capacity`: at the start; `needs`: what single pieces of work take of a node."""
        self.capacity = capacity
        self._needs, self._store = [*needs], store
        self._in_use = node_capacities()
        self._excluded: dict[str, tuple[str, str]] = {}
        """Id of a living node -> its address, and why it is excluded."""
        self._refreshed = time.monotonic()

    @property
    def excluded(self) -> dict[str, str]:
        """Address -> why the node is excluded."""
        return dict(self._excluded.values())

    def is_excluded(self, node: str) -> bool:
        return node in self._excluded

    def refresh(self) -> bool:
        """Whether a node has joined or gone since the last time; does nothing within REFRESH_S of that.

        Raises WeirdgenError where one has joined that does not see the storage, and is needed.
        """
        now = time.monotonic()
        if now - self._refreshed < REFRESH_S:
            return False
        self._refreshed, before, had = now, self._in_use, self.capacity.have
        alive = node_capacities()
        self._excluded = {node: entry for node, entry in self._excluded.items() if node in alive}
        self._in_use = {node: has for node, has in alive.items() if node not in self._excluded}
        if new := self._in_use.keys() - before.keys():
            self._exclude_blind(new)
        have = Capacity.of_all(self._in_use.values())
        if self._in_use.keys() == before.keys() and have == had:
            return False
        self.capacity = self.capacity.with_nodes(have)
        n_nodes = len(self._in_use)
        _log.info("nodes: %d, with %g CPUs and %g GPUs", n_nodes, have.cpus, have.gpus)
        return True

    def suffice_without(self, nodes: Collection[str]) -> bool:
        """Whether the other nodes, of those that are there now, can hold what the study needs."""
        away = {*nodes, *self._excluded}
        others = [has for node, has in node_capacities().items() if node not in away]
        return all(any(map(need.fits, others)) for need in self._needs)

    def scheduling_options(self, avoid: Collection[str]) -> dict[str, Any]:
        """Ray options that keep work off excluded nodes, and off these if the others suffice."""
        away = {*self._excluded}
        if avoid and self.suffice_without(avoid):
            away |= {*avoid}
        selector = f"!in({','.join(sorted(away))})"
        return {"label_selector": {"ray.io/node-id": selector}} if away else {}

    def exclude(self, node: str, why: str) -> bool:
        """Sends nothing more there. False where the node is needed, or `node` is empty."""
        if not node:
            return False
        has = node_capacities().get(node)  # it may have joined or gone since the last refresh
        if has is None or node in self._excluded:
            return True
        if not self.suffice_without([node]):
            return False
        if node in self._in_use:
            self.capacity = self.capacity.without_node(has)
        self._refuse(node, why)
        return True

    def _exclude_blind(self, among: Collection[str]) -> None:
        why = f"--storage {self._store.uri}: {what_is_blind(self._store)}"
        for node in blind_nodes(self._store, among):
            if not self.suffice_without([node]):
                raise WeirdgenError(f"{node_names().get(node, node)}: {why}")
            self._refuse(node, why)

    def _refuse(self, node: str, why: str) -> None:
        address = node_names().get(node, node)
        self._excluded[node] = address, " ".join(why.split())
        self._in_use.pop(node, None)
        _log.warning("node %s excluded: %s", address, why)
