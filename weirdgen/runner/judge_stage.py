"""Judging within a study's run: the pool gets responses as soon as they are committed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from weirdgen.errors import WeirdgenError
from weirdgen.pipeline.stages.labels import LabelRangeJob
from weirdgen.pipeline.stages.responses import ResponseSet
from weirdgen.pipeline.state import StudyState
from weirdgen.runner.judge_pool import JudgePool
from weirdgen.storage.artifacts import ArtifactStore


def open_judges(
    state: StudyState, store: ArtifactStore, more_to_come: bool, event: Callable[[str], None]
) -> JudgePool:
    """Open the study's judge pool and queue what is there; it is empty where nothing is to be judged.

    `more_to_come`: whether there will be further responses. Raises WeirdgenError if a judge cannot
    be reached, before anything else takes time.
    """
    plan = state.plan
    done = not more_to_come and all(map(state.is_judged, state.label_ranges()))
    judges, actors = [] if done else plan.llm_judges, plan.study.resources.judge_actors
    pool = JudgePool(store, plan.study.name, judges, actors, event)
    try:
        pool.open()
        while pool.unprobed and pool.running and not pool.stopped:
            pool.turn()
        if pool.stopped:
            raise WeirdgenError(pool.stopped)
        feed(pool, state, store, plan.response_sets)
    except BaseException:
        pool.close()
        raise
    return pool


def feed(
    pool: JudgePool, state: StudyState, store: ArtifactStore, asked: Iterable[ResponseSet]
) -> None:
    """Queue the committed responses of these sets that lack labels."""
    if not pool.judges:
        return
    questions = {each.id: each.question for each in state.plan.persona.heldout}
    for each in state.label_ranges(asked):
        if not state.is_judged(each):
            done = partial(state.record, each.step)
            pool.queue.add(LabelRangeJob(each, questions, store, done, pool.queue.unjudged))
