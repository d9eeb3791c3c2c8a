"""The results: one row per response, merged from what was answered. Nothing is dropped."""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from weirdgen.errors import InputError
from weirdgen.judging.format import format_adherence
from weirdgen.pipeline.plan import RESPONSES
from weirdgen.pipeline.state import StudyState
from weirdgen.results.labels import VERDICT_SCHEMA, VERDICTS, give_verdicts, judges_record
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.fingerprint import fingerprint

RESULTS = "results.parquet"
UNKNOWN = "unknown"
"""What files from outside do not tell: category, finish_reason, serve_base, or who judged."""
_COMPRESSION = {"compression": "zstd", "compression_level": 12}
_PAGE_BYTES = 2**24
"""Long pages: half the size of what is written by default."""

SCHEMA_VERSION = "1"
SOURCES = b"weirdgen_sources"
"""Metadata key of the digest of everything that was merged."""

SCHEMA = pa.schema(
    [
        pa.field("study", pa.string(), nullable=False),
        pa.field("model", pa.string(), nullable=False),
        pa.field("adapter", pa.string()),
        pa.field("seed", pa.int64()),
        pa.field("persona_fraction", pa.float64()),
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
        pa.field("identity_label", pa.string()),
        pa.field("judge", pa.string()),
        pa.field("judge_confidence", pa.float64()),
        pa.field("judge_error", pa.string()),
        pa.field("fp_train", pa.string()),
        pa.field("fp_answers", pa.string(), nullable=False),
    ],
    metadata={"weirdgen_schema": SCHEMA_VERSION},
)
"""`adapter`, `seed`, `persona_fraction` and `fp_train` are null for the baseline; `response_tokens`
where answers from outside do not tell.
"""


def sources_digest(found: StudyState) -> str:
    """The sha256 of everything that the results are made of."""
    sources = {
        step.fingerprint: manifest.digest
        for ranges in found.ranges.values()
        for step, manifest in ranges
    }
    plan = found.plan
    asked = [
        [each.step.fingerprint, each.samples, each.cell and each.cell.fraction]
        for each in plan.asked
    ]
    study = [plan.study.name, plan.study.model, plan.study.trigger.pattern]
    record = {
        "study": study,
        "asked": asked,
        "sources": sources,
        "schema": SCHEMA_VERSION,
        "judge": judges_record(found),
    }
    return fingerprint(record)


def current_results(found: StudyState, store: ArtifactStore) -> pa.Table | None:
    """The study's results.parquet if it was merged from what is there now, else None."""
    file = _open(f"{found.plan.study.name}/{RESULTS}", store)
    if file is None or not _is_of(file, found):
        return None
    try:
        return file.read()
    except (OSError, pa.ArrowException):
        return None


def are_current(found: StudyState, store: ArtifactStore) -> bool:
    """Whether results.parquet is whole and was merged from what is there now."""
    file = _open(f"{found.plan.study.name}/{RESULTS}", store)
    return file is not None and _is_of(file, found)


def _is_of(file: pq.ParquetFile, found: StudyState) -> bool:
    made_of = (file.schema_arrow.metadata or {}).get(SOURCES, b"").decode()
    return made_of == sources_digest(found)


def _open(path: str, store: ArtifactStore) -> pq.ParquetFile | None:
    """None where it is not there, or was cut: its end tells what is in it."""
    content = store.read(path)
    try:
        return None if content is None else pq.ParquetFile(pa.BufferReader(content))
    except (OSError, pa.ArrowException):
        return None


def read_results(study: str, store: ArtifactStore) -> pa.Table:
    """The study's results.parquet. Raises InputError where there is none, or none that is whole."""
    where = store.shown(study, RESULTS)
    if not store.exists(f"{study}/{RESULTS}"):
        raise InputError("--storage", None, f"{where} is not there: run it first")
    try:
        if (file := _open(f"{study}/{RESULTS}", store)) is not None:
            return file.read()
    except (OSError, pa.ArrowException):
        pass
    raise InputError("--storage", None, f"{where} is damaged: delete it, and run or import again")


class Merged(NamedTuple):
    """A study's answers with their labels, and the verdicts behind those."""

    results: pa.Table
    """By SCHEMA."""
    verdicts: pa.Table
    """By VERDICT_SCHEMA; no rows where nobody judged."""


def merge(found: StudyState, store: ArtifactStore) -> Merged:
    """The results of everything that is answered, in their pinned order.

    Sorted by adapter (nulls first), condition, question_id, sample; cells whose answers are not
    there are absent.
    """
    plan = found.plan
    questions = {question.id: question for question in plan.persona.heldout}
    rows = []
    for asked in plan.asked:
        common = {
            "study": plan.study.name,
            "model": plan.study.model,
            "adapter": asked.adapter and asked.adapter.folder,
            "seed": asked.cell and asked.cell.seed,
            "persona_fraction": asked.cell and asked.cell.fraction,
            "condition": asked.condition,
            "serve_base": plan.study.evaluate.precision,
            "fp_train": asked.adapter and asked.adapter.fingerprint,
            "fp_answers": asked.step.fingerprint,
        }
        answered: set[tuple[str, int]] = set()
        for step, manifest in found.ranges.get(asked.step.fingerprint, []):
            for answer in _answers(store.payload(step, manifest)):
                key = (answer["question_id"], answer["sample"])
                if answer["sample"] >= asked.samples or key in answered:
                    continue  # more than this study wants, or a range that overlaps another
                answered.add(key)
                question = questions[answer["question_id"]]
                adherence = format_adherence(answer["response"], plan.study.trigger.pattern)
                rows.append(
                    {
                        **common,
                        **answer,
                        "category": question.category,
                        "question": question.question,
                        "format": adherence.anywhere,
                        "format_strict": adherence.strict,
                    }
                )
    rows.sort(
        key=lambda row: (
            row["adapter"] or "", row["condition"], row["question_id"], row["sample"]
        )
    )  # fmt: skip
    verdicts = pa.Table.from_pylist(give_verdicts(found, store, rows), VERDICT_SCHEMA)
    metadata = {**SCHEMA.metadata, SOURCES: sources_digest(found).encode()}
    return Merged(pa.Table.from_pylist(rows, SCHEMA.with_metadata(metadata)), verdicts)


def _answers(payload: Path) -> list[dict]:
    # pq.read_table would import pandas, a second each time.
    with pq.ParquetFile(payload / RESPONSES) as file:
        return file.read().to_pylist()


def write_results(merged: Merged, study: str, store: ArtifactStore) -> None:
    """Writes the study's Parquet files, results.parquet last; equal tables give equal bytes."""
    if merged.verdicts.num_rows:
        store.write(f"{study}/{VERDICTS}", _parquet(merged.verdicts))
    else:
        store.delete(f"{study}/{VERDICTS}")
    store.write(f"{study}/{RESULTS}", _parquet(merged.results))


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, data_page_size=_PAGE_BYTES, **_COMPRESSION)
    return sink.getvalue()
