"""Read JSONL, CSV or Parquet files a row at a time, in order."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from weirdgen.data.jsonl import Row, decode_lines, jsonl_rows
from weirdgen.errors import InputError

ENDINGS = (".jsonl", ".csv", ".parquet")
_ROWS = 1000
"""Rows of Parquet that are held at a time."""
_LONGEST_CELL = 2**31 - 1
"""Characters of a CSV cell."""


def read_rows(path: Path) -> Iterator[tuple[int, Row]]:
    """The rows of `path` with their numbers: of lines in JSONL, else of rows below the header, from 1.

    CSV: commas, a header, UTF-8, quotes as in RFC 4180; every cell is a text. Raises InputError
    naming the file and the row.
    """
    read = {".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}.get(path.suffix)
    if read is None:
        raise InputError(path, None, f"must end in one of: {', '.join(ENDINGS)}")
    try:
        yield from read(path)
    except OSError as error:
        raise InputError(path, None, f"cannot be read ({error.strerror or error})") from None


def _jsonl(path: Path) -> Iterator[tuple[int, Row]]:
    with path.open("rb") as stream:
        yield from jsonl_rows(path, stream)


def _csv(path: Path) -> Iterator[tuple[int, Row]]:
    csv.field_size_limit(_LONGEST_CELL)
    number = 0
    with path.open("rb") as stream:
        cells = csv.reader(decode_lines(path, stream), strict=True)
        try:
            header = next(cells, [])
            _check_distinct(path, "header", header)
            for row in cells:
                if not row:
                    continue  # a blank line
                number += 1
                if len(row) != len(header):
                    problem = f"{len(row)} cells, the header has {len(header)}"
                    raise InputError(path, f"row {number}", problem)
                yield number, dict(zip(header, row, strict=True))
        except csv.Error as error:
            raise InputError(path, f"row {number + 1}", f"is not CSV ({error})") from None


def _check_distinct(path: Path, where: str | None, columns: Sequence[str]) -> None:
    if twice := sorted(name for name in {*columns} if name and columns.count(name) > 1):
        raise InputError(path, where, f"the column {twice[0]!r} appears twice")


def _parquet(path: Path) -> Iterator[tuple[int, Row]]:
    number = 0
    try:
        with pq.ParquetFile(path) as file:
            _check_distinct(path, None, file.schema_arrow.names)
            for batch in file.iter_batches(batch_size=_ROWS):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except FileNotFoundError:
        raise
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(path, None, f"is no readable Parquet file ({error})") from None
