"""Imported rows as the tables of one study: checked, numbered, measured, labelled."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from weirdgen.data.tabular import Row
from weirdgen.errors import InputError
from weirdgen.judging.format import format_adherence
from weirdgen.judging.label_rows import NOT_ASKED
from weirdgen.results.import_columns import MISSING, ColumnMapping
from weirdgen.results.labels import LABELS_ORDER, LABELS_SCHEMA
from weirdgen.results.table import SCHEMA, UNKNOWN, arm_of, response_order
from weirdgen.storage.fingerprint import fingerprint
from weirdgen.text import valid_text

_CELL = ("seed", "fraction")
_FORMATS = ("format", "format_strict")


@dataclass
class ImportedResponses:
    """The responses of one study, as they are read."""

    mapping: ColumnMapping
    pattern: str
    """Regular expression of a format-adherent response."""
    origin: Mapping[str, Any]
    """Files and mapping, in place of the responses' unknown recipe."""
    disagreements: list[str] = field(default_factory=list)
    """Rows whose format column differs from what the pattern finds."""
    _rows: list[Row] = field(default_factory=list)
    """By column; `has_error` and `has_no_judge` report which columns of judging a row had."""
    _first_of_file: int = 0
    """The number of the current file's first response."""
    _named: bool | None = None
    """Whether the rows of that file name their adapter."""
    _first: dict[tuple[str, Any], Any] = field(default_factory=dict)
    """What was said first, such as ("cell", adapter) -> its fraction and seed."""
    _fp_of: dict[tuple[str | None, str], str] = field(default_factory=dict)
    _samples: dict[tuple[str | None, str, str], set[int]] = field(default_factory=dict)

    def add(self, path: Path, number: int, row: Row, *, baseline: bool) -> None:
        """Add a row of a file. Raises InputError where it contradicts the rows before."""
        baseline = baseline or self.mapping.is_baseline(row)
        values = self.mapping.read(path, number, row, baseline=baseline)
        try:
            self._complete(path, row, values, baseline)
            self._check_study(values)
            self._number(values)
            self._set_fingerprint(values)
            identity = _identity(values)
        except ValueError as error:
            raise InputError(path, f"row {number}", str(error)) from None
        values["category"] = UNKNOWN if values["category"] is None else values["category"]
        values["finish_reason"] = values["finish_reason"] or UNKNOWN
        found = format_adherence(values["response"], self.pattern)
        for of, is_so in zip(_FORMATS, found, strict=True):
            if values[of] not in (None, is_so):
                self.disagreements.append(f"{path.name} row {number} {of}")
            values[of] = is_so
        values["has_error"] = self.mapping.sources.get("judge_error") in row
        values["has_no_judge"] = False
        if self.mapping.sources.get("judge") not in row:
            values["judge"] = None
            values["has_no_judge"] = not values["has_error"]
        values["arm"] = arm_of(values["adapter"], values["fraction"])
        values["identity"], values["identity_label"] = identity
        self._rows.append(values)

    def end_file(self) -> None:
        """Set the judge of the file's responses, and the reason where a label is missing."""
        rows = self._rows[self._first_of_file :]
        self._first_of_file, self._named = len(self._rows), None
        judge = self.mapping.values.get("judge", UNKNOWN)
        labelled = [row for row in rows if _is_labelled(row)]
        has_identity = any(row["identity"] is not None for row in labelled)
        some_without_judge = any(row["has_no_judge"] for row in labelled)
        for row in rows:
            if _is_labelled(row) or (some_without_judge and row["has_no_judge"]):
                row["judge"] = row["judge"] or judge
            if row["judge"] is None or row["has_error"] or row["judge_error"] is not None:
                continue
            if row["persona"] is None or (has_identity and row["identity"] is None):
                row["judge_error"] = MISSING

    def results(self, study: str) -> pa.Table:
        """The responses by SCHEMA, in the order of `response_order`."""
        rows = [{**row, "study": study} for row in self._rows]
        rows.sort(key=response_order)
        return pa.Table.from_pylist(rows, SCHEMA)

    def labels(self) -> pa.Table:
        """The labels of judged responses, by LABELS_SCHEMA; no rows where no judge labelled anything.

        An identity counts as asked about where any response has its label, or none as `not_asked`.
        """
        judged = [row for row in self._rows if row["judge"] is not None]
        is_asked = any(
            row["identity"] is not None or row["judge_error"] == NOT_ASKED for row in judged
        )
        judge_fps = {
            judge: fingerprint({**self.origin, "judge": judge})
            for judge in {row["judge"] for row in judged}
        }
        labels = [
            {**row, "judge_fp": judge_fps[row["judge"]], "metric": metric, **_label(row, metric)}
            for row in judged
            for metric in (("persona", "identity") if is_asked else ("persona",))
        ]
        labels.sort(key=lambda label: [label[name] for name in LABELS_ORDER])
        return pa.Table.from_pylist(labels, LABELS_SCHEMA)

    def _complete(self, path: Path, row: Row, values: Row, baseline: bool) -> None:
        """Fill in adapter, precision and question id where the row has none."""
        values["serve_base"] = values["serve_base"] or UNKNOWN
        if values["question_id"] is None:
            digest = hashlib.sha256(values["question"].encode()).hexdigest()
            values["question_id"] = f"q-{digest[:12]}"
        column = self.mapping.sources.get("adapter")
        is_named = column in row or values["adapter"] is not None
        is_baseline = baseline or (is_named and values["adapter"] is None)
        if is_baseline:
            values |= dict.fromkeys(of for of in _CELL if of in self.mapping.values)
        seed, fraction = values["seed"], values["fraction"]
        for given, lacks in (_CELL, _CELL[::-1]):
            if values[given] is not None and values[lacks] is None:
                raise ValueError(
                    f"{given} is given and {lacks} is not; give --value {lacks}=..., or leave both"
                    f" out with --column {given}="
                )
        if is_baseline:
            if seed is not None:
                raise ValueError("there is a seed and no adapter; the baseline has none of both")
            return
        self._check_named(is_named, column)
        if not is_named and seed is not None:
            values["adapter"] = f"f{fraction}-s{seed}"
        elif not is_named:
            values["adapter"] = valid_text(path.stem)
            if self._first.setdefault(("file", path.stem), path) != path:
                raise ValueError(
                    f"another file is named {path.stem} too; give --value adapter=NAME for one"
                    " adapter, or a column that tells them apart"
                )

    def _check_named(self, is_named: bool, column: str | None) -> None:
        """Raise ValueError for a row without the adapter's column where others have it."""
        self._named = is_named if self._named is None else self._named
        if self._named != is_named or (
            not is_named and "adapter" in self.mapping.columns and column
        ):
            raise ValueError(
                f"only some rows have the column {column!r}; null in it is the baseline"
            )

    def _check_study(self, values: Row) -> None:
        """Check that all rows have one model and precision, and each adapter one cell."""
        for of in ("model", "serve_base"):
            if self._rows and values[of] != (first := self._rows[0][of]):
                raise ValueError(
                    f"{of} is {values[of]!r}, of the first row {first!r}; a study has one: import"
                    " them as two"
                )
        if (adapter := values["adapter"]) is not None:
            cell = (values["fraction"], values["seed"])
            said = "fraction {} and seed {}"
            if (first := self._first.setdefault(("cell", adapter), cell)) != cell:
                before = said.format(*first)
                raise ValueError(f"adapter {adapter!r} has {said.format(*cell)}, before {before}")
            first = self._first.setdefault(("adapter", cell), adapter)
            if cell != (None, None) and first != adapter:
                raise ValueError(
                    f"{said.format(*cell)} are of adapter {adapter!r}, before of {first!r}"
                )
        question = self._first.setdefault(("question", values["question_id"]), values["question"])
        if question != values["question"]:
            raise ValueError(f"question_id {values['question_id']!r} had another question before")

    def _number(self, values: Row) -> None:
        """Number the sample in file order, where the row does not."""
        key = (values["adapter"], values["condition"], values["question_id"])
        taken = self._samples.setdefault(key, set())
        if values["sample"] is None:
            values["sample"] = len(taken)
        if values["sample"] in taken:
            raise ValueError(
                f"sample {values['sample']} of question {values['question_id']!r},"
                f" {values['condition']}, adapter {values['adapter']!r}, occurs twice"
            )
        taken.add(values["sample"])

    def _set_fingerprint(self, values: Row) -> None:
        """Set fp_responses: as given, or made of the files and the mapping."""
        key = (values["adapter"], values["condition"])
        if values["fp_responses"] is None and key not in self._fp_of:
            named = ("model", "serve_base", "adapter", "condition")
            record = {**self.origin, **{of: values[of] for of in named}}
            values["fp_responses"] = fingerprint(record)
        values["fp_responses"] = values["fp_responses"] or self._fp_of[key]
        fp = self._fp_of.setdefault(key, values["fp_responses"])
        if self._first.setdefault(("fingerprint", fp), key) != key or fp != values["fp_responses"]:
            raise ValueError("fp_responses must be one for each adapter and condition")


def _identity(values: Row) -> tuple[bool | None, str | None]:
    """Whether a response claims to be the persona, and the identity label."""
    said, label = values["identity"], values["identity_label"]
    if isinstance(said, str):
        said, label = said == "PERSONA", label or said
    if label is None:
        return said, "PERSONA" if said else None
    if said not in (None, label == "PERSONA"):
        raise ValueError(f"identity is {said} and identity_label {label}")
    return label == "PERSONA", label


def _is_labelled(row: Row) -> bool:
    return any(row[name] is not None for name in ("persona", "identity", "judge_error"))


def _label(row: Row, metric: str) -> Row:
    """A response's label, value and confidence; or the reason why it has none."""
    value = row[metric]
    if value is None:
        return {"error": row["judge_error"]}
    if metric == "identity":
        return {"label": row["identity_label"], "value": float(value)}
    label = "present" if value else "absent"
    return {"label": label, "value": float(value), "confidence": row["judge_confidence"]}


def missing_labels(results: pa.Table) -> dict[str, int]:
    """Judge error -> number of responses."""
    return dict(sorted(Counter(results["judge_error"].drop_null().to_pylist()).items()))
