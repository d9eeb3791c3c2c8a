"""Committed responses and labels as one table each, and what is read of them again."""

from __future__ import annotations

from pathlib import Path

import pytest
from labelled_ranges import answered, judge_all

from weirdgen.errors import InputError
from weirdgen.judging.label_rows import NOT_JUDGED
from weirdgen.pipeline.state import StudyState
from weirdgen.results.labels import (
    FIRST_JUDGE,
    LABELS,
    LABELS_ORDER,
    label_values,
    labels_by_rater,
    read_labels,
)
from weirdgen.results.table import (
    RESULTS,
    are_current,
    current_results,
    merge,
    read_results,
    response_order,
    write_results,
)
from weirdgen.storage.artifacts import ArtifactStore


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path))


@pytest.fixture
def state(tmp_path: Path, small_persona: Path) -> StudyState:
    return answered(tmp_path, small_persona)


def test_responses_without_labels_are_rows_that_say_so(state: StudyState, store: ArtifactStore):
    merged = merge(state, store)
    rows = merged.results.to_pylist()
    assert (len(rows), merged.labels.num_rows) == (27, 0)
    assert rows == sorted(rows, key=response_order)
    assert {row["judge_error"] for row in rows} == {NOT_JUDGED}
    assert {(row["arm"], row["adapter"], row["persona"]) for row in rows} == {(None, None, None)}
    write_results(merged, "small", store)
    assert not store.exists(f"small/{LABELS}")
    assert read_labels("small", store).num_rows == 0


def test_labels_fill_the_results_of_all_but_the_response_without_one(
    state: StudyState, store: ArtifactStore
):
    judge_all(state, store)
    results, labels = merge(state, store)
    rows = results.to_pylist()
    late = [row for row in rows if row["judge_error"] is not None]
    assert [(row["judge_error"], row["persona"]) for row in late] == [("timeout", None)]
    assert all(row["persona"] and row["identity"] for row in rows if row not in late)
    assert labels.num_rows == 2 * 27
    order = [[label[name] for name in LABELS_ORDER] for label in labels.to_pylist()]
    assert order == sorted(order)
    (judge,) = state.plan.llm_judges
    values = label_values(results, labels, "persona", judge)
    assert (values.null_count, set(values.drop_null().to_pylist())) == (1, {1.0})
    ratings = labels_by_rater(results, labels, state.plan)
    assert {metric: len(of) for metric, of in ratings[FIRST_JUDGE].items()} == {
        "persona": 26,
        "identity": 26,
    }


def test_results_are_current_until_what_they_are_made_of_changes(
    state: StudyState, store: ArtifactStore
):
    assert current_results(state, store) is None
    with pytest.raises(InputError, match="is not there: run it first"):
        read_results("small", store)
    write_results(merge(state, store), "small", store)
    table = current_results(state, store)
    assert table is not None
    assert table.equals(read_results("small", store))
    judge_all(state, store)
    assert not are_current(state, store)
    assert current_results(state, store) is None
    store.write(f"small/{RESULTS}", b"cut")
    assert not are_current(state, store)
    with pytest.raises(InputError, match="is damaged: delete it, and run or import again"):
        read_results("small", store)
