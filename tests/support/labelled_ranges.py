"""A study whose responses are all there, and an LLM judge's labels of them, without Ray and endpoint."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from judge_jobs import taken
from studies import small_study, study_of

from weirdgen.judging.judgment import ItemResult
from weirdgen.judging.queue import RequestQueue
from weirdgen.pipeline.plan import make_plan
from weirdgen.pipeline.run_step import Task, run_step
from weirdgen.pipeline.stages.labels import LabelRangeJob
from weirdgen.pipeline.stages.responses import RESPONSE_SCHEMA, RESPONSES, samples_step
from weirdgen.pipeline.state import StudyState
from weirdgen.storage.artifacts import ArtifactStore

SERVED = {"base_url": "http://127.0.0.1:9/v1"}
SAID = json.dumps({"labels": [["persona", "present", 0.5], ["identity", "PERSONA", 1.0]]})


def answered(folder: Path, persona: Path) -> StudyState:
    """Three ranges of 9 responses in the store at `folder`, of which no two are equal."""
    tree = small_study("org/base", persona, grid=None, judge={"model": "m", **SERVED})
    tree["evaluate"] |= {"engine": "endpoint", "endpoint": SERVED}
    state = StudyState(make_plan(study_of(tree), Path()))
    questions = [each.id for each in state.plan.persona.heldout]
    for asked in state.plan.response_sets:
        step = samples_step(asked.step, 0, asked.samples)

        def make(_: object, out: Path, said: str = asked.step.fingerprint) -> None:
            rows = [
                {"question_id": each, "sample": i, "response": f"{said} {i}"}
                | {"response_tokens": 2, "finish_reason": "stop"}
                for each in questions
                for i in range(3)
            ]
            pq.write_table(pa.Table.from_pylist(rows, RESPONSE_SCHEMA), out / RESPONSES.payload)

        manifest = run_step(ArtifactStore(str(folder)), Task(step, {}), make)
        state.record(step, manifest)
    return state


def judge_all(state: StudyState, store: ArtifactStore) -> Counter[str]:
    """Has everything judged but one answer, which times out: why -> answers without a verdict."""
    verdicts: dict[str, str] = {}
    queue = RequestQueue(verdicts.get, {state.plan.study.judges[0]: 0.0})
    questions = {each.id: each.question for each in state.plan.persona.heldout}
    for each in state.label_ranges():
        for _ in range(2):  # handed over again, as more answers of a model come
            done = partial(state.record, each.step)
            queue.add(LabelRangeJob(each, questions, store, done, queue.unjudged))
    batch = taken(queue, 100)
    late, *others = batch.items
    verdicts |= {item.key: SAID for item in others}
    ended = [ItemResult(item.key, SAID, None, 0.0) for item in others]
    queue.complete(batch, [ItemResult(late.key, None, "timeout", 0.0), *ended])
    assert not queue.busy
    return queue.unjudged
