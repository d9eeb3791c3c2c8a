"""The driver's loop: start what is ready and fits, wait for a result, take it in.

Ray places what is submitted, lets it wait for CPUs, GPUs and nodes, and reports deaths. The loop adds
what Ray cannot know: which steps are there already or wait for another, whose turn on the GPUs it
is, what goes into one batch, and what a failure means (failure_policy.py).
"""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Protocol

import ray
from ray.exceptions import RayError, RayTaskError

from weirdgen.errors import DamagedError, WeirdgenError
from weirdgen.pipeline.run_step import Task
from weirdgen.pipeline.stages import stage_of
from weirdgen.pipeline.stages.labels import LABELS
from weirdgen.pipeline.stages.responses import RESPONSES, ResponseSet
from weirdgen.pipeline.state import StudyState
from weirdgen.runner.capacity import ClusterCapacity
from weirdgen.runner.cluster import Capacity, needs_of, on_this_node
from weirdgen.runner.engine_pool import EngineClass, EnginePool, OpenEngine
from weirdgen.runner.engine_scaling import EngineScaler
from weirdgen.runner.judge_pool import JudgePool
from weirdgen.runner.judge_stage import feed, open_judges
from weirdgen.runner.nodes import Nodes
from weirdgen.runner.queue import WorkQueue
from weirdgen.runner.recovery import Recovery
from weirdgen.runner.remote import (
    ProgressTracker,
    StepResult,
    TrainingProgress,
    run_on_cpu,
    run_training,
    start_process,
)
from weirdgen.runner.submit import as_task, inputs_of
from weirdgen.runner.work_item import WorkItem, missing_work, progress_of, ranges, span_of
from weirdgen.storage.artifacts import ArtifactStore, Manifest
from weirdgen.storage.lease import Lease
from weirdgen.storage.run_record import FailedStep
from weirdgen.storage.timeline import Timeline
from weirdgen.training.trainer import Trainer

_log = logging.getLogger("weirdgen.run")
TURN_S = 0.5
"""How long the driver waits for results before the next turn."""


class Observer(Protocol):
    """Follows a run: shows it to a person, or records it."""

    def update(self, scheduler: Scheduler) -> None:
        """A turn of the loop has passed."""
        ...


class Scheduler:
    """Runs everything of a study that is not done; one turn after another, in one thread."""

    def __init__(
        self,
        state: StudyState,
        store: ArtifactStore,
        have: Capacity,
        lease: Lease,
        observers: Sequence[Observer],
        engine: EngineClass,
        trainer: Trainer,
    ) -> None:
        self.state, self._store, self._trainer = state, store, trainer
        self._lease, self._observers = lease, observers
        self.study = state.plan.study
        self._steps = state.plan.by_fingerprint
        self._tracker: Any = on_this_node(ProgressTracker).remote()
        self.pool = EnginePool(state.plan, store, have.cpus, engine)
        capacity = ClusterCapacity.of(have, self.study.resources, self.pool.gpus_each)
        needs = [*needs_of(self.study).values(), Capacity(cpus=1, gpus=0)]
        self.nodes = Nodes(capacity, needs, store)
        self._timeline = Timeline(store, self.study.name, lease)
        self.running: dict[ray.ObjectRef, WorkItem] = {}
        self._n_trainings = self._n_taken = 0
        self.queue = WorkQueue(self.study.name, state.done)
        self._scaler = EngineScaler(self.pool, self.queue)
        self._recovery = Recovery(store, self.nodes, self._scaler, self.queue)
        self.took: dict[str, tuple[int, float]] = {}
        """Stage -> number of finished steps, and the sum of their seconds per unit of size."""
        self.queue.add(missing_work(state))
        self.judges: JudgePool | None = None
        """Open while it runs."""
        self.unjudged: Counter[str] = Counter()
        """Why -> responses that were left without a judgment."""

    def run(self) -> list[FailedStep]:
        """Runs until nothing is left; returns what failed. Engines and judges are closed at the end.

        Raises WeirdgenError where a judge cannot be asked at all.
        """
        try:
            more = self.queue.counts[RESPONSES.name] > 0
            judges = open_judges(self.state, self._store, more, _log.getChild("judge").info)
            self.judges = judges
            while self.queue.waiting or self.running or judges.queue.busy:
                self._lease.check()
                if self.nodes.refresh():
                    self.pool.close_dead()
                taken = self._n_taken
                self._start_ready()
                judges.dispatch()
                refs = [*self.running, *judges.running]
                if not refs:
                    if self._n_taken > taken or not (self.queue.waiting or judges.queue.busy):
                        continue  # what was there already may have made more ready, or ended all
                    first = islice(self.queue.waiting, 3)
                    stuck = ", ".join(work.step.key for work in first) or LABELS.name
                    problem = "Deadlock: nothing is running and these steps cannot start"
                    raise WeirdgenError(f"{problem}: {stuck}")
                self._update_observers()
                for ref in _ended(refs):
                    if (work := self.running.pop(ref, None)) is not None:
                        self._n_trainings -= work.is_training
                        self._finish(ref, work)
                        if work.is_training:  # the tracker was still asked where it ran
                            self._tracker.end.remote(work.step.key)
                    else:
                        judges.collect(ref)
        finally:
            for engine in list(self.pool.engines):
                self.pool.close(engine)
            if self.judges is not None:
                self.judges.close()
                self.unjudged = self.judges.queue.unjudged
            with suppress(OSError):  # this must not hide what ended the run
                self._timeline.save()
        self._update_observers()
        return self.queue.failures

    # Starting.

    def _start_ready(self) -> None:
        while works := self.queue.cpu_ready.first():
            self._start_on_cpu(*works)
        trainings, engine_ready = self.queue.trainings, self.queue.engine_ready
        waiting = bool(trainings)
        for engine in self.pool.idle:
            if self.nodes.is_excluded(engine.place.node):
                self.pool.close(engine)
            elif engine_ready:
                self._ask(engine)
            elif self._trainings_turn(waiting) or self._blocks_training(engine):
                self.pool.close(engine)  # it holds the GPU that trainings wait for
        if self.nodes.capacity.shares:
            self._open_engines()  # one on each GPU before trainings: Ray would pack these
        if not (self.nodes.capacity.shares and self.pool.has_unplaced()):
            while trainings and (slots := self._free_slots()):
                self._start_trainings(slots)
        if not (self.nodes.capacity.shares or self._trainings_turn(waiting)):
            self._open_engines()
        self._scaler.cancel_needless(self.running)

    def _take(self, work: WorkItem) -> Task | None:
        """The item as a task; None where the step is there already, or its folder is damaged."""
        self.queue.remove(work)
        self._n_taken += 1
        try:
            task = as_task(work, self.state, self._store, self._steps)
        except DamagedError as damaged:
            self.queue.give_up(work, str(damaged))
            return None
        if task is not None:
            return task
        if work.response_set is None:
            self.queue.mark_done(work.step.fingerprint)
        else:  # made by an attempt that was cut off, or in part
            first, end = work.step.record["samples"]
            parts = [
                (a, b) for a, b in self.state.missing(work.response_set) if first <= a and b <= end
            ]
            self.queue.add(ranges(work.response_set, parts))
            self._judge(work.response_set)
        return None

    def _take_all(self, works: list[WorkItem]) -> tuple[WorkItem, list[Task]] | None:
        """The items as a batch and its tasks, without those that are there already."""
        taken = [(work, task) for work in works if (task := self._take(work)) is not None]
        if not taken:
            return None
        work, *work.batched_with = (work for work, _ in taken)
        return work, [task for _, task in taken]

    def _submit(self, work: WorkItem, ref: ray.ObjectRef) -> None:
        self.running[ref] = work
        self._n_trainings += work.is_training
        for each in work.batch:
            each.started = time.monotonic()
            _log.info("started %s", each.step.key)

    def _free_slots(self) -> int:
        return self.nodes.capacity.free_slots(self._n_trainings, len(self.pool.engines))

    def _trainings_turn(self, waiting: bool) -> bool:
        """Whether trainings take turns with engines, and it is their turn."""
        capacity, engines = self.nodes.capacity, len(self.pool.engines)
        return not capacity.shares and capacity.waits_for_gpu(self._n_trainings, engines, waiting)

    def _blocks_training(self, engine: OpenEngine) -> bool:
        """Whether a training waits in Ray for this engine's node, as it avoids others; in turns only."""
        node, trainings = engine.place.node, (w for w in self.running.values() if w.is_training)
        picky = [work for work in trainings if work.avoids and node not in work.avoids]
        if self.nodes.capacity.shares or not picky:
            return False
        progress = self.progress()
        return any(progress_of(work, progress) is None for work in picky)

    def _start_on_cpu(self, work: WorkItem) -> None:
        if (task := self._take(work)) is not None:
            call = run_on_cpu, self._store.uri, task, self.queue.log_file(work)
            options = self.nodes.scheduling_options(work.avoids)
            cpus = stage_of(work.step).cpus
            self._submit(work, start_process(*call, threads=1, num_cpus=cpus, **options))

    def _start_trainings(self, slots: int) -> None:
        """Starts the next training, or a batch that leaves some for the other slots."""
        trainings, most = self.queue.trainings, 1
        if self.study.train.trainer == "stacked":
            each = math.ceil(len(trainings) / slots)
            most = min(self.study.resources.trainings_together, each)
        if (taken := self._take_all(trainings.first(most))) is None:
            return
        work, tasks = taken
        resources, report_to = self.study.resources, self.study.train.report_to
        ref = start_process(
            run_training,
            *(self._store.uri, tasks, self._trainer, report_to, work.micro_batch),
            *(self._tracker, self.queue.log_file(work)),
            threads=max(1, int(resources.cpus_per_training)),
            num_gpus=resources.gpus_per_training,
            num_cpus=resources.cpus_per_training,
            **self.nodes.scheduling_options(work.avoids),
        )
        self._submit(work, ref)

    def _ask(self, engine: OpenEngine) -> None:
        """Gives the engine its next step; on a GPU, all steps of one model in one call.

        On the CPU each step has its own call, so that responses never depend on other steps.
        """
        most = None if self.pool.gpus_each else 1
        if (taken := self._take_all(self.queue.engine_ready.first(most))) is None:
            return
        work, tasks = taken
        engine.busy, work.engine = True, engine
        self._submit(work, engine.actor.run.remote(tasks, self.queue.log_file(work)))

    def _open_engines(self) -> None:
        """Starts the engines that have work and a free GPU."""
        for _ in range(self._scaler.wanted(self.nodes.capacity.shares)):
            engines = len(self.pool.engines)
            if not self.nodes.capacity.has_gpu_for_engine(self._n_trainings, engines):
                return
            step = self._scaler.base()
            options = self.nodes.scheduling_options(self._scaler.barred_nodes)
            engine, ref = self.pool.open(Task(step, inputs_of(step, self._steps)), options)
            start = WorkItem(step, engine=engine, is_engine_start=True, started=time.monotonic())
            self.running[ref] = start
            _log.info("opening engine %d", engine.number)

    # Finishing.

    def _finish(self, ref: ray.ObjectRef, work: WorkItem) -> None:
        made = None
        try:
            made = ray.get(ref)
        except RayTaskError as error:
            self._recovery.on_error(work, error.cause, self._node(work))
        except RayError as error:  # a worker, an actor or a node died
            self._recovery.on_death(work, error, self._node(work))
        else:
            self._take_in(work, made)
        if (span := span_of(work, made)) is not None:
            self._timeline.add(span)

    def _take_in(self, work: WorkItem, made: StepResult) -> None:
        engine, took = work.engine, time.monotonic() - work.started
        if work.is_engine_start:
            assert engine is not None
            engine.open, engine.place = True, made.place
            self._scaler.started()
            _log.info("engine %d open, %.0f s", engine.number, took)
            return
        if engine is not None:
            engine.busy, engine.has_worked = False, True
            self._scaler.worked_on(made.place.node)
        for each, manifest in zip(work.batch, made.manifests, strict=True):
            self._succeeded(each, manifest, took, len(work.batch))

    def _succeeded(self, work: WorkItem, manifest: Manifest, took: float, batch: int) -> None:
        self.state.record(work.step, manifest)
        if work.response_set is not None:
            self._judge(work.response_set)
        else:
            self.queue.mark_done(work.step.fingerprint)
        ended, seconds = self.took.get(work.step.stage, (0, 0.0))
        self.took[work.step.stage] = ended + 1, seconds + took / work.size / batch
        _log.info("done %s, %.0f s", work.step.key, took)

    def _judge(self, responses: ResponseSet) -> None:
        if self.judges is not None:
            feed(self.judges, self.state, self._store, [responses])

    def _node(self, work: WorkItem) -> str:
        """The id of the node where the work ran, or an empty string."""
        if work.engine is not None:
            return self.pool.place_of(work.engine).node
        progress = progress_of(work, self.progress())
        return progress.place.node if progress else ""

    def progress(self) -> dict[str, TrainingProgress]:
        """Step key -> where the training runs and how far it is, once it has begun."""
        try:
            return ray.get(self._tracker.read.remote())
        except RayError:  # only progress is lost with the tracker
            return {}

    def _update_observers(self) -> None:
        for observer in self._observers:
            observer.update(self)


def _ended(refs: list[ray.ObjectRef]) -> list[ray.ObjectRef]:
    """Those that have ended; waits up to TURN_S for the first."""
    ended, others = ray.wait(refs, timeout=TURN_S)
    return ended + (ray.wait(others, num_returns=len(others), timeout=0)[0] if others else [])
