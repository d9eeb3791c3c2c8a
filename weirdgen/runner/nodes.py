"""The cluster as it is at present: nodes join a run, are lost to it, and are set aside."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from typing import Any

from weirdgen.runner.cluster import (
    Capacity,
    blind_nodes,
    node_capacities,
    node_names,
    what_is_blind,
)
from weirdgen.runner.place import Trouble, to_avoid
from weirdgen.runner.room import Room
from weirdgen.store import Store

LOOK_S = 5.0
"""How long to wait between two looks at the nodes."""
MAX_BLAMED = 2
"""How many failures may be a node's: nothing succeeds there, and elsewhere what had failed."""


class Nodes:
    """The room on the nodes in use, looked at anew every few seconds.

    A node that cannot be worked with is set aside: nothing more is begun there. There must be others
    that can hold what the study needs.
    """

    def __init__(
        self,
        room: Room,
        needs: Iterable[Capacity],
        store: Store,
        event: Callable[[str], None],
    ) -> None:
        """`room`: what there is at the start; `needs`: what single pieces of work take of a node."""
        self.room = room
        self.aside: dict[str, str] = {}
        """Address -> why the node was set aside."""
        self._needs, self._store, self._event = [*needs], store, event
        self._in_use = node_capacities()
        self._refused: set[str] = set()
        """Ids of the nodes that were set aside and are still there."""
        self._blamed: dict[str, set[Trouble]] = {}
        """Node -> failures since its last success of what succeeded elsewhere."""
        self._looked = time.monotonic()

    def look(self) -> bool:
        """Whether a node has joined or gone since the last look; LOOK_S must lie between two.

        Raises StorageError where the storage cannot be written.
        """
        now = time.monotonic()
        if now - self._looked < LOOK_S:
            return False
        self._looked, before, had = now, self._in_use, self.room.have
        alive = node_capacities()
        self._refused &= alive.keys()
        self._in_use = {node: has for node, has in alive.items() if node not in self._refused}
        if new := self._in_use.keys() - before.keys():
            for node in blind_nodes(self._store, new):
                self.set_aside(node, f"--storage {self._store.uri}: {what_is_blind(self._store)}")
        have = Capacity.of_all(self._in_use.values())
        if self._in_use.keys() == before.keys() and have == had:
            return False
        self.room = self.room.within(have)
        self._event(f"nodes: {len(self._in_use)}, with {have.cpus:g} CPUs and {have.gpus:g} GPUs")
        return True

    def suffice_without(self, nodes: Collection[str]) -> bool:
        """Whether the other nodes in use can hold what the study needs."""
        others = [has for node, has in self._in_use.items() if node not in nodes]
        return all(any(map(need.fits, others)) for need in self._needs)

    def placing(self, troubles: Collection[Trouble]) -> dict[str, Any]:
        """Options of Ray's that keep work off nodes set aside, and off those to avoid for `troubles`.

        Where no others suffice, it may go to these again.
        """
        away = to_avoid(troubles) & self._in_use.keys()
        if not self.suffice_without(away):
            away.clear()
        away |= self._refused
        return (
            {"label_selector": {"ray.io/node-id": f"!in({','.join(sorted(away))})"}} if away else {}
        )

    def set_aside(self, node: str, why: str) -> bool:
        """Begins nothing more there; False where that node is needed, or not known."""
        if node in self._refused:
            return True
        if node not in self._in_use or not self.suffice_without([node]):
            return False
        address = node_names().get(node, node)
        self.aside[address] = " ".join(why.split())
        self._event(f"node {address} set aside: {why}")
        self._refused.add(node)
        del self._in_use[node]
        self.room = self.room.without(Capacity.of_all(self._in_use.values()))
        return True

    def is_aside(self, node: str) -> bool:
        return node in self._refused

    def succeeded(self, node: str, troubles: Collection[Trouble]) -> None:
        """What had had these was made on `node`."""
        self._blamed.pop(node, None)
        for each in troubles:
            if each.node in self._in_use and each.node != node:
                blamed = self._blamed.setdefault(each.node, set())
                blamed.add(each)
                if len(blamed) >= MAX_BLAMED:
                    self.set_aside(
                        each.node, "what failed there, again and again, was made elsewhere"
                    )
