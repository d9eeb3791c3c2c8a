"""`weirdgen export`: a study's responses and labels, for other tools."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.text import Text

from weirdgen.config.loading import load_study
from weirdgen.data.responses import check_out, replacing
from weirdgen.data.tabular import ENDINGS
from weirdgen.errors import InputError
from weirdgen.results.importing import checked_name
from weirdgen.results.labels import LABELS, read_labels, response_keys
from weirdgen.results.table import RESULTS, read_results
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.text import escape_formula, single_line

_LABEL_COLUMNS = ("judge", "label", "value", "confidence", "error", "evidence")
_ROWS = 1000
"""Rows in memory at a time."""
_SEPARATORS = str.maketrans({c: f"\\u{ord(c):04x}" for c in "\x85\u2028\u2029"})
"""Characters that some JSONL readers take for line ends."""


def export_study(
    console: Console, study: str, out: Path, *, labels: bool = False, storage: str = "results"
) -> None:
    """Write the file, which appears once it is whole, and print what it holds.

    The options are those of `weirdgen export --help`. Raises InputError for a study without results,
    and for a file that cannot be written.
    """
    check_out(out, ENDINGS)
    store, name = ArtifactStore(storage), _study_name(study)
    if str(out.resolve()) in {str(Path(store.path(name, f)).resolve()) for f in (RESULTS, LABELS)}:
        raise InputError("--out", None, f"{out} is the study's own file")
    results, all_labels = read_results(name, store), read_labels(name, store)
    table = all_labels if labels else with_labels(results, all_labels)
    write = {".jsonl": write_jsonl, ".csv": write_csv, ".parquet": _write_parquet}[out.suffix]
    with replacing(out) as draft:
        changed = write(table, draft)
    lines = [f"{out}: {table.num_rows:,} {'labels' if labels else 'responses'}"]
    if changed:
        lines.append(f"{changed:,} cells that begin like a formula got an apostrophe before them")
    for line in lines:
        console.print(Text(single_line(line)), soft_wrap=True)


def with_labels(results: pa.Table, labels: pa.Table) -> pa.Table:
    """Add six columns to `results` for every metric and judge of `labels`.

    They are METRIC.JUDGE.judge, .label, .value, .confidence, .error and .evidence, JUDGE being the
    first 12 digits of judge_fp; null where that judge was not asked about the response.
    """
    keys = response_keys(results)
    row_of: dict[tuple[str, str], dict[Any, int]] = {}
    said = (labels["metric"].to_pylist(), labels["judge_fp"].to_pylist(), response_keys(labels))
    for row, (*judge, key) in enumerate(zip(*said, strict=True)):
        row_of.setdefault(tuple(judge), {})[key] = row
    for (metric, judge_fp), rows in sorted(row_of.items()):
        at = pa.array(map(rows.get, keys), pa.int64())
        if at.null_count < len(at):
            for name in _LABEL_COLUMNS:
                column = f"{metric}.{judge_fp[:12]}.{name}"
                results = results.append_column(column, labels[name].take(at))
    return results


def write_jsonl(table: pa.Table, path: Path) -> int:
    """Write one JSON object per row with every column; return the number of changed cells, 0."""
    with path.open("w", encoding="utf-8", newline="\n") as out:
        for row in _rows(table):
            out.write(json.dumps(row, ensure_ascii=False).translate(_SEPARATORS) + "\n")
    return 0


def write_csv(table: pa.Table, path: Path) -> int:
    """Write CSV by RFC 4180, nulls as empty cells; return the number of changed cells.

    A text that begins like a formula gets an apostrophe before it, so that no spreadsheet runs it.
    """
    changed = 0

    def cell(value: Any) -> Any:
        nonlocal changed
        if isinstance(value, bool):
            return str(value).lower()
        if not isinstance(value, str):
            return value
        neutral = escape_formula(value)
        changed += neutral != value
        return neutral

    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(map(escape_formula, table.column_names))
        writer.writerows([cell(value) for value in row.values()] for row in _rows(table))
    return changed


def _write_parquet(table: pa.Table, path: Path) -> int:
    pq.write_table(table, path)
    return 0


def _rows(table: pa.Table) -> Iterator[dict[str, Any]]:
    for batch in table.to_batches(max_chunksize=_ROWS):
        yield from batch.to_pylist()


def _study_name(study: str) -> str:
    """The name in a study file, or the given study name itself."""
    path = Path(study)
    if path.is_file():
        return load_study(path).name
    if path.suffix in (".yaml", ".yml") or "/" in study:
        raise InputError(study, None, "there is no such study file")
    return checked_name(study)
