"""Responses from outside: a JSONL or Parquet file with a question and an answer in every row."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from weirdgen.errors import InputError

_ANSWERS = ("response", "answer")
_ROWS = 1000
"""Rows of Parquet that are held at a time."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Responses:
    """A file of responses, read anew at each pass so that it need not fit into memory."""

    path: Path
    question: str
    """The column of the question."""
    answer: str
    """The column of the answer."""

    def rows(self) -> Iterator[Row]:
        """Its rows. Raises InputError for a row without question or answer."""
        for number, row in enumerate(_rows(self.path), 1):
            for column in (self.question, self.answer):
                if not isinstance(row.get(column), str):
                    have = ", ".join(sorted(row)[:20])
                    problem = f"{column} must be a text (the row has {have})"
                    raise InputError(self.path, f"row {number}", problem)
            yield row


def read_responses(path: Path, question: str = "question", answer: str | None = None) -> Responses:
    """The responses in `path`; `answer` None is `response`, or `answer` where that is there.

    Raises InputError for a file that cannot be read, and for what its first row lacks.
    """
    first = next(_rows(path), None)
    if first is None:
        raise InputError(path, None, "holds no rows")
    chosen = answer or next((name for name in _ANSWERS if name in first), _ANSWERS[0])
    responses = Responses(path, question, chosen)
    next(responses.rows())
    return responses


def write_rows(path: Path, rows: Iterable[Row], schema: Mapping[str, pa.DataType]) -> None:
    """Writes rows as Parquet or JSONL, as the name says; `schema` types the columns that are added.

    The file appears when it is whole.
    """
    draft = path.with_name(f".{path.name}.draft")
    if path.suffix == ".parquet":
        _write_parquet(draft, rows, schema)
    else:
        with draft.open("w", encoding="utf-8") as out:
            for row in rows:
                out.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
    draft.replace(path)


def _write_parquet(path: Path, rows: Iterable[Row], added: Mapping[str, pa.DataType]) -> None:
    writer: pq.ParquetWriter | None = None
    try:
        for chunk in _chunks(rows):
            if writer is None:
                inferred = pa.Table.from_pylist(chunk).schema
                fields = [pa.field(f.name, added.get(f.name, f.type)) for f in inferred]
                writer = pq.ParquetWriter(path, pa.schema(fields))
            writer.write_table(pa.Table.from_pylist(chunk, writer.schema))
    finally:
        if writer is not None:
            writer.close()


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    chunk: list[Row] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _ROWS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _rows(path: Path) -> Iterator[Row]:
    if path.suffix == ".parquet":
        yield from _parquet_rows(path)
        return
    try:
        with path.open(encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _json_row(path, number, line)
    except OSError as error:
        raise InputError(path, None, f"cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise InputError(path, None, f"is not UTF-8 (byte {error.start})") from None


def _json_row(path: Path, number: int, line: str) -> Row:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise InputError(path, f"row {number}", "is not JSON") from None
    if not isinstance(row, dict):
        raise InputError(path, f"row {number}", "must be an object")
    return row


def _parquet_rows(path: Path) -> Iterator[Row]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_ROWS):
                yield from batch.to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise InputError(
            path, None, f"is no Parquet file ({' '.join(str(error).split())})"
        ) from None


def columns(responses: Responses) -> Sequence[str]:
    """The columns of the first row."""
    return list(next(responses.rows()))
