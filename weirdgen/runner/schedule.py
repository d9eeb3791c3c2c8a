"""The driver's loop: which step runs next, what came of it, and what is left."""

from __future__ import annotations

import math
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import Any, Protocol

import ray
from ray.exceptions import RayError, RayTaskError

from weirdgen.errors import DamagedError, MemoryExceeded, StepError, StorageError, WeirdgenError
from weirdgen.lease import Lease
from weirdgen.runner.backlog import Backlog
from weirdgen.runner.cluster import Capacity, on_this_node
from weirdgen.runner.engines import EngineClass, EnginePool, OpenEngine
from weirdgen.runner.judging import StudyJudging
from weirdgen.runner.remote import (
    Board,
    Made,
    convert_model,
    learn_judge,
    run_training,
    run_trainings,
    with_threads,
)
from weirdgen.runner.room import Room
from weirdgen.runner.work import (
    Failure,
    Work,
    asked_together,
    calls,
    ranges,
    rows,
    span_of,
    trained_together,
)
from weirdgen.stages import Task
from weirdgen.store import Manifest, Step, Store, is_attempt
from weirdgen.survey import Survey, look_up, look_up_ranges
from weirdgen.timeline import Timeline

MAX_ATTEMPTS = 3
"""How often a step is begun when workers or nodes die under it. A Python error ends it at once."""
ENGINE_STAGES = ("aligned", "answers")
"""The stages that an engine makes."""
_ON_CPU = {"model": convert_model, "judge": learn_judge}
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
        found: Survey,
        store: Store,
        have: Capacity,
        lease: Lease,
        display: Display,
        engine: EngineClass,
    ) -> None:
        self.found, self._store = found, store
        self._lease, self._display = lease, display
        self.study = found.plan.study
        self._steps = found.plan.by_fingerprint
        self.board: Any = on_this_node(Board).remote()
        self.pool = EnginePool(found.plan, store, have.cpus, engine)
        self._room = Room.of(have, self.study.resources, self.pool.gpus_each)
        self._timeline = Timeline(store, self.study.name)
        self.running: dict[ray.ObjectRef, Work] = {}
        self.backlog = Backlog(self.study.name, display.event)
        self._failed_openings = 0
        self.durations: dict[str, list[float]] = {}
        """Stage -> seconds of each finished step, per unit of its size."""
        micro_batch = self.study.train.micro_batch
        self.backlog.waiting += [
            Work(step, micro_batch=micro_batch)
            for step in [*found.plan.shared, *found.plan.trainings.values()]
            if not found.is_done(step)
        ]
        for asked in found.plan.asked:
            self.backlog.waiting += ranges(asked, found.missing(asked))
        self.judging = StudyJudging(found, store, display.event)
        self.unjudged: Counter[str] = Counter()
        """Why -> answers that were left without a verdict."""

    @property
    def waiting(self) -> list[Work]:
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
            self.judging.open(any(work.asked for work in self.waiting))
            while self.waiting or self.running or self.judging.busy:
                self._lease.check()
                left = len(self.waiting)
                self._start_ready()
                self.judging.turn()
                refs = [*self.running, *self.judging.refs]
                if not refs:
                    if len(self.waiting) < left or not (self.waiting or self.judging.busy):
                        continue  # what was there already may have made more ready, or ended all
                    stuck = ", ".join(work.step.key for work in self.waiting[:3]) or "verdicts"
                    raise WeirdgenError(f"nothing runs, and these cannot start: {stuck}")
                self._display.update(self)
                done, _ = ray.wait(refs, timeout=TURN_S)
                for ref in done:
                    if (work := self.running.pop(ref, None)) is not None:
                        self._finish(ref, work)
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
        self.backlog.drop_blocked()
        ready = [work for work in self.waiting if self.found.ready(work.step)]
        trainings = [work for work in ready if work.step.stage == "train"]
        trainings.sort(key=rows)  # engines and judges have work early
        asking = [work for work in ready if work.step.stage in ENGINE_STAGES]
        for work in ready:
            remote = _ON_CPU.get(work.step.stage)
            if remote is not None and (task := self._take(work)):
                self._submit(
                    work,
                    with_threads(remote, 1).remote(self._store.uri, task, self.backlog.log(work)),
                )
        in_turns = bool(trainings) and not self._room.shares
        for engine in self.pool.idle:
            if asking:
                self._ask(engine, asking)
            elif in_turns and self._wait_for_gpus():
                self.pool.close(engine)  # it holds what trainings wait for
        if self._room.shares:
            self._open_engines(asking)  # one on each GPU before trainings: Ray would pack these
        if not (self._room.shares and self.pool.has_unplaced()):
            while trainings and self._free_slots():
                self._start_trainings(trainings)
        if not (self._room.shares or (in_turns and self._wait_for_gpus())):
            self._open_engines(asking)
        self._close_needless()

    def _close_needless(self) -> None:
        """Waits for no engine that would find nothing left to do."""
        for_engines = (each for each in (*self.waiting, *self.running.values()) if not each.opens)
        if any(work.step.stage in ENGINE_STAGES for work in for_engines):
            return
        for ref, work in list(self.running.items()):
            if work.opens and work.engine is not None:
                del self.running[ref]
                self.pool.close(work.engine)

    def _take(self, work: Work) -> Task | None:
        """The work as a task; None where it turns out to be done, or its folder is damaged."""
        self.waiting.remove(work)
        try:
            return self._task(work)
        except DamagedError as damaged:
            self.backlog.give_up(work, str(damaged))
            return None

    def _task(self, work: Work) -> Task | None:
        """None where it turns out to be done: its inputs came back the same."""
        if work.asked is not None:
            look_up_ranges(self.found, self._store, work.asked.step)
            missing = self.found.missing(work.asked)
            first, end = work.step.record["samples"]
            if (first, end) not in missing:
                parts = [part for part in missing if first <= part[0] and part[1] <= end]
                self.backlog.waiting += ranges(work.asked, parts)
                self.judging.feed([work.asked])  # made by an attempt that did not come to its end
                return None
            stale = self._store.manifest(work.step)
        else:
            stale = look_up(self.found, self._store, work.step)
            if self.found.is_done(work.step):
                return None
        begun = self._store.folders(f"artifacts/{work.step.key}")
        work.attempt = max(work.attempt, 1 + sum(map(is_attempt, begun)))
        return Task(work.step, self._inputs(work.step), work.attempt, stale)

    def _inputs(self, step: Step) -> dict[str, Step]:
        return {role: self._steps[fingerprint] for role, fingerprint in step.inputs.items()}

    def _submit(self, work: Work, ref: ray.ObjectRef) -> None:
        self.running[ref] = work
        for each in (work, *work.beside):
            each.started = time.monotonic()
            self._display.event(f"started {each.step.key}")

    def _free_slots(self) -> int:
        return self._room.free_slots(self._count_trainings(), len(self.pool.engines))

    def _wait_for_gpus(self) -> bool:
        return self._room.waits_for_gpus(self._count_trainings(), len(self.pool.engines))

    def _count_trainings(self) -> int:
        return sum(work.step.stage == "train" for work in self.running.values())

    def _start_trainings(self, ready: list[Work]) -> None:
        """Takes the next training off `ready`, or several that go together, and starts them."""
        resources, settings = self.study.resources, self.study.train
        stacked = settings.trainer == "stacked"
        most = min(resources.trainings_together, math.ceil(len(ready) / self._free_slots()))
        group = trained_together(ready, most) if stacked else ready[:1]
        for work in group:
            ready.remove(work)
        taken = [(work, task) for work in group if (task := self._take(work)) is not None]
        if not taken:
            return
        of_task = {
            "num_gpus": resources.gpus_per_training,
            "num_cpus": resources.cpus_per_training,
        }
        threads = max(1, int(resources.cpus_per_training))
        work, task = taken[0]
        work.beside = [other for other, _ in taken[1:]]
        common = (work.micro_batch, self.board, self.backlog.log(work))
        if stacked:
            remote, tasks = (
                with_threads(run_trainings, threads, **of_task),
                [task for _, task in taken],
            )
            ref = remote.remote(self._store.uri, tasks, *common)
        else:
            remote = with_threads(run_training, threads, **of_task)
            ref = remote.remote(self._store.uri, task, settings.report_to, *common)
        self._submit(work, ref)

    def _ask(self, engine: OpenEngine, ready: list[Work]) -> None:
        """Takes the next step off `ready`, on a GPU with all that it wants of its model, and asks it.

        On the CPU each step has its own call, so that its answers never depend on other steps.
        """
        group = asked_together(ready) if self.pool.gpus_each else ready[:1]
        for work in group:
            ready.remove(work)
        taken = [(work, task) for work in group if (task := self._take(work)) is not None]
        if not taken:
            return
        work, task = taken[0]
        work.beside = [other for other, _ in taken[1:]]
        engine.busy, work.engine = True, engine
        if work.asked is None:
            ref = engine.actor.make_aligned.remote(task, self.backlog.log(work))
        else:
            ref = engine.actor.make_answers.remote(
                [task for _, task in taken], self.backlog.log(work)
            )
        self._submit(work, ref)

    def _open_engines(self, asking: list[Work]) -> None:
        """Opens engines on the bases that these ask, where GPUs are free for them.

        Beside trainings, also for what is to be asked later; where engines must make room for
        trainings that are to come, one has to do.
        """
        if self._failed_openings >= MAX_ATTEMPTS:
            return
        to_come = any(work.step.stage == "train" for work in self.waiting)
        wanted = calls(asking)[self.pool.opening :] if self.pool.gpus_each else asking[:1]
        if self._room.shares and self.pool.gpus_each:
            later = calls(self._to_ask())[len(self.pool.engines) :]
            wanted = max(wanted, later, key=len)
        elif to_come and self.pool.engines:
            wanted = []
        elif to_come:
            wanted = wanted[:1]
        for work in wanted:
            if not self._room.takes_engine(self._count_trainings(), len(self.pool.engines)):
                return
            engine, ref = self.pool.open(Task(work.step, self._inputs(work.step)))
            opening = Work(work.step, engine=engine, opens=True, started=time.monotonic())
            self.running[ref] = opening
            self._display.event(f"opening engine {engine.number}")

    def _to_ask(self) -> list[Work]:
        """What engines are to be asked now or later, where its base is there."""
        return [
            work
            for work in self.waiting
            if work.step.stage in ENGINE_STAGES
            and ("model" not in work.step.inputs or work.step.inputs["model"] in self.found.done)
        ]

    # Finishing.

    def _finish(self, ref: ray.ObjectRef, work: Work) -> None:
        made = Made([], "", "")
        try:
            made = ray.get(ref)
        except RayTaskError as error:
            self._failed_by(work, error.cause)
        except RayError as error:  # a worker, an actor or a node died
            self._died(work, f"{type(error).__name__}: {str(error).splitlines()[0]}")
        else:
            if work.opens:
                self._opened(work, made)
            else:
                for each, manifest in zip((work, *work.beside), made.manifests, strict=True):
                    self._succeeded(each, manifest, beside=len(work.beside))
        if (span := span_of(work, made)) is not None:
            self._timeline.add(span)

    def _opened(self, work: Work, made: Made) -> None:
        engine = work.engine
        assert engine is not None
        engine.open, engine.node, engine.gpu = True, made.node, made.gpu
        self._failed_openings = 0
        self._display.event(f"engine {engine.number} open, {time.monotonic() - work.started:.0f} s")

    def _succeeded(self, work: Work, manifest: Manifest, beside: int = 0) -> None:
        if work.engine is not None:
            work.engine.busy = False
        took = time.monotonic() - work.started
        if work.asked is not None:
            look_up_ranges(self.found, self._store, work.asked.step)
            self.judging.feed([work.asked])
        else:
            self.found.done[work.step.fingerprint] = manifest
        share = took / work.size / (1 + beside)
        self.durations.setdefault(work.step.stage, []).append(share)
        self._display.event(f"done {work.step.key}, {took:.0f} s")

    def steps_done(self) -> dict[str, tuple[int, int]]:
        """How far each running training is: key -> updates done, all."""
        try:
            return ray.get(self.board.read.remote())
        except RayError:  # only progress is lost with the board
            return {}

    def _failed_by(self, work: Work, cause: BaseException) -> None:
        if isinstance(cause, StorageError):
            raise cause  # no step's own, and none would fare better
        reason = f"{type(cause).__name__}: {cause}"
        if work.opens:
            self._engine_failed(work, reason)
            return
        if work.engine is not None and not isinstance(cause, StepError):
            self._died(work, reason)  # whatever broke the engine may break the next step too
            return
        if work.engine is not None:
            work.engine.busy = False
        if work.beside:
            self.backlog.part(work, reason)
        elif isinstance(cause, MemoryExceeded) and work.micro_batch % 2 == 0:
            smaller = replace(work, micro_batch=work.micro_batch // 2)
            self.backlog.again([smaller], "out of GPU memory, half the micro-batch")
        else:
            self.backlog.give_up(work, reason)

    def _died(self, work: Work, reason: str) -> None:
        """The process that made it ended, or its engine is of no more use."""
        if work.engine is not None and work.engine in self.pool.engines:
            self.pool.close(work.engine)
            if not (work.opens or self.pool.engines):
                self._failed_openings = 0
        if work.opens:
            self._engine_failed(work, reason)
        elif work.beside and work.deaths:
            self.backlog.part(work, reason)
        elif work.deaths + 1 < MAX_ATTEMPTS:
            group = (work, *work.beside)
            self.backlog.again((replace(each, deaths=work.deaths + 1) for each in group), reason)
        else:
            self.backlog.give_up(work, reason)

    def _engine_failed(self, opening: Work, reason: str) -> None:
        """An engine did not come up: tried again a few times, all that open at once being one try.

        Then no more are opened, and without any everything that needs one is given up.
        """
        assert opening.engine is not None
        self._display.event(f"engine {opening.engine.number} failed: {reason}")
        if opening.engine in self.pool.engines:
            self.pool.close(opening.engine)
        if self.pool.opening:
            return
        self._failed_openings += 1
        if self._failed_openings < MAX_ATTEMPTS or self.pool.engines:
            return
        log = f"{self.study.name}/logs/engine-{opening.engine.number}.log"
        for work in [each for each in self.waiting if each.step.stage in ENGINE_STAGES]:
            self.waiting.remove(work)
            self.backlog.give_up(work, f"no engine: {reason}", log)
