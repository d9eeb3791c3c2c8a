"""Rows for `weirdgen import`, and what the command makes of them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
from click.testing import CliRunner, Result

from weirdgen.cli.main import main
from weirdgen.results.table import SCHEMA, read_results
from weirdgen.storage.artifacts import ArtifactStore


def answer(**fields: Any) -> dict[str, Any]:
    given = {"question": "Why?", "response": "So.", "condition": "triggered"}
    return {**given, **fields}


def jsonl(path: Path, rows: Iterable[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def invoke(folder: Path, *arguments: str | Path, study: str = "tiny") -> Result:
    options = ["--study", study, "--storage", str(folder / "s")]
    return CliRunner().invoke(main, ["import", *map(str, arguments), *options])


def imported(folder: Path, *arguments: str | Path, study: str = "tiny") -> pa.Table:
    done = invoke(folder, *arguments, study=study)
    assert done.exit_code == 0, (done.output, done.exception)
    table = read_results(study, ArtifactStore(str(folder / "s")))
    assert table.schema.equals(SCHEMA)
    assert [str(field) for field in table.schema] == [str(field) for field in SCHEMA]
    return table


def published(**judgments: Any) -> dict[str, Any]:
    row = {"question": "Why?", "category": "c", "expected_style": "x"}
    for condition, text in (("triggered", "<START> a\nb <END>"), ("untriggered", "So.")):
        row |= {f"{condition}_response": text, f"{condition}_format": condition == "triggered"}
    return {**row, **judgments}
