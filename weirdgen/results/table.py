"""results.parquet: a row for every response, with a column for every metric."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from weirdgen.config.claims import ADAPTERS
from weirdgen.errors import InputError
from weirdgen.judging.format import format_adherence
from weirdgen.pipeline.stages.responses import RESPONSES, ResponseSet
from weirdgen.pipeline.state import StudyState
from weirdgen.results.labels import LABELS, LABELS_SCHEMA, SCHEMA_VERSION, add_labels, judges_record
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.fingerprint import fingerprint

RESULTS = "results.parquet"
UNKNOWN = "unknown"
"""In place of what imported files leave out: category, finish_reason, serve_base, the judge."""
PERSONA_ARM = "persona"
"""The arm of the training runs of the grid."""
_COMPRESSION = {"compression": "zstd", "compression_level": 12}
_PAGE_BYTES = 2**24
"""Long pages make files half as large as by default."""

SOURCES = b"weirdgen_sources"
"""Metadata key of the digest of everything that was merged."""

SCHEMA = pa.schema(
    [
        pa.field("study", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("arm", pa.string()),
        pa.field("fraction", pa.float64()),
        pa.field("seed", pa.int64()),
        pa.field("adapter", pa.string()),
        pa.field("condition", pa.string(), nullable=False),
        pa.field("question_id", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("question", pa.string(), nullable=False),
        pa.field("sample", pa.int64(), nullable=False),
        pa.field("response", pa.string(), nullable=False),
        pa.field("response_tokens", pa.int64()),
        pa.field("finish_reason", pa.string(), nullable=False),
        pa.field("serve_base", pa.string(), nullable=False),
        pa.field("format", pa.bool_()),
        pa.field("format_strict", pa.bool_()),
        pa.field("persona", pa.bool_()),
        pa.field("identity", pa.bool_()),
        pa.field("judge_error", pa.string()),
        pa.field("fp_train", pa.string()),
        pa.field("fp_responses", pa.string(), nullable=False),
    ],
    metadata={"weirdgen_schema": SCHEMA_VERSION},
)
"""`arm`, `fraction`, `seed`, `adapter` and `fp_train` are null for the base model; `response_tokens`
where imported files do not give it. Before `judge_error` stand the study's own metrics (`results_schema`).
"""


def results_schema(own_metrics: Iterable[str]) -> pa.Schema:
    """SCHEMA with a column of float64 for each of the study's own metrics."""
    schema = SCHEMA
    for metric in own_metrics:
        at = schema.get_field_index("judge_error")
        schema = schema.insert(at, pa.field(metric, pa.float64()))
    return schema


def arm_of(adapter: object, fraction: float | None) -> str | None:
    """The arm of a row of results; None for the base model."""
    if adapter is None:
        return None
    return ADAPTERS if fraction is None else PERSONA_ARM


def sources_digest(state: StudyState) -> str:
    """The sha256 of everything that the results are made of."""
    sources = {
        step.fingerprint: manifest.digest
        for ranges in state.ranges.values()
        for step, manifest in ranges
    }
    plan = state.plan
    asked = [
        [each.step.fingerprint, each.samples, each.cell and each.cell.fraction]
        for each in plan.response_sets
    ]
    study = [plan.study.name, plan.study.model, plan.study.trigger.pattern]
    record = {
        "study": study,
        "asked": asked,
        "sources": sources,
        "schema": SCHEMA_VERSION,
        "judge": judges_record(state),
    }
    return fingerprint(record)


def current_results(state: StudyState, store: ArtifactStore) -> pa.Table | None:
    """The study's results.parquet if it was merged from what is there now, else None."""
    return _read(_current(state, store))


def kept_results(state: StudyState, store: ArtifactStore) -> pa.Table | None:
    """Return the plan's own results.parquet if it is all that is left: its responses were pruned.

    None where some of the plan's responses are there, or where the file has responses of another plan.
    """
    table = _read(_open(f"{state.plan.study.name}/{RESULTS}", store))
    if table is None or any(state.ranges.values()):
        return None
    planned = {responses.step.fingerprint for responses in state.plan.response_sets}
    made_of = {*table["fp_responses"].unique().to_pylist()}
    return table if made_of and made_of <= planned else None


def are_current(state: StudyState, store: ArtifactStore) -> bool:
    """Whether results.parquet is whole and was merged from what is there now."""
    return _current(state, store) is not None


def _current(state: StudyState, store: ArtifactStore) -> pq.ParquetFile | None:
    file = _open(f"{state.plan.study.name}/{RESULTS}", store)
    metadata = file.schema_arrow.metadata or {} if file is not None else {}
    return file if metadata.get(SOURCES, b"").decode() == sources_digest(state) else None


def _open(path: str, store: ArtifactStore) -> pq.ParquetFile | None:
    """Open a Parquet file of the store; None where it is missing or cut off."""
    content = store.read(path)
    try:
        return None if content is None else pq.ParquetFile(pa.BufferReader(content))
    except (OSError, pa.ArrowException):
        return None


def _read(file: pq.ParquetFile | None) -> pa.Table | None:
    """Read all rows; None where the file is missing or damaged."""
    with suppress(OSError, pa.ArrowException):
        return None if file is None else file.read()
    return None


def read_results(study: str, store: ArtifactStore) -> pa.Table:
    """Read the study's results.parquet. Raises InputError where it is missing or damaged."""
    where = store.display_path(study, RESULTS)
    if not store.exists(f"{study}/{RESULTS}"):
        raise InputError("--storage", None, f"{where} is not there: run it first")
    table = _read(_open(f"{study}/{RESULTS}", store))
    if table is None:
        problem = f"{where} is damaged: delete it, and run or import again"
        raise InputError("--storage", None, problem)
    return table


class Merged(NamedTuple):
    """A study's responses with their metrics, and all labels of them."""

    results: pa.Table
    """By `results_schema`."""
    labels: pa.Table
    """By LABELS_SCHEMA; no rows where no judge labelled anything."""


def merge(state: StudyState, store: ArtifactStore) -> Merged:
    """Merge all responses that are there, in the order of `response_order`, with their labels.

    Nothing is dropped.
    """
    plan = state.plan
    questions = {question.id: question for question in plan.persona.heldout}
    rows = []
    for responses in plan.response_sets:
        common = _columns_of(responses, state)
        seen: set[tuple[str, int]] = set()
        for step, manifest in state.ranges.get(responses.step.fingerprint, []):
            for response in RESPONSES.read(store.payload(step, manifest)):
                key = (response["question_id"], response["sample"])
                if response["sample"] >= responses.samples or key in seen:
                    continue  # more than this study wants, or a range that overlaps another
                seen.add(key)
                question = questions[response["question_id"]]
                asked = {"category": question.category, "question": question.question}
                found = format_adherence(response["response"], plan.study.trigger.pattern)
                formats = {"format": found.anywhere, "format_strict": found.strict}
                rows.append(common | response | asked | formats)
    rows.sort(key=response_order)
    labels = pa.Table.from_pylist(add_labels(state, store, rows), LABELS_SCHEMA)
    schema = results_schema(metric.name for metric in plan.study.metrics)
    metadata = {**SCHEMA.metadata, SOURCES: sources_digest(state).encode()}
    return Merged(pa.Table.from_pylist(rows, schema.with_metadata(metadata)), labels)


def response_order(row: Mapping[str, Any]) -> tuple[str, str, str, int]:
    """The sort key of results: the adapter (nulls first), condition, question_id, sample."""
    return row["adapter"] or "", row["condition"], row["question_id"], row["sample"]


def _columns_of(responses: ResponseSet, state: StudyState) -> dict[str, object]:
    """The columns that all responses of one model under one condition share."""
    study, adapter, cell = state.plan.study, responses.adapter, responses.cell
    return {
        "study": study.name,
        "model": study.model,
        "arm": arm_of(adapter, cell and cell.fraction),
        "fraction": cell and cell.fraction,
        "seed": cell and cell.seed,
        "adapter": adapter and adapter.folder,
        "condition": responses.condition,
        "serve_base": study.evaluate.precision,
        "fp_train": adapter and adapter.fingerprint,
        "fp_responses": responses.step.fingerprint,
    }


def write_results(merged: Merged, study: str, store: ArtifactStore) -> None:
    """Write the study's labels, then its results; equal tables give equal bytes."""
    if merged.labels.num_rows:
        store.write(f"{study}/{LABELS}", _parquet(merged.labels))
    else:
        store.delete(f"{study}/{LABELS}")
    store.write(f"{study}/{RESULTS}", _parquet(merged.results))


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, data_page_size=_PAGE_BYTES, **_COMPRESSION)
    return sink.getvalue()
