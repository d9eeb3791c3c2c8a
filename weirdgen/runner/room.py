"""Where trainings and engines find room: CPUs, and GPUs that they share or take in turns."""

from __future__ import annotations

from dataclasses import dataclass

from weirdgen.runner.cluster import Capacity
from weirdgen.study import Resources

_ROUNDING = 1e-6


@dataclass(frozen=True)
class Room:
    """What there is, and what one training process and one engine take of it."""

    have: Capacity
    training: Capacity
    engine_gpus: float

    @classmethod
    def of(cls, have: Capacity, resources: Resources, engine_gpus: float) -> Room:
        training = Capacity(resources.cpus_per_training, resources.gpus_per_training)
        return cls(have, training, engine_gpus)

    @property
    def shares(self) -> bool:
        """Whether an engine and a training go on one GPU; else engines make room for trainings."""
        return self.engine_gpus + self.training.gpus <= 1 + _ROUNDING

    def has_cpus(self, trainings: int) -> bool:
        """Whether one more training finds its CPUs."""
        return (trainings + 1) * self.training.cpus <= self.have.cpus

    def has_gpus(self, trainings: int, engines: int) -> bool:
        """Whether one more training finds its GPUs; where they share, each GPU keeps room for an engine."""
        share = self.training.gpus
        if not share:
            return True
        if self.shares and self.engine_gpus:
            on_each = int((1 - self.engine_gpus) / share + _ROUNDING)
            return trainings < int(self.have.gpus) * on_each
        return self._fits((trainings + 1) * share + engines * self.engine_gpus)

    def waits_for_gpus(self, trainings: int, engines: int) -> bool:
        """Whether GPUs are all that a waiting training lacks."""
        return self.has_cpus(trainings) and not self.has_gpus(trainings, engines)

    def takes_engine(self, trainings: int, engines: int) -> bool:
        """Whether one more engine finds room: never two on a GPU, and one where it holds none."""
        if not self.engine_gpus:
            return not engines
        taken = trainings * self.training.gpus + (engines + 1) * self.engine_gpus
        return engines < int(self.have.gpus) and self._fits(taken)

    def _fits(self, gpus: float) -> bool:
        return gpus <= self.have.gpus + _ROUNDING
