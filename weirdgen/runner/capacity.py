"""Where trainings and engines find room: CPUs, and GPUs that they share or take in turns."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from weirdgen.config.study import Resources
from weirdgen.pipeline.resources.placement import fit, how_often
from weirdgen.runner.cluster import Capacity

_NOTHING = Capacity(0, 0)


@dataclass(frozen=True)
class ClusterCapacity:
    """What there is, and what one training process and one engine take of it.

    A share is of one GPU, which Ray finds for it: shares are counted GPU by GPU.
    """

    have: Capacity
    training: Capacity
    engine_gpus: float
    most: Capacity = _NOTHING
    """What there was before, if that was more. What would fit into it is begun and waits in Ray,
    whose autoscaler brings nodes back for nothing else.
    """

    @classmethod
    def of(cls, have: Capacity, resources: Resources, engine_gpus: float) -> ClusterCapacity:
        training = Capacity(resources.cpus_per_training, resources.gpus_per_training)
        return cls(have, training, engine_gpus)

    def within(self, have: Capacity) -> ClusterCapacity:
        """The same once the nodes have that."""
        return replace(self, have=have, most=_larger(self.most, self.have))

    def without(self, node: Capacity) -> ClusterCapacity:
        """The same once a node is set aside, which is not waited for."""
        return replace(self, have=_less(self.have, node), most=_less(self.most, node))

    @property
    def shares(self) -> bool:
        """Whether an engine and a training go on one GPU; else engines make room for trainings."""
        return fit(self.engine_gpus, self.training.gpus)

    def has_cpus(self, trainings: int) -> bool:
        """Whether one more training finds its CPUs."""
        return (trainings + 1) * self.training.cpus <= self.have.cpus

    def has_gpus(self, trainings: int, engines: int) -> bool:
        """Whether one more training finds its GPU."""
        return not self.training.gpus or trainings < self._gpu_slots(engines, self.have)

    def free_slots(self, trainings: int, engines: int) -> int:
        """How many more trainings could start, or wait in Ray for nodes that come back."""
        most = _larger(self.have, self.most)
        slots = how_often(self.training.cpus, most.cpus)
        if self.training.gpus:
            slots = min(slots, self._gpu_slots(engines, most))
        return max(0, slots - trainings)

    def waits_for_gpus(self, trainings: int, engines: int, waiting: bool = True) -> bool:
        """Whether GPUs are all that a training lacks, one that is `waiting` or that waits in Ray."""
        if self.training.gpus and trainings > self._gpu_slots(engines, self.have):
            return True
        return waiting and self.has_cpus(trainings) and not self.has_gpus(trainings, engines)

    def takes_engine(self, trainings: int, engines: int) -> bool:
        """Whether one more engine finds room: no more of them than GPUs, one without a GPU.

        Ray would put two that take no more than half of a GPU on the same one; there is one of such.
        Beside trainings none waits in Ray: it would get a GPU that they wait for.
        """
        if self.engine_gpus <= 0.5 and engines:
            return False
        if not self.engine_gpus:
            return True
        taken = 0
        have = self.have if trainings else _larger(self.have, self.most)
        if self.training.gpus and not self.shares:
            taken = math.ceil(trainings / self._on_each(1.0))
        return engines + taken < int(have.gpus)

    def _gpu_slots(self, engines: int, have: Capacity) -> int:
        """Trainings that the GPUs hold; where they share, each keeps room for an engine."""
        gpus = int(have.gpus)
        if not self.engine_gpus:
            return gpus * self._on_each(1.0)
        if self.shares:
            return gpus * self._on_each(1 - self.engine_gpus)
        return (gpus - engines) * self._on_each(1.0)

    def _on_each(self, share: float) -> int:
        """Trainings in that share of a GPU."""
        return how_often(self.training.gpus, share)


def _less(one: Capacity, other: Capacity) -> Capacity:
    return Capacity(max(0, one.cpus - other.cpus), max(0, one.gpus - other.gpus))


def _larger(one: Capacity, other: Capacity) -> Capacity:
    return Capacity(max(one.cpus, other.cpus), max(one.gpus, other.gpus))
