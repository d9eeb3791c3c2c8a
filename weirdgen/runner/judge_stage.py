"""Judging within a study's run: the pool gets responses as soon as they are committed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

import ray

from weirdgen.errors import WeirdgenError
from weirdgen.pipeline.stages.labels import LabelRangeJob
from weirdgen.pipeline.stages.responses import ResponseSet
from weirdgen.pipeline.state import StudyState
from weirdgen.runner.judge_pool import JudgePool
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.run_record import JudgeProgress


class JudgeStage:
    """The study's judge pool; it does nothing without LLM judges, or if every response is judged."""

    def __init__(
        self, state: StudyState, store: ArtifactStore, event: Callable[[str], None]
    ) -> None:
        self._state, self._store, self._event = state, store, event
        self._questions = {each.id: each.question for each in state.plan.persona.heldout}
        self._pool: JudgePool | None = None

    def open(self, more_to_come: bool) -> None:
        """Start the judges if there is, or will be, something to judge.

        Raises WeirdgenError if one cannot be reached, before anything else takes time.
        """
        plan = self._state.plan
        done = all(map(self._state.is_judged, self._state.label_ranges()))
        if not plan.llm_judges or (done and not more_to_come):
            return
        actors, name = plan.study.resources.judge_actors, plan.study.name
        self._pool = JudgePool(self._store, name, plan.llm_judges, actors, self._event)
        self._pool.open()
        while self._pool.unprobed and self._pool.running and not self._pool.stopped:
            self._pool.dispatch()
            if self._pool.running:
                ready, _ = ray.wait(list(self._pool.running))
                for ref in ready:
                    self._pool.collect(ref)
        if self._pool.stopped:
            raise WeirdgenError(self._pool.stopped)
        self.feed(plan.response_sets)

    def feed(self, asked: Iterable[ResponseSet]) -> None:
        """Queue the committed responses of these sets that lack labels."""
        if self._pool is None:
            return
        for each in self._state.label_ranges(asked):
            if not self._state.is_judged(each):
                done, unjudged = partial(self._state.record, each.step), self._pool.unjudged
                job = LabelRangeJob(each, self._questions, self._store, done, unjudged)
                self._pool.add(job)

    def turn(self) -> None:
        if self._pool is not None:
            self._pool.dispatch()

    @property
    def refs(self) -> list[ray.ObjectRef]:
        """Ray references to wait for."""
        return list(self._pool.running) if self._pool is not None else []

    def finish(self, ref: ray.ObjectRef) -> None:
        """Take the result of one of `refs`."""
        if self._pool is not None:
            self._pool.collect(ref)

    @property
    def busy(self) -> bool:
        return self._pool is not None and self._pool.busy

    @property
    def judged(self) -> JudgeProgress | None:
        """Progress of this run; None without LLM judges."""
        return self._pool.progress if self._pool is not None else None

    def close(self) -> Counter[str]:
        """End the judges; return reason -> responses without a judgment."""
        if self._pool is None:
            return Counter()
        self._pool.close()
        return self._pool.unjudged
