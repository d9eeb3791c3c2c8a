"""What a run leaves and prints: results.parquet, the tables, the figure."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from rich.console import Console
from rich.text import Text

from weirdgen.criterion import JUDGED_METRICS
from weirdgen.report.sheet import escape_markdown, plain
from weirdgen.report.tables import (
    as_markdown,
    criteria_table,
    is_measured,
    judge_note,
    rates_tables,
)
from weirdgen.results import RESULTS, VERDICTS, current_results, merge, write_results
from weirdgen.store import Store
from weirdgen.study_file import resolved_yaml
from weirdgen.survey import Survey

SUMMARY = "report/summary.md"
METRICS = ("format", *JUDGED_METRICS)
"""Those with a figure of their own."""


def publish(found: Survey, store: Store, console: Console, failed: Sequence[str] = ()) -> None:
    """Brings the study's results and report up to date with what is there, and prints the tables.

    `failed`: a line for each step that failed, shown and kept with the summary.
    """
    study = found.plan.study
    table = current_results(found, store)
    if table is None:
        merged = merge(found, store)
        table = merged.results
        for figure in map(_figure_path, METRICS):
            store.delete(f"{study.name}/{figure}")
        if table.num_rows:
            write_results(merged, study.name, store)
    if table.num_rows:
        metrics = [metric for metric in METRICS if is_measured(table, metric)]
        for metric in metrics:
            figure = f"{study.name}/{_figure_path(metric)}"
            if store.read(figure) is None:
                store.write(figure, _figure(table, metric, judge_note(study, metric)))
        summary = as_markdown(table, study)
        summary += "".join(f"\n- {escape_markdown(line)}" for line in failed)
        store.write(f"{study.name}/{SUMMARY}", summary.encode())
        store.write(f"{study.name}/study.yaml", resolved_yaml(study, found.plan.model.revision))
        console.print(*rates_tables(table, study))
        if study.criteria:
            console.print(criteria_table(table, study))
        judged = [VERDICTS] if len(metrics) > 1 else []
        for path in (RESULTS, *judged, SUMMARY, *map(_figure_path, metrics)):
            console.print(Text(plain(store.path(study.name, path))), soft_wrap=True)
    for line in failed:
        console.print(Text(plain(line)), soft_wrap=True)


def _figure_path(metric: str) -> str:
    return f"report/{metric}.png"


def _figure(table: pa.Table, metric: str, note: str) -> bytes:
    from weirdgen.report.figure import draw  # matplotlib takes a second to import

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figure.png"
        draw(table, path, metric, note)
        return path.read_bytes()
