"""What a run leaves and prints: results.parquet, the tables, the figure."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from rich.console import Console
from rich.text import Text

from weirdgen.report.sheet import Sheet, escape_markdown, plain
from weirdgen.report.tables import (
    as_markdown,
    criteria_table,
    is_measured,
    judge_note,
    judged_metrics,
    rates_tables,
)
from weirdgen.results import RESULTS, current_results, merge, write_results
from weirdgen.store import Store
from weirdgen.study_file import resolved_yaml
from weirdgen.survey import Survey
from weirdgen.verdicts import VERDICTS, labels_by_rater, read_verdicts, with_own_metrics

SUMMARY = "report/summary.md"
DIFFERENCES = "report/differences.jsonl"
"""Answers on which two judges, or a judge and the gold labels, differ."""


def publish(found: Survey, store: Store, console: Console, failed: Sequence[str] = ()) -> None:
    """Brings the study's results and report up to date with what is there, and prints the tables.

    `failed`: a line for each step that failed, shown and kept with the summary.
    """
    study = found.plan.study
    figures = {m: f"report/{m}.png" for m in ("format", *judged_metrics(study))}
    table = current_results(found, store)
    if table is None:
        merged = merge(found, store)
        table = merged.results
        for figure in figures.values():
            store.delete(f"{study.name}/{figure}")
        if table.num_rows:
            write_results(merged, study.name, store)
    if table.num_rows:
        verdicts = read_verdicts(study.name, store)
        table = with_own_metrics(table, verdicts, found.plan)
        figures = {m: path for m, path in figures.items() if is_measured(table, m)}
        for metric, path in figures.items():
            if store.read(f"{study.name}/{path}") is None:
                drawn = _figure(table, metric, judge_note(study, metric))
                store.write(f"{study.name}/{path}", drawn)
        agreed, differing = _agreement(found, table, verdicts, store)
        summary = as_markdown(table, study) + "".join(f"\n{sheet.markdown()}" for sheet in agreed)
        summary += "".join(f"\n- {escape_markdown(line)}" for line in failed)
        store.write(f"{study.name}/{SUMMARY}", summary.encode())
        store.write(f"{study.name}/study.yaml", resolved_yaml(study, found.plan.model.revision))
        console.print(*rates_tables(table, study))
        console.print(*(sheet.rich() for sheet in agreed))
        if study.criteria:
            console.print(criteria_table(table, study))
        judged = [VERDICTS] if verdicts.num_rows else []
        for path in (RESULTS, *judged, SUMMARY, *figures.values(), *differing):
            console.print(Text(plain(store.path(study.name, path))), soft_wrap=True)
    for line in failed:
        console.print(Text(plain(line)), soft_wrap=True)


def _agreement(
    found: Survey, table: pa.Table, verdicts: pa.Table, store: Store
) -> tuple[list[Sheet], list[str]]:
    """The table of the judges' agreement and the file of their differences, where there are two to compare."""
    plan = found.plan
    if plan.gold is None and plan.study.second_judge is None:
        return [], []
    from weirdgen.report.agreement import agreement_sheet, compare, differences_jsonl

    compared = compare(labels_by_rater(table, verdicts, plan), plan.gold)
    content = "".join(differences_jsonl(compared)).encode()
    store.write(f"{plan.study.name}/{DIFFERENCES}", content)
    return [agreement_sheet(compared, plan.study)] if compared else [], [DIFFERENCES]


def _figure(table: pa.Table, metric: str, note: str) -> bytes:
    from weirdgen.report.figure import draw  # matplotlib takes a second to import

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figure.png"
        draw(table, path, metric, note)
        return path.read_bytes()
