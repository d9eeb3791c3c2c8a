"""What a run leaves and prints: results.parquet, the tables, the figure."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from rich.console import Console
from rich.text import Text

from weirdgen.plan import Survey
from weirdgen.report.sheet import escape_markdown, plain
from weirdgen.report.tables import as_markdown, criteria_table, rates_table
from weirdgen.results import RESULTS, current_results, merge, write_results
from weirdgen.store import Store
from weirdgen.study_file import resolved_yaml

FIGURE, SUMMARY = "report/format.png", "report/summary.md"


def publish(found: Survey, store: Store, console: Console, failed: Sequence[str] = ()) -> None:
    """Brings the study's results and report up to date with what is there, and prints the tables.

    `failed`: a line for each step that failed, shown and kept with the summary.
    """
    study = found.plan.study
    table = current_results(found, store)
    if table is None:
        table = merge(found, store)
        store.delete(f"{study.name}/{FIGURE}")
        if table.num_rows:
            write_results(table, study.name, store)
    if table.num_rows:
        if store.read(f"{study.name}/{FIGURE}") is None:
            store.write(f"{study.name}/{FIGURE}", _figure(table))
        summary = as_markdown(table, study)
        summary += "".join(f"\n- {escape_markdown(line)}" for line in failed)
        store.write(f"{study.name}/{SUMMARY}", summary.encode())
        store.write(f"{study.name}/study.yaml", resolved_yaml(study, found.plan.model.revision))
        console.print(rates_table(table))
        if study.criteria:
            console.print(criteria_table(table, study))
        for path in (RESULTS, SUMMARY, FIGURE):
            console.print(Text(plain(store.path(study.name, path))), soft_wrap=True)
    for line in failed:
        console.print(Text(plain(line)), soft_wrap=True)


def _figure(table: pa.Table) -> bytes:
    from weirdgen.report.figure import draw  # matplotlib takes a second to import

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figure.png"
        draw(table, path)
        return path.read_bytes()
