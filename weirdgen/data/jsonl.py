"""JSON lines: one object on each line."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from weirdgen.errors import InputError

Row = dict[str, Any]


def decode_lines(path: object, lines: Iterable[bytes]) -> Iterator[str]:
    """Decode lines from UTF-8, each with its line feed. Raises InputError naming file and line."""
    for number, line in enumerate(lines, 1):
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise InputError(path, f"line {number}", "is not UTF-8") from None


def jsonl_rows(path: object, lines: Iterable[bytes]) -> Iterator[tuple[int, Row]]:
    """Parse lines into objects, each with its line number, from 1. Skips blank lines.

    Raises InputError naming the file (`path`) and the line.
    """
    for number, line in enumerate(decode_lines(path, lines), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = f" ({error.msg})" if isinstance(error, json.JSONDecodeError) else ""
            raise InputError(path, f"row {number}", f"is not JSON{reason}") from None
        if not isinstance(row, dict):
            raise InputError(path, f"row {number}", "must be an object")
        yield number, row


def parse_jsonl(path: object, content: bytes) -> list[Row]:
    """Parse the content of a JSON-lines file.

    Raises InputError naming the file (`path`) and the line, and for a file without rows.
    """
    rows = [row for _, row in jsonl_rows(path, io.BytesIO(content))]
    if not rows:
        raise InputError(path, None, "holds no rows")
    return rows


def to_jsonl(rows: Iterable[NamedTuple | Row]) -> bytes:
    """Write objects, or named tuples by their fields, as JSON lines."""
    objects = (row if isinstance(row, dict) else row._asdict() for row in rows)
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in objects).encode()
