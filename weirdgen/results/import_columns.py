"""How the columns of imported files are mapped to those of results.parquet, and their values read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, get_args

from weirdgen.config.claims import Condition
from weirdgen.data.tabular import Row
from weirdgen.errors import InputError
from weirdgen.judging.rubric import IDENTITIES
from weirdgen.text import valid_text

MISSING = "missing"
"""The judge error of a missing label where the file gives no reason."""
_LARGEST = 2**63 - 1
_TRUTH = {
    "true": True, "yes": True, "1": True, "1.0": True, "present": True,
    "false": False, "no": False, "0": False, "0.0": False, "absent": False,
}  # fmt: skip


def name(value: Any) -> str:
    """A text, or a whole number as one."""
    return str(value) if type(value) is int else valid_text(value)


def truth(value: Any) -> bool:
    """True or false in any of the usual spellings."""
    if isinstance(value, bool):
        return value
    said = _TRUTH.get(str(value).strip().lower())
    if said is None:
        raise ValueError(f"must be true or false, not {_short(value)}")
    return said


def whole(value: Any) -> int:
    """A whole number from 0."""
    read = None
    if type(value) is int or (type(value) is float and value.is_integer()):
        read = int(value)
    elif isinstance(value, str) and value.isascii():
        digits, _, zeros = value.strip().partition(".")
        if digits.isdigit() and len(digits) <= 19 and not zeros.strip("0"):
            read = int(digits)
    if read is None or not 0 <= read <= _LARGEST:
        raise ValueError(f"must be a whole number from 0, not {_short(value)}")
    return read


def share(value: Any) -> float:
    """A number from 0 to 1."""
    try:
        read = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        read = math.nan
    if not 0 <= read <= 1:
        raise ValueError(f"must be a number from 0 to 1, not {_short(value)}")
    return read


def identity_label(value: Any) -> str:
    """`PERSONA`, `OTHER` or `UNSURE`; the published `RUSSELL` is `PERSONA`."""
    label = "PERSONA" if value == "RUSSELL" else value
    if label not in IDENTITIES:
        raise ValueError(f"must be one of {', '.join(IDENTITIES)}, not {_short(value)}")
    return label


def identity(value: Any) -> bool | str:
    """A label, or true or false alone."""
    try:
        return identity_label(value)
    except ValueError:
        return truth(value)


def condition(value: Any) -> str:
    """`triggered`, `untriggered` or `decoy`."""
    if value not in get_args(Condition):
        known = ", ".join(get_args(Condition))
        problem = f"must be one of {known}, not {_short(value)}"
        raise ValueError(f"{problem} (--recode condition:FOUND=triggered)")
    return value


FIELDS: dict[str, Callable[[Any], Any]] = {
    "model": name, "fraction": share, "seed": whole, "adapter": name,
    "condition": condition, "question_id": name, "category": name, "question": valid_text,
    "sample": whole, "response": valid_text, "response_tokens": whole, "finish_reason": name,
    "serve_base": name, "format": truth, "format_strict": truth, "persona": truth,
    "identity": identity, "identity_label": identity_label, "judge": name, "judge_confidence": share,
    "judge_error": name, "fp_train": name, "fp_responses": name,
}  # fmt: skip
"""Field -> how its value is read. The formats are compared with what the pattern finds; `identity_label`,
`judge` and `judge_confidence` go into labels.parquet.
"""
_NEEDED = ("model", "condition", "question", "response")
CONSTANTS = (
    "model", "fraction", "seed", "adapter", "condition", "category", "finish_reason", "serve_base",
    "judge",
)  # fmt: skip
"""Fields that --value may set for all rows."""
_OF_ADAPTER = ("fraction", "seed", "adapter", "fp_train")
"""Fields that are null for the base model."""
_ANSWER = "answer"
"""Another name of the column `response`."""
_DERIVED = {"study", "arm"}
"""Columns of results.parquet that an import sets by itself."""


@dataclass(frozen=True)
class ColumnMapping:
    """How the rows of imported files are read."""

    columns: Mapping[str, str]
    """Field -> its column, where the names differ; empty where the field has none."""
    values: Mapping[str, Any]
    """Field -> its value in all rows, which wins over a column of the field's name."""
    recodes: Mapping[str, Mapping[str, str]]
    """Field -> value in the file -> value that it stands for."""
    baseline: tuple[str, str] | None = None
    """Column and value that mark the base model's rows."""

    @cached_property
    def sources(self) -> dict[str, str]:
        """Field -> the column that it is read from."""
        claimed = {*self.columns.values()}
        own = {of: of for of in FIELDS if of not in claimed and of not in self.values}
        return {of: column for of, column in {**own, **self.columns}.items() if column}

    def is_baseline(self, row: Row) -> bool:
        """Whether --baseline-where marks the row as the base model's."""
        if self.baseline is None:
            return False
        column, value = self.baseline
        found = row.get(column)
        return _as_text(found) == value

    def read(self, path: Path, number: int, row: Row, *, baseline: bool) -> Row:
        """Read every field of FIELDS, null where the row has none. An empty cell is null.

        Raises InputError naming file, row and column.
        """
        values: Row = dict.fromkeys(FIELDS) | dict(self.values)
        for of, column in self.sources.items():
            if of == "response" and column not in row and of not in self.columns:
                column = _ANSWER
            found = row.get(column)
            if of in self.recodes and found is not None:
                found = self.recodes[of].get(_as_text(found), found)
            if found is None or (found == "" and of not in ("response", "category")):
                continue
            try:
                values[of] = FIELDS[of](found)
            except ValueError as error:
                raise InputError(path, f"row {number}", f"{column}: {error}") from None
        if baseline:
            values |= dict.fromkeys(_OF_ADAPTER)
        for of in _NEEDED:
            if values[of] is None:
                problem = f"{of}: is missing; name its column with --column {of}=COLUMN"
                problem += f", or give --value {of}=..." if of in CONSTANTS else ""
                raise InputError(path, f"row {number}", problem)
        return values

    def check(self, seen: set[str]) -> None:
        """Raise InputError for a column that an option names and no row has."""
        named = {f"--column {of}": column for of, column in self.columns.items() if column}
        if self.baseline:
            named["--baseline-where"] = self.baseline[0]
        for option, column in named.items():
            if column not in seen:
                have = ", ".join(sorted(seen)[:20])
                raise InputError(option, None, f"no row has a column {column!r} (they have {have})")

    def ignored(self, seen: set[str]) -> list[str]:
        """The columns in `seen` that are not read."""
        read = {*self.sources.values(), *(self.baseline or ())[:1], *_DERIVED}
        return sorted(seen - read - ({_ANSWER} if "response" not in seen else set()))

    def record(self) -> dict[str, Any]:
        """The mapping as JSON values."""
        return {
            "columns": dict(self.columns),
            "values": dict(self.values),
            "recodes": {of: dict(meant) for of, meant in self.recodes.items()},
            "baseline_where": list(self.baseline) if self.baseline else None,
        }


def parse_mapping(
    columns: Iterable[str], values: Iterable[str], recodes: Iterable[str], baseline: str | None
) -> ColumnMapping:
    """Parse the command's options, each `FIELD=...`. Raises InputError naming the option."""
    column_of, value_of, meant = {}, {}, {}
    for option in columns:
        of, column = _split("--column", option, FIELDS)
        column_of[of] = column
    for option in values:
        of, said = _split("--value", option, CONSTANTS)
        if of in column_of:
            raise InputError("--value", of, "has a --column too; give one of the two")
        if not said:
            raise InputError("--value", of, "is empty")
        try:
            value_of[of] = FIELDS[of](said)
        except ValueError as error:
            raise InputError("--value", of, str(error)) from None
    for option in recodes:
        of, colon, rest = _encodable("--recode", option).partition(":")
        found, equals, means = rest.rpartition("=")
        if not colon or not equals or of not in FIELDS:
            raise InputError("--recode", option, "must read FIELD:FOUND=MEANT")
        meant.setdefault(of, {})[found] = means
    column, equals, value = _encodable("--baseline-where", baseline or "").partition("=")
    if baseline is not None and not (column and equals):
        raise InputError("--baseline-where", baseline, "must read COLUMN=VALUE")
    return ColumnMapping(column_of, value_of, meant, (column, value) if equals else None)


def _split(option: str, said: str, known: Iterable[str]) -> tuple[str, str]:
    of, equals, value = _encodable(option, said).partition("=")
    if not equals or of not in known:
        raise InputError(option, said, f"must read FIELD=..., of {', '.join(known)}")
    return of, value


def _encodable(option: str, said: str) -> str:
    try:
        return valid_text(said)
    except ValueError:
        raise InputError(option, None, f"{said!r} is not UTF-8") from None


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 40 else f"{shown[:37]}..."
