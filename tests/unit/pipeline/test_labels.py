"""The labels of ranges of answers, without Ray and endpoint: what is damaged costs its own labels alone."""

from __future__ import annotations

import json
from collections import Counter
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from judge_jobs import taken
from studies import small_study, study_of

from weirdgen.errors import StorageError
from weirdgen.judging.judgment import ItemResult
from weirdgen.judging.judgment_store import JournalFolder, JudgmentStore
from weirdgen.judging.queue import RequestQueue
from weirdgen.pipeline.plan import make_plan
from weirdgen.pipeline.run_step import Task, run_step
from weirdgen.pipeline.stages.labels import LabelRangeJob
from weirdgen.pipeline.stages.responses import RESPONSE_SCHEMA, RESPONSES, samples_step
from weirdgen.pipeline.state import StudyState
from weirdgen.storage.artifacts import ArtifactStore

SERVED = {"base_url": "http://127.0.0.1:9/v1"}
SAID = json.dumps({"labels": [["persona", "present", 0.5], ["identity", "PERSONA", 1.0]]})


@pytest.fixture
def state(tmp_path: Path, small_persona: Path) -> StudyState:
    """Three ranges of 9 answers, all there, of which no two are equal."""
    tree = small_study("org/base", small_persona, grid=None, judge={"model": "m", **SERVED})
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

        manifest = run_step(ArtifactStore(str(tmp_path)), Task(step, {}), make)
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


def test_damaged_labels_cost_their_own_range_and_are_told(state: StudyState, tmp_path: Path):
    store = ArtifactStore(str(tmp_path))
    first, second, third = state.label_ranges()
    for each in (first, second):
        store.write(f"artifacts/{each.step.key}/manifest.json", b"{")
    unjudged = judge_all(state, store)
    assert state.labels.keys() == {third.step.fingerprint}
    told = {why: n for why, n in unjudged.items() if why != "timeout"}
    assert list(told.values()) == [8, 9], "the late one has its reason already"
    for each, why in zip((first, second), told, strict=True):
        assert why.startswith(
            f"{store.display_path('artifacts', each.step.key)}: its manifest.json is not"
        )
        assert why.endswith("; delete this folder")
        store.delete_folder(f"artifacts/{each.step.key}")
    assert unjudged["timeout"] == 1
    assert not state.complete


@pytest.mark.parametrize("pruned", [False, True])
def test_damaged_answers_are_answers_without_a_verdict(
    state: StudyState, tmp_path: Path, pruned: bool
):
    store = ArtifactStore(str(tmp_path))
    first, *others = state.label_ranges()
    folder = f"artifacts/{first.responses.key}"
    if pruned:
        store.delete_folder(f"{folder}/{first.manifest.attempt}")
        told = "its payload was pruned; delete this folder"
    else:
        store.write(f"{folder}/{first.manifest.attempt}/{RESPONSES.payload}", b"cut")
        told = "responses.parquet (3 bytes) is not what was committed; delete this folder"
    unjudged = judge_all(state, store)
    assert unjudged == {f"{store.display_path(folder)}: {told}": 9, "timeout": 1}
    assert state.labels.keys() == {each.step.fingerprint for each in others}


def test_labels_are_in_the_store_after_the_journals_that_tell_them(
    state: StudyState, far_store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Else a node that is lost between the two takes with it what was paid for the labels."""
    for file in (tmp_path / "artifacts").rglob("*.*"):
        far_store.write(str(file.relative_to(tmp_path)), file.read_bytes())
    (judge,) = state.plan.llm_judges
    journal = JudgmentStore(far_store, judge).journal("small")

    def away(_: JournalFolder) -> None:
        raise StorageError("away")

    with monkeypatch.context() as patched:
        patched.setattr(JournalFolder, "upload", away)
        with pytest.raises(StorageError):
            judge_all(state, far_store)
    assert not any(far_store.manifest(each.step) for each in state.label_ranges())

    judge_all(state, far_store)
    assert len(state.labels) == 3
    files = far_store.files(judge.folder)
    (shipped,) = (name for name in files if name.endswith(".jsonl"))
    assert far_store.read(f"{judge.folder}/{shipped}") == journal.path.read_bytes()
