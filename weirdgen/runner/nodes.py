"""The cluster as it is at present: nodes join a run, are lost to it, and are set aside."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
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

LOOK_S = 5.0
"""How long to wait between two looks at the nodes."""


class Nodes:
    """The room on the nodes in use, looked at anew every few seconds.

    A node of no use is set aside: nothing more is sent there, as long as others can hold what the
    study needs.
    """

    def __init__(
        self,
        room: ClusterCapacity,
        needs: Iterable[Capacity],
        store: ArtifactStore,
        event: Callable[[str], None],
    ) -> None:
        """`room`: what there is at the start; `needs`: what single pieces of work take of a node."""
        self.room = room
        self._needs, self._store, self._event = [*needs], store, event
        self._in_use = node_capacities()
        self._aside: dict[str, tuple[str, str]] = {}
        """Id of a node that is there -> its address, and why it was set aside."""
        self._looked = time.monotonic()

    @property
    def aside(self) -> dict[str, str]:
        """Address -> why the node is set aside."""
        return dict(self._aside.values())

    def is_aside(self, node: str) -> bool:
        return node in self._aside

    def look(self) -> bool:
        """Whether a node has joined or gone since the last look; LOOK_S must lie between two.

        Raises WeirdgenError where one has joined that does not see the storage, and is needed.
        """
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return False
        self._looked, before, had = now, self._in_use, self.room.have
        alive = node_capacities()
        self._aside = {node: told for node, told in self._aside.items() if node in alive}
        self._in_use = {node: has for node, has in alive.items() if node not in self._aside}
        if new := self._in_use.keys() - before.keys():
            self._set_blind_aside(new)
        have = Capacity.of_all(self._in_use.values())
        if self._in_use.keys() == before.keys() and have == had:
            return False
        self.room = self.room.within(have)
        self._event(f"nodes: {len(self._in_use)}, with {have.cpus:g} CPUs and {have.gpus:g} GPUs")
        return True

    def suffice_without(self, nodes: Collection[str]) -> bool:
        """Whether the other nodes, of those that are there now, can hold what the study needs."""
        away = {*nodes, *self._aside}
        others = [has for node, has in node_capacities().items() if node not in away]
        return all(any(map(need.fits, others)) for need in self._needs)

    def placing(self, avoid: Collection[str]) -> dict[str, Any]:
        """Options of Ray's that keep work off these nodes, if others suffice, and off those set aside."""
        away = {*avoid, *self._aside} if avoid and self.suffice_without(avoid) else {*self._aside}
        return (
            {"label_selector": {"ray.io/node-id": f"!in({','.join(sorted(away))})"}} if away else {}
        )

    def set_aside(self, node: str, why: str) -> bool:
        """Sends nothing more there, if it is there at all; False where it is needed, or not known."""
        if not node:
            return False
        has = node_capacities().get(node)  # it may have joined or gone since the last look
        if has is None or node in self._aside:
            return True
        if not self.suffice_without([node]):
            return False
        if node in self._in_use:
            self.room = self.room.without(has)
        self._refuse(node, why)
        return True

    def _set_blind_aside(self, among: Collection[str]) -> None:
        why = f"--storage {self._store.uri}: {what_is_blind(self._store)}"
        for node in blind_nodes(self._store, among):
            if not self.suffice_without([node]):
                raise WeirdgenError(f"{node_names().get(node, node)}: {why}")
            self._refuse(node, why)

    def _refuse(self, node: str, why: str) -> None:
        address = node_names().get(node, node)
        self._aside[node] = address, " ".join(why.split())
        self._in_use.pop(node, None)
        self._event(f"node {address} set aside: {why}")
