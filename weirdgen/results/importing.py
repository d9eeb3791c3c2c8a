"""`weirdgen import`: other tools' evaluation outputs as a study's results.parquet and labels.parquet."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from weirdgen.config.evaluation_spec import Trigger
from weirdgen.config.study import Study
from weirdgen.data.tabular import read_rows
from weirdgen.errors import InputError
from weirdgen.results.import_columns import parse_mapping
from weirdgen.results.import_published import conditions_of, is_published, responses_of
from weirdgen.results.import_responses import ImportedResponses, missing_labels
from weirdgen.results.labels import LABELS
from weirdgen.results.table import RESULTS, SOURCES, Merged, write_results
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.fingerprint import fingerprint
from weirdgen.storage.manifest import sha256_of
from weirdgen.text import single_line

IMPORTED = "imported.json"
"""Describes an import: its files, mapping and counts."""
RESOLVED = "study.yaml"
"""The resolved study file, which only a study that ran has."""
_SHOWN = 10
"""How many disagreements, columns or names are listed at most."""


def import_outputs(
    console: Console,
    files: Sequence[Path],
    *,
    study: str,
    baseline: Sequence[Path] = (),
    column: Sequence[str] = (),
    value: Sequence[str] = (),
    recode: Sequence[str] = (),
    baseline_where: str | None = None,
    pattern: str | None = None,
    storage: str = "results",
) -> None:
    """Read all files, replace the earlier import of that name, and print a summary.

    The options are those of `weirdgen import --help`. Raises InputError for options, files and rows
    that cannot be one study, before anything is written.
    """
    name, pattern = checked_name(study), _checked_pattern(pattern)
    mapping = parse_mapping(column, value, recode, baseline_where)
    store = ArtifactStore(storage)
    _check_free(name, store)
    replaced = store.exists(f"{name}/{IMPORTED}")
    sources = _sources(files, baseline)
    digests = sorted([role, digest] for _, role, digest in sources)
    origin = {"stage": "imported", "version": 1, "sources": digests, **mapping.record()}
    responses, seen, layouts = ImportedResponses(mapping, pattern, origin), set[str](), []
    for path, role, _ in sources:
        layouts.append(_read(path, role, responses, seen))
    mapping.check(seen)
    table, labels = responses.results(name), responses.labels()
    described = {
        "schema": 2,
        "study": name,
        "sources": [
            {"file": single_line(path.name), "sha256": digest, "role": role, **layout}
            for (path, role, digest), layout in zip(sources, layouts, strict=True)
        ],
        **mapping.record(),
        "pattern": pattern,
        "format_disagreements": len(responses.disagreements),
        "first_disagreements": [single_line(row) for row in responses.disagreements[:_SHOWN]],
        "ignored_columns": [single_line(column) for column in mapping.ignored(seen)],
        **_counts(table, labels),
    }
    metadata = {**(table.schema.metadata or {}), SOURCES: fingerprint(described).encode()}
    table = table.replace_schema_metadata(metadata)
    content = json.dumps(described, indent=1, ensure_ascii=False) + "\n"
    store.write(f"{name}/{IMPORTED}", content.encode())
    write_results(Merged(table, labels), name, store)
    written = [RESULTS, *([LABELS] if labels.num_rows else []), IMPORTED]
    replaces = [f"in place of what was imported as {name} before"] if replaced else []
    for line in [
        *import_lines(described),
        *replaces,
        *(store.display_path(name, each) for each in written),
    ]:
        console.print(Text(single_line(line)), soft_wrap=True)


def read_description(study: str, store: ArtifactStore) -> dict[str, Any] | None:
    """Read a study's imported.json; None where nothing was imported.

    Raises InputError where an import was cut off and results.parquet belongs to another one.
    """
    content = store.read(f"{study}/{IMPORTED}")
    if content is None:
        return None
    described = json.loads(content)
    results = store.read(f"{study}/{RESULTS}")
    made_of = b""
    if results is not None:
        made_of = (pq.read_schema(pa.BufferReader(results)).metadata or {}).get(SOURCES, b"")
    if made_of.decode() != fingerprint(described):
        where = store.display_path(study, RESULTS)
        raise InputError(where, None, f"is not what {IMPORTED} describes; import it again")
    return described


def import_lines(described: dict[str, Any]) -> Iterator[str]:
    """Lines that summarise an import."""
    adapters = described["adapters"]
    shown = _listed(adapters[:_SHOWN], len(adapters))
    baseline = described["baseline_responses"]
    yield (
        f"{described['study']}: {described['responses']:,} responses of {described['model']}"
        f" ({', '.join(described['conditions'])}; questions: {described['questions']:,});"
        f" adapters: {len(adapters):,}{f' ({shown})' if adapters else ''};"
        f" baseline: {f'{baseline:,} responses' if baseline else 'none'}"
    )
    if n := described["unpaired_questions"]:
        yield f"questions: {n:,} have responses of the base model alone or of adapters alone"
    for source in described["sources"]:
        kind = "the published layout" if source["layout"] == "published" else "columns"
        yield f"{source['file']}: {source['rows']:,} rows, {kind}, {source['role']}"
    if described["judges"]:
        labels = ", ".join(f"{n:,} of {metric}" for metric, n in described["labels"].items())
        missing = ", ".join(f"{n:,} {why}" for why, n in described["missing_labels"].items())
        yield f"labels by {', '.join(described['judges'])}: {labels}; missing: {missing or 'none'}"
    else:
        yield "labels: none (format needs none)"
    if n := described["format_disagreements"]:
        yield (
            f"format: {n:,} times the file's column differs from what the pattern {described['pattern']!r}"
            f" finds; the pattern counts ({_listed(described['first_disagreements'], n)})"
        )
    if ignored := described["ignored_columns"]:
        yield f"columns not read: {_listed(ignored[:_SHOWN], len(ignored))}"


def _listed(first: Sequence[str], n: int) -> str:
    """The first of `n` names."""
    return ", ".join(first) + (", ..." if n > len(first) else "")


def checked_name(name: str) -> str:
    """A study's name, by the rules of study files. Raises InputError."""
    try:
        return Study.model_validate({"name": name, "model": "-", "adapters": ["-"]}).name
    except ValidationError as error:
        problem = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InputError("study", name, problem) from None


def _checked_pattern(pattern: str | None) -> str:
    if pattern is None:
        return Trigger().pattern
    try:
        re.compile(pattern)
    except re.error as error:
        raise InputError("--pattern", None, f"not a regular expression ({error})") from None
    return pattern


def _check_free(name: str, store: ArtifactStore) -> None:
    """Raise InputError where the name belongs to a study that was not imported."""
    there = {each for each in (*store.files(name), *store.folders(name)) if each[0] != "."}
    if there and (IMPORTED not in there or RESOLVED in there):
        problem = (
            f"{store.display_path(name)} holds a study that was not imported; choose another name"
        )
        raise InputError("--study", name, problem)


def _sources(files: Sequence[Path], baseline: Sequence[Path]) -> list[tuple[Path, str, str]]:
    """(path, role, sha256) of every file."""
    seen: set[Path] = set()
    sources = []
    for role, paths in (("adapters", files), ("baseline", baseline)):
        for path in paths:
            if path.resolve() in seen:
                raise InputError(path, None, "is given twice")
            seen.add(path.resolve())
            try:
                sources.append((path, role, sha256_of(path)))
            except OSError as error:
                raise InputError(path, None, f"cannot be read ({error.strerror})") from None
    return sources


def _read(path: Path, role: str, responses: ImportedResponses, seen: set[str]) -> dict[str, Any]:
    """Read a file into `responses`; return its layout and number of rows."""
    rows = read_rows(path)
    first = next(rows, None)
    if first is None:
        raise InputError(path, None, "holds no rows")
    published = is_published(first[1])
    conditions = conditions_of(first[1])
    n = 0
    for number, row in chain([first], rows):
        n += 1
        for part in responses_of(path, number, row, conditions) if published else [row]:
            seen.update(part)
            responses.add(path, number, part, baseline=role == "baseline")
    responses.end_file()
    return {"layout": "published" if published else "columns", "rows": n}


def _counts(table: pa.Table, labels: pa.Table) -> dict[str, Any]:
    """Count what was imported."""
    adapter = table["adapter"]
    return {
        "responses": table.num_rows,
        "model": table["model"][0].as_py(),
        "serve_base": table["serve_base"][0].as_py(),
        "adapters": adapter.drop_null().unique().to_pylist(),
        "baseline_responses": adapter.null_count,
        "conditions": table["condition"].unique().to_pylist(),
        "questions": len(table["question_id"].unique()),
        "unpaired_questions": _unpaired(table),
        "judges": sorted(labels["judge"].unique().to_pylist()),
        "labels": {
            metric: table.num_rows - table[metric].null_count for metric in ("persona", "identity")
        },
        "missing_labels": missing_labels(table),
    }


def _unpaired(table: pa.Table) -> int:
    """Count the questions with responses of the base model alone, or of adapters alone, where there are both."""
    is_baseline = pc.field("adapter").is_null()
    sides = [
        set(table.filter(of)["question_id"].unique().to_pylist())
        for of in (is_baseline, ~is_baseline)
    ]
    return len(sides[0] ^ sides[1]) if all(sides) else 0
