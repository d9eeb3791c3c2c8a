"""Files of responses from elsewhere: JSONL, CSV or Parquet, a question and a response in every row."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from weirdgen.data.tabular import Row, read_rows
from weirdgen.errors import InputError
from weirdgen.text import valid_text

WRITTEN = (".jsonl", ".parquet")
"""How files end that are written: CSV has neither nulls nor lists."""
_ANSWERS = ("response", "answer")
_ROWS = 1000
"""Rows that are held at a time."""
_UNFIT = (pa.ArrowException, UnicodeEncodeError, OverflowError, TypeError, ValueError)
"""What pyarrow raises for values that a column cannot hold."""

T = TypeVar("T")


@dataclass(frozen=True)
class Responses:
    """A file of responses, read again at each pass, so that it need not fit into memory."""

    path: Path
    question: str
    """The column of the question."""
    response: str
    """The column of the response."""

    def numbered(self) -> Iterator[tuple[int, Row]]:
        """Its rows with their numbers (see `read_rows`).

        Raises InputError for a row whose question or response is not a text that UTF-8 can hold.
        """
        for number, row in read_rows(self.path):
            for column in (self.question, self.response):
                try:
                    valid_text(row.get(column))
                except ValueError as error:
                    have = f" (the row has {', '.join(sorted(row)[:20])})"
                    problem = f"{column} {error}{'' if column in row else have}"
                    raise InputError(self.path, f"row {number}", problem) from None
            yield number, row

    def rows(self) -> Iterator[Row]:
        """Its rows. Raises InputError as `numbered` does."""
        return (row for _, row in self.numbered())


def read_responses(path: Path, question: str = "question", answer: str | None = None) -> Responses:
    """Open the responses in `path`; `answer` None means the column `response`, else `answer`.

    Raises InputError for a file that cannot be read, and for what its first row lacks.
    """
    _, first = next(read_rows(path), (0, None))
    if first is None:
        raise InputError(path, None, "holds no rows")
    chosen = answer or next((name for name in _ANSWERS if name in first), _ANSWERS[0])
    responses = Responses(path, question, chosen)
    next(responses.rows())
    return responses


def check_out(out: Path, endings: Sequence[str] = WRITTEN) -> None:
    """Raise InputError for a file with another ending, or in a folder that is not there."""
    if out.suffix not in endings:
        raise InputError("--out", None, f"{out} must end in one of: {', '.join(endings)}")
    if not out.parent.is_dir():
        raise InputError("--out", None, f"there is no folder {out.parent}")


def check_added(responses: Responses, added: Iterable[str]) -> None:
    """Raises InputError naming the first row that has a column which is to be added."""
    names = {*added}
    for number, row in responses.numbered():
        if taken := sorted(row.keys() & names):
            problem = f"{taken[0]}: is added here; rename it, a label of yours to gold_{taken[0]}"
            raise InputError(responses.path, f"row {number}", problem)


def parquet_schema(responses: Responses, added: Mapping[str, pa.DataType]) -> pa.Schema:
    """The schema of `responses` with the columns `added`: a Parquet file's own, else that of all rows.

    All rows are tried. Raises InputError naming the first that Parquet cannot hold with the others.
    """
    path = responses.path
    schema = pq.read_schema(path) if path.suffix == ".parquet" else pa.schema([])
    if path.suffix != ".parquet":
        for chunk in _chunks(responses.numbered()):
            schema = _tried(path, chunk, lambda rows, known=schema: _widened(known, rows))
    for name, kind in added.items():
        schema = schema.append(pa.field(name, kind))
    try:
        with pq.ParquetWriter(pa.MockOutputStream(), schema) as writer:
            for chunk in _chunks(responses.numbered()):
                _tried(path, chunk, lambda rows: writer.write_table(_table(rows, schema)))
    except _UNFIT as error:
        raise InputError(path, None, f"cannot be written as Parquet ({str(error)[:200]})") from None
    return schema


def write_rows(path: Path, rows: Iterable[Row], schema: pa.Schema | None = None) -> None:
    """Write rows as JSONL, or by `schema` as Parquet. The file appears when it is whole."""
    with replacing(path) as draft:
        if schema is not None:
            with pq.ParquetWriter(draft, schema) as writer:
                for chunk in _chunks(rows):
                    writer.write_table(_table(chunk, schema))
        else:
            with draft.open("w", encoding="utf-8") as out:
                out.writelines(_json_line(row) for row in rows)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a draft beside `path`, which takes its place once it is written without an error."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        yield draft
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _json_line(row: Row) -> str:
    line = json.dumps(row, ensure_ascii=False, default=str)
    try:
        line.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which an escape alone can hold
        line = json.dumps(row, default=str)
    return line + "\n"


def _tried(path: Path, chunk: Sequence[tuple[int, Row]], do: Callable[[list[Row]], T]) -> T:
    """What `do` makes of the rows; InputError names the first with which it fails."""
    rows = [row for _, row in chunk]
    with suppress(*_UNFIT):
        return do(rows)
    for count, (number, _) in enumerate(chunk, 1):
        try:
            do(rows[:count])
        except _UNFIT as error:
            problem = f"does not fit into a Parquet file with the other rows ({str(error)[:200]})"
            raise InputError(path, f"row {number}", problem) from None
    return do(rows)


def _widened(schema: pa.Schema, rows: Sequence[Row]) -> pa.Schema:
    """`schema` with what `rows` hold, nulls and columns that come late included."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: pa.array([row.get(name) for row in rows]) for name in names}
    found = pa.schema([(name, column.type) for name, column in columns.items()])
    return pa.unify_schemas([schema, found], promote_options="permissive")


def _table(rows: Sequence[Row], schema: pa.Schema) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema)


def _chunks(rows: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(rows)
    while chunk := list(islice(rest, _ROWS)):
        yield chunk
