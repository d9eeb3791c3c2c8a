"""The generation engines of a run: actors with a GPU each, opened and closed by the scheduler."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import ray
from ray.exceptions import RayError

from weirdgen.generation.engine import Engine
from weirdgen.pipeline.plan import Plan
from weirdgen.pipeline.run_step import Task
from weirdgen.runner.cluster import engine_gpus
from weirdgen.runner.location import WorkerLocation
from weirdgen.runner.remote import WORKER_ENVIRONMENT, EngineActor
from weirdgen.storage.artifacts import ArtifactStore

EngineClass = Callable[[float], Engine]
"""Makes an engine, given its share of one GPU's memory (0 without a GPU)."""
_PLACING_S = 30.0
"""How long trainings wait for engines to get their GPUs; another job may hold one."""


@dataclass(eq=False)
class OpenEngine:
    """An engine actor; `busy` while it works."""

    actor: Any
    number: int
    placed: ray.ObjectRef
    """Resolves to its location once it has its GPU; later asked again, to see whether it lives."""
    wanted_at: float = field(default_factory=time.monotonic)
    busy: bool = False
    open: bool = False
    """Whether its model is loaded."""
    has_worked: bool = False
    """Whether it has made something."""
    place: WorkerLocation = field(default_factory=WorkerLocation)
    """Where it runs, once that was looked up."""


class EnginePool:
    """The engines of a run. Without GPUs there is one, which reserves no CPU that trainings need."""

    def __init__(self, plan: Plan, store: ArtifactStore, cpus: float, engine: EngineClass) -> None:
        self._study, self._max_rank = plan.study, plan.max_rank
        self._store, self._engine = store, engine
        self._threads = max(1, min(int(cpus), os.cpu_count() or 1))
        self._opened = 0
        self.engines: list[OpenEngine] = []

    @property
    def gpus_each(self) -> float:
        return engine_gpus(self._study)

    @property
    def idle(self) -> list[OpenEngine]:
        return [engine for engine in self.engines if engine.open and not engine.busy]

    @property
    def opening(self) -> int:
        """How many are being started."""
        return sum(not engine.open for engine in self.engines)

    def has_unplaced(self) -> bool:
        """Whether an engine waits for its GPU, and has not waited too long."""
        if not self.gpus_each:
            return False
        late = time.monotonic() - _PLACING_S
        young = [each for each in self.engines if not each.open and each.wanted_at > late]
        return any(not ray.wait([each.placed], timeout=0)[0] for each in young)

    def place_of(self, engine: OpenEngine) -> WorkerLocation:
        """Where it runs or ran; empty where it never had its GPU."""
        if not engine.place.node and ray.wait([engine.placed], timeout=0)[0]:
            with suppress(RayError):
                engine.place = ray.get(engine.placed)
        return engine.place

    def close_dead(self) -> None:
        """Closes idle engines whose node is gone; the call of a busy one fails by itself."""
        for engine in self.idle:
            if ray.wait([engine.placed], timeout=0)[0]:
                try:
                    ray.get(engine.placed)
                except RayError:
                    self.close(engine)
                else:
                    engine.placed = engine.actor.placed.remote()

    def open(self, task: Task, options: Mapping[str, Any]) -> tuple[OpenEngine, ray.ObjectRef]:
        """Starts an engine on the base model of `task`; the reference resolves once it is open.

        `options`: of Ray.
        """
        self._opened += 1
        environment = dict(WORKER_ENVIRONMENT)
        if not self.gpus_each:
            environment["OMP_NUM_THREADS"] = str(self._threads)
        actor: Any = EngineActor.options(
            num_gpus=self.gpus_each,
            num_cpus=0,
            runtime_env={"env_vars": environment},
            **options,
        ).remote(self._store.uri, partial(self._engine, min(1.0, self.gpus_each)))
        engine = OpenEngine(actor, self._opened, actor.placed.remote())
        self.engines.append(engine)
        serve_base = self._study.evaluate.serve_base
        return engine, actor.open.remote(task, serve_base, self._max_rank, self.log(engine))

    def log(self, engine: OpenEngine) -> str:
        """The log file of its start, relative to the storage."""
        return f"{self._study.name}/logs/engine-{engine.number}.log"

    def close(self, engine: OpenEngine) -> None:
        """Kills the actor: GPU memory is free only once its process is gone."""
        ray.kill(engine.actor)
        self.engines.remove(engine)
