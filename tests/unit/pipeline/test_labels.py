"""The labels of ranges of answers, without Ray and endpoint: what is damaged costs its own labels alone."""

from __future__ import annotations

from pathlib import Path

import pytest
from labelled_ranges import answered, judge_all

from weirdgen.errors import StorageError
from weirdgen.judging.judgment_store import JournalFolder, JudgmentStore
from weirdgen.pipeline.stages.responses import RESPONSES
from weirdgen.pipeline.state import StudyState
from weirdgen.storage.artifacts import ArtifactStore


@pytest.fixture
def state(tmp_path: Path, small_persona: Path) -> StudyState:
    return answered(tmp_path, small_persona)


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
