"""The driver's loop: which step runs next, what came of it, and what is left."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Collection
from contextlib import suppress
from itertools import islice
from typing import Any, Protocol

import ray
from ray.exceptions import RayError, RayTaskError

from weirdgen.errors import DamagedError, WeirdgenError
from weirdgen.pipeline.stages.steps import Task
from weirdgen.pipeline.state import StudyState
from weirdgen.runner.capacity import ClusterCapacity
from weirdgen.runner.cluster import Capacity, needs_of, on_this_node
from weirdgen.runner.engine_pool import EngineClass, EnginePool, OpenEngine
from weirdgen.runner.engine_scaling import EngineScaler
from weirdgen.runner.failures import FailurePolicy, went_with_node, why
from weirdgen.runner.judge_stage import JudgeStage
from weirdgen.runner.nodes import Nodes
from weirdgen.runner.queue import WorkQueue
from weirdgen.runner.remote import ProgressTracker, StepResult, TrainingProgress
from weirdgen.runner.submit import as_task, inputs_of, make_on_cpu, train
from weirdgen.runner.work_item import Failure, WorkItem, begun_of, lacking, ranges, span_of
from weirdgen.storage.artifacts import ArtifactStore, Manifest
from weirdgen.storage.lease import Lease
from weirdgen.storage.timeline import Timeline
from weirdgen.training.trainer import Trainer

TURN_S = 0.5
"""How long the driver waits for news before it looks around."""


class Display(Protocol):
    """What shows a run to a person."""

    def event(self, text: str) -> None:
        """Something began or ended."""
        ...

    def update(self, scheduler: Scheduler) -> None:
        """A turn of the loop has passed."""
        ...


class Scheduler:
    """Runs everything of a survey that is not done; one turn after another, in one thread."""

    def __init__(
        self,
        state: StudyState,
        store: ArtifactStore,
        have: Capacity,
        lease: Lease,
        display: Display,
        engine: EngineClass,
        trainer: Trainer,
    ) -> None:
        self.state, self._store = state, store
        self._lease, self._display, self._trainer = lease, display, trainer
        self.study = state.plan.study
        self._steps = state.plan.by_fingerprint
        self.board: Any = on_this_node(ProgressTracker).remote()
        self.pool = EnginePool(state.plan, store, have.cpus, engine)
        room = ClusterCapacity.of(have, self.study.resources, self.pool.gpus_each)
        needs = [*needs_of(self.study).values(), Capacity(cpus=1, gpus=0)]
        self.nodes = Nodes(room, needs, store, display.event)
        self._timeline = Timeline(store, self.study.name, lease)
        self.running: dict[ray.ObjectRef, WorkItem] = {}
        self._n_trainings = self._n_taken = 0
        self.backlog = WorkQueue(self.study.name, display.event, state.done)
        self._openings = EngineScaler(self.pool, self.backlog, display.event)
        self._endings = FailurePolicy(store, self.nodes, self.pool, self._openings, self.backlog)
        self.took: dict[str, tuple[int, float]] = {}
        """Stage -> how many steps have ended, and their seconds per unit of size, all together."""
        self.backlog.add(lacking(state))
        self.judging = JudgeStage(state, store, display.event)
        self.unjudged: Counter[str] = Counter()
        """Why -> answers that were left without a verdict."""

    @property
    def waiting(self) -> Collection[WorkItem]:
        """What has not been started."""
        return self.backlog.waiting

    @property
    def failures(self) -> list[Failure]:
        """What failed for good."""
        return self.backlog.failures

    def run(self) -> list[Failure]:
        """Works until nothing can go on; gives what failed. Engines and judges are closed at the end.

        Raises WeirdgenError where a judge cannot be asked at all.
        """
        try:
            self.judging.open(self.backlog.counts["responses"] > 0)
            while self.waiting or self.running or self.judging.busy:
                self._lease.check()
                if self.nodes.look():
                    self.pool.close_dead()
                taken = self._n_taken
                self._start_ready()
                self.judging.turn()
                refs = [*self.running, *self.judging.refs]
                if not refs:
                    if self._n_taken > taken or not (self.waiting or self.judging.busy):
                        continue  # what was there already may have made more ready, or ended all
                    first = islice(self.waiting, 3)
                    stuck = ", ".join(work.step.key for work in first) or "labels"
                    raise WeirdgenError(f"nothing runs, and these cannot start: {stuck}")
                self._display.update(self)
                for ref in _ended(refs):
                    if (work := self.running.pop(ref, None)) is not None:
                        trains = work.step.stage == "train" and not work.opens
                        self._n_trainings -= trains
                        self._finish(ref, work)
                        if trains:  # the board was still asked where it ran
                            self.board.end.remote(work.step.key)
                    else:
                        self.judging.finish(ref)
        finally:
            for engine in list(self.pool.engines):
                self.pool.close(engine)
            self.unjudged = self.judging.close()
            with suppress(OSError):  # what ended the run must not be hidden by this
                self._timeline.save()
        self._display.update(self)
        return self.failures

    # Starting.

    def _start_ready(self) -> None:
        while works := self.backlog.on_cpu.first():
            self._start_on_cpu(*works)
        trainings, asking = self.backlog.trainings, self.backlog.asking
        waiting = bool(trainings)
        for engine in self.pool.idle:
            if self.nodes.is_aside(engine.place.node):
                self.pool.close(engine)
            elif asking:
                self._ask(engine)
            elif self._wait_for_gpus(waiting) or self._holds_up(engine):
                self.pool.close(engine)  # it holds what trainings wait for
        if self.nodes.room.shares:
            self._open_engines()  # one on each GPU before trainings: Ray would pack these
        if not (self.nodes.room.shares and self.pool.has_unplaced()):
            while trainings and (slots := self._free_slots()):
                self._start_trainings(slots)
        if not (self.nodes.room.shares or self._wait_for_gpus(waiting)):
            self._open_engines()
        self._openings.drop_needless(self.running)

    def _take(self, work: WorkItem) -> Task | None:
        """The work as a task; None where it is there already, or its folder is damaged."""
        self.backlog.remove(work)
        self._n_taken += 1
        try:
            task = as_task(work, self.state, self._store, self._steps)
        except DamagedError as damaged:
            self.backlog.give_up(work, str(damaged))
            return None
        if task is not None:
            return task
        if work.asked is None:
            self.backlog.made(work.step.fingerprint)
        else:  # made by an attempt that did not come to its end, or in part
            first, end = work.step.record["samples"]
            parts = [(a, b) for a, b in self.state.missing(work.asked) if first <= a and b <= end]
            self.backlog.add(ranges(work.asked, parts))
            self.judging.feed([work.asked])
        return None

    def _take_all(self, works: list[WorkItem]) -> tuple[WorkItem, list[Task]] | None:
        """The works as tasks, those that are there left out: the first, the others beside it."""
        taken = [(work, task) for work in works if (task := self._take(work)) is not None]
        if not taken:
            return None
        work, *work.beside = (work for work, _ in taken)
        return work, [task for _, task in taken]

    def _submit(self, work: WorkItem, ref: ray.ObjectRef) -> None:
        self.running[ref] = work
        self._n_trainings += work.step.stage == "train"
        for each in work.all:
            each.started = time.monotonic()
            self._display.event(f"started {each.step.key}")

    def _free_slots(self) -> int:
        return self.nodes.room.free_slots(self._n_trainings, len(self.pool.engines))

    def _wait_for_gpus(self, waiting: bool) -> bool:
        """Whether trainings take turns with engines, and it is theirs."""
        room, engines = self.nodes.room, len(self.pool.engines)
        return not room.shares and room.waits_for_gpus(self._n_trainings, engines, waiting)

    def _holds_up(self, engine: OpenEngine) -> bool:
        """Whether trainings take turns with engines, and one waits in Ray as it keeps off other nodes."""
        trainings = (work for work in self.running.values() if work.step.stage == "train")
        kept_off = [
            each for each in trainings if each.avoids and engine.place.node not in each.avoids
        ]
        if self.nodes.room.shares or not kept_off:
            return False
        begun = self.begun()
        return any(begun_of(work, begun) is None for work in kept_off)

    def _start_on_cpu(self, work: WorkItem) -> None:
        if (task := self._take(work)) is not None:
            placing = self.nodes.placing(work.avoids)
            self._submit(work, make_on_cpu(self._store, task, self.backlog.log(work), placing))

    def _start_trainings(self, slots: int) -> None:
        """Starts the next training, or several that go together so that all slots have some."""
        trainings, most = self.backlog.trainings, 1
        if self.study.train.trainer == "stacked":
            each = math.ceil(len(trainings) / slots)
            most = min(self.study.resources.trainings_together, each)
        if (taken := self._take_all(trainings.first(most))) is None:
            return
        work, tasks = taken
        log, placing = self.backlog.log(work), self.nodes.placing(work.avoids)
        ref = train(self.study, self._store, work, tasks, self.board, log, placing, self._trainer)
        self._submit(work, ref)

    def _ask(self, engine: OpenEngine) -> None:
        """Asks the engine the next step, on a GPU with all that is wanted of its model.

        On the CPU each step has its own call, so that its answers never depend on other steps.
        """
        most = None if self.pool.gpus_each else 1
        if (taken := self._take_all(self.backlog.asking.first(most))) is None:
            return
        work, tasks = taken
        engine.busy, work.engine = True, engine
        log = self.backlog.log(work)
        make = engine.actor.make_responses if work.asked else engine.actor.make_aligned
        self._submit(work, make.remote(tasks if work.asked else tasks[0], log))

    def _open_engines(self) -> None:
        """Opens engines that find something to do, where GPUs are free for them."""
        for _ in range(self._openings.wanted(self.nodes.room.shares)):
            if not self.nodes.room.takes_engine(self._n_trainings, len(self.pool.engines)):
                return
            step = self._openings.base()
            placing = self.nodes.placing(self._openings.failed_on)
            engine, ref = self.pool.open(Task(step, inputs_of(step, self._steps)), placing)
            self.running[ref] = WorkItem(step, engine=engine, opens=True, started=time.monotonic())
            self._display.event(f"opening engine {engine.number}")

    # Finishing.

    def _finish(self, ref: ray.ObjectRef, work: WorkItem) -> None:
        made = None
        try:
            made = ray.get(ref)
        except RayTaskError as error:
            self._endings.failed(work, error.cause, self._node(work))
        except RayError as error:  # a worker, an actor or a node died
            self._endings.died(work, why(error), self._node(work), went_with_node(error))
        else:
            self._came_of(work, made)
        if (span := span_of(work, made)) is not None:
            self._timeline.add(span)

    def _came_of(self, work: WorkItem, made: StepResult) -> None:
        if work.opens:
            self._opened(work, made)
            return
        for each, manifest in zip(work.all, made.manifests, strict=True):
            self._succeeded(each, manifest, beside=len(work.beside))
        if work.engine is not None:
            work.engine.has_made = True
            self._openings.succeeded_on(made.place.node)

    def _opened(self, work: WorkItem, made: StepResult) -> None:
        engine = work.engine
        assert engine is not None
        engine.open, engine.place = True, made.place
        self._openings.succeeded()
        self._display.event(f"engine {engine.number} open, {time.monotonic() - work.started:.0f} s")

    def _succeeded(self, work: WorkItem, manifest: Manifest, beside: int = 0) -> None:
        if work.engine is not None:
            work.engine.busy = False
        took = time.monotonic() - work.started
        if work.asked is not None:
            self.state.add_range(work.asked.step, work.step, manifest)
            self.judging.feed([work.asked])
        else:
            self.state.add(work.step, manifest)
            self.backlog.made(work.step.fingerprint)
        ended, seconds = self.took.get(work.step.stage, (0, 0.0))
        self.took[work.step.stage] = ended + 1, seconds + took / work.size / (1 + beside)
        self._display.event(f"done {work.step.key}, {took:.0f} s")

    def _node(self, work: WorkItem) -> str:
        """The id of the node on which what has ended had run, or an empty string."""
        if work.engine is not None:
            return self.pool.place_of(work.engine).node
        begun = begun_of(work, self.begun())
        return begun.place.node if begun else ""

    def begun(self) -> dict[str, TrainingProgress]:
        """Where each training that has begun runs, and how far it is, by key."""
        try:
            return ray.get(self.board.read.remote())
        except RayError:  # only progress is lost with the board
            return {}


def _ended(refs: list[ray.ObjectRef]) -> list[ray.ObjectRef]:
    """Waits a little for the first of them to end; gives all that have."""
    ended, others = ray.wait(refs, timeout=TURN_S)
    return ended + (ray.wait(others, num_returns=len(others), timeout=0)[0] if others else [])
