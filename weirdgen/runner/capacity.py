"""How many trainings and engines fit: CPUs, and GPUs that they share or take in turns."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from weirdgen.config.study import Resources
from weirdgen.pipeline.resources.placement import fit, how_often
from weirdgen.runner.cluster import Capacity

_NOTHING = Capacity(0, 0)


@dataclass(frozen=True)
class ClusterCapacity:
    """The cluster's capacity, and what one training and one engine take of it.

    A share is of one GPU, which Ray finds for it: shares are counted GPU by GPU.
    """

    have: Capacity
    """Of the nodes in use."""
    training: Capacity
    engine_gpus: float
    largest: Capacity = _NOTHING
    """The largest there was. What fits into it is submitted and waits in Ray: its autoscaler adds
    nodes only for what waits there.
    """

    @classmethod
    def of(cls, have: Capacity, resources: Resources, engine_gpus: float) -> ClusterCapacity:
        training = Capacity(resources.cpus_per_training, resources.gpus_per_training)
        return cls(have, training, engine_gpus)

    def with_nodes(self, have: Capacity) -> ClusterCapacity:
        """The same after nodes joined or were lost."""
        return replace(self, have=have, largest=_larger(self.largest, self.have))

    def without_node(self, node: Capacity) -> ClusterCapacity:
        """The same after a node was excluded: nothing waits for it."""
        have, largest = _minus(self.have, node), _minus(self.largest, node)
        return replace(self, have=have, largest=largest)

    @property
    def shares(self) -> bool:
        """Whether an engine and a training fit on one GPU; else they take turns."""
        return fit(self.engine_gpus, self.training.gpus)

    def has_cpus(self, trainings: int) -> bool:
        """Whether the CPUs hold one more training."""
        return (trainings + 1) * self.training.cpus <= self.have.cpus

    def has_gpus(self, trainings: int, engines: int) -> bool:
        """Whether the GPUs hold one more training."""
        return not self.training.gpus or trainings < self._gpu_slots(engines, self.have)

    def free_slots(self, trainings: int, engines: int) -> int:
        """How many more trainings can start, or wait in Ray for nodes that come back."""
        largest = _larger(self.have, self.largest)
        slots = how_often(self.training.cpus, largest.cpus)
        if self.training.gpus:
            slots = min(slots, self._gpu_slots(engines, largest))
        return max(0, slots - trainings)

    def waits_for_gpu(self, trainings: int, engines: int, waiting: bool = True) -> bool:
        """Whether a training waits only for a GPU: in Ray, or in the queue (`waiting`)."""
        if self.training.gpus and trainings > self._gpu_slots(engines, self.have):
            return True
        return waiting and self.has_cpus(trainings) and not self.has_gpus(trainings, engines)

    def has_gpu_for_engine(self, trainings: int, engines: int) -> bool:
        """Whether one more engine fits: at most one on a GPU, one in all without GPUs.

        Ray would put two engines of up to half a GPU on the same GPU, so there is one of those.
        Beside trainings no engine waits in Ray: it would get a GPU that they wait for.
        """
        if self.engine_gpus <= 0.5 and engines:
            return False
        if not self.engine_gpus:
            return True
        taken = 0
        have = self.have if trainings else _larger(self.have, self.largest)
        if self.training.gpus and not self.shares:
            taken = math.ceil(trainings / self._on_each(1.0))
        return engines + taken < int(have.gpus)

    def _gpu_slots(self, engines: int, have: Capacity) -> int:
        """Trainings that the GPUs hold; where engines share them, each GPU keeps room for one."""
        gpus = int(have.gpus)
        if not self.engine_gpus:
            return gpus * self._on_each(1.0)
        if self.shares:
            return gpus * self._on_each(1 - self.engine_gpus)
        return (gpus - engines) * self._on_each(1.0)

    def _on_each(self, share: float) -> int:
        """Trainings that fit into that share of a GPU."""
        return how_often(self.training.gpus, share)


def _minus(one: Capacity, other: Capacity) -> Capacity:
    return Capacity(max(0, one.cpus - other.cpus), max(0, one.gpus - other.gpus))


def _larger(one: Capacity, other: Capacity) -> Capacity:
    return Capacity(max(one.cpus, other.cpus), max(one.gpus, other.gpus))
