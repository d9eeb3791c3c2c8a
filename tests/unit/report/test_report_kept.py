"""The report's files in a store: what is kept, what is written anew, what goes."""

from __future__ import annotations

from dataclasses import replace
from io import StringIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from methods_plans import kept_rows, plan_of
from page_study import dot_figure
from rich.console import Console
from tiny_results import report_data, results, study

from weirdgen.pipeline.state import StudyState
from weirdgen.report import summary
from weirdgen.report.data import ReportData
from weirdgen.report.summary import (
    DIFFERENCES,
    FIGURES,
    PAGE,
    STATS,
    SUMMARY,
    write_files,
    write_report,
)
from weirdgen.results.table import RESULTS, SCHEMA, kept_results
from weirdgen.storage.artifacts import ArtifactStore


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> ReportData:
    """Findings with one figure."""
    monkeypatch.setattr("weirdgen.report.figures.all.all_figures", lambda _: [dot_figure()])
    return report_data(results(), study())


def test_a_report_is_known_by_what_it_was_made_of_while_all_of_it_is_there(
    shown: ReportData, store: ArtifactStore
) -> None:
    store.write(f"{shown.name}/{RESULTS}", b"")
    written = write_files(shown, store, made_of="these")
    assert summary._current_report(shown.name, "these", store) == written
    assert summary._current_report(shown.name, "others", store) == []
    store.delete(f"{shown.name}/{PAGE}")
    assert summary._current_report(shown.name, "these", store) == []
    write_files(shown, store)
    assert summary._current_report(shown.name, "these", store) == []


def test_figures_of_other_results_go(shown: ReportData, store: ArtifactStore) -> None:
    store.write(f"{shown.name}/{FIGURES}/dose-response-charm.png", b"old")
    write_files(shown, store)
    assert store.files(f"{shown.name}/{FIGURES}").keys() == {"dot.png", "dot.pdf", "dot.csv"}


def test_differences_of_judges_that_are_compared_no_more_go(
    shown: ReportData, store: ArtifactStore
) -> None:
    store.write(f"{shown.name}/{DIFFERENCES}", b"old")
    assert [*summary._write_differences(shown, store)] == []
    assert not store.exists(f"{shown.name}/{DIFFERENCES}")


def test_the_statistics_come_last(
    shown: ReportData, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = []
    write = ArtifactStore.write

    def noted(self: ArtifactStore, path: str, content: bytes) -> None:
        paths.append(path)
        write(self, path, content)

    monkeypatch.setattr(ArtifactStore, "write", noted)
    write_files(shown, store)
    assert paths[-1] == f"{shown.name}/{STATS}"
    assert len(paths) == len({*paths}) == 9


def test_a_study_whose_artifacts_were_pruned_is_reported_from_its_results(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("weirdgen.report.figures.all.all_figures", lambda _: [dot_figure()])
    plan = plan_of()
    table = pa.Table.from_pylist(kept_rows(plan), SCHEMA)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    store.write(f"{plan.study.name}/{RESULTS}", sink.getvalue().to_pybytes())
    console = Console(file=StringIO(), width=200)
    write_report(StudyState(plan), store, console)
    said = (store.read(f"{plan.study.name}/{SUMMARY}") or b"").decode()
    assert "630 responses" in said
    assert "In progress" not in said
    assert "0 of" not in said
    other = replace(plan, response_sets=plan.response_sets[1:])
    assert kept_results(StudyState(other), store) is None, "the file is another plan's"
