"""What a stage is: what identifies its steps, where they run, how they run, how their payload is read."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NoReturn

from weirdgen.generation.engine import Engine
from weirdgen.pipeline.run_step import Notes
from weirdgen.storage.artifacts import Step
from weirdgen.training.trainer import Trainer

Executor = Literal["driver", "cpu", "training", "engine", "judge"]
"""What runs a stage's steps:

driver    the driver writes what the user gave, before anything else starts
cpu       a process of its own, `run(steps)`
training  a process of its own with GPUs, `run(steps, checkpoints, training)`
engine    the actor of an open engine, `run(steps, session)`
judge     the judge pool, by jobs of the stage
"""


def _is_not_run(*_: object, **__: object) -> NoReturn:
    raise NotImplementedError


@dataclass(frozen=True)
class Stage:
    """A kind of step. What only decides where and when its steps run is no part of their identity."""

    name: str
    """Also the folder of its steps under artifacts/."""
    executor: Executor
    payload: str = ""
    """The file of its payload; empty where the payload is a folder."""
    version: int = 1
    """Raise it when the code comes to give other content for the same record."""
    run: Callable[..., Notes | None] = _is_not_run
    """Writes payloads, but not those of the driver's and the judge's stages."""
    read: Callable[[Path], Any] = lambda payload: payload
    """Reads a payload's folder."""
    cpus: float = 1
    """CPUs that a step of the executor `cpu` waits for."""
    size: Callable[[Step], int] = lambda _: 1
    """What the time of a step grows with, for estimates of the time left."""
    starts_by: Callable[[Step], int] = lambda _: 0
    """Of the steps that are ready, the smallest start first."""
    batch_key: Callable[[Step], Hashable] = lambda _: None
    """Steps with equal keys may run together; a step whose key is None runs alone."""

    def step(self, name: str, inputs: dict[str, str], **content: Any) -> Step:
        """A step of this stage; `inputs` maps roles to fingerprints, `content` decides the rest."""
        record = {"stage": self.name, "version": self.version, "inputs": inputs, **content}
        return Step(self.name, name, record)


@dataclass(frozen=True)
class Training:
    """How trainings run on a worker."""

    trainer: Trainer
    report_to: Sequence[str]
    micro_batch: int
    """May be smaller than the record's where memory did not suffice."""
    gpu_share: float
    """Of one GPU's memory; 0 without a GPU."""
    on_step: Callable[[int, int], None]
    """Called with updates done and all."""


@dataclass
class EngineSession:
    """An open engine, and what was measured on it."""

    engine: Engine
    adapter_checks: dict[str, Notes] = field(default_factory=dict)
    """Fingerprint of an adapter -> the notes that prove that the engine applies it."""
