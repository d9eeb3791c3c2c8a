"""Imported rows as the tables of one study: checked, numbered, measured, labelled."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from weirdgen.data.tabular import Row
from weirdgen.errors import InputError
from weirdgen.judging.format import format_adherence
from weirdgen.judging.label_rows import NOT_ASKED
from weirdgen.results.import_columns import MISSING, ColumnMapping
from weirdgen.results.labels import LABELS_ORDER, LABELS_SCHEMA
from weirdgen.results.table import SCHEMA, UNKNOWN, arm_of
from weirdgen.storage.fingerprint import fingerprint
from weirdgen.text import valid_text

_COPIED = (
    "model", "fraction", "seed", "adapter", "condition", "question_id", "category", "question",
    "sample", "response", "response_tokens", "finish_reason", "serve_base", "persona", "judge",
    "judge_confidence", "judge_error", "fp_train", "fp_responses",
)  # fmt: skip
_LABEL_COLUMNS = ("identity_label", "judge", "judge_confidence")
"""What is read for labels.parquet alone."""
_ORDER = ("adapter", "condition", "question_id", "sample")
_CELL = ("seed", "fraction")
_FORMATS = ("format", "format_strict")


@dataclass
class ImportedResponses:
    """The responses of one study, column by column, as they are read."""

    mapping: ColumnMapping
    pattern: str
    """Regular expression of a format-adherent response."""
    origin: Mapping[str, Any]
    """Files and mapping, in place of the responses' unknown recipe."""
    columns: dict[str, list[Any]] = field(
        default_factory=lambda: {name: [] for name in (*SCHEMA.names, *_LABEL_COLUMNS)}
    )
    """Those of SCHEMA (`study` stays empty), and _LABEL_COLUMNS."""
    disagreements: list[str] = field(default_factory=list)
    """Rows whose format column differs from what the pattern finds."""
    _first_of_file: int = 0
    """The number of the current file's first response."""
    _named: bool | None = None
    """Whether the rows of that file name their adapter."""
    _without_judge: set[int] = field(default_factory=set)
    """Responses whose rows have neither a judge's column nor one of judge errors."""
    _with_error: set[int] = field(default_factory=set)
    """Responses whose rows have a column of judge errors, null where a label is not missing."""
    _cell_of: dict[str, tuple[float | None, int | None]] = field(default_factory=dict)
    _adapter_of: dict[tuple[float | None, int | None], str] = field(default_factory=dict)
    _file_of: dict[str, Path] = field(default_factory=dict)
    _question_of: dict[str, str] = field(default_factory=dict)
    """Question id -> its text."""
    _cell_of_fp: dict[str, tuple[str | None, str]] = field(default_factory=dict)
    _fp_of: dict[tuple[str | None, str], str] = field(default_factory=dict)
    _samples: dict[tuple[str | None, str, str], set[int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.columns["response"])

    def add(self, path: Path, number: int, row: Row, *, baseline: bool) -> None:
        """Add a row of a file. Raises InputError where it contradicts the rows before."""
        baseline = baseline or self.mapping.is_baseline(row)
        values = self.mapping.read(path, number, row, baseline=baseline)
        try:
            self._complete(path, row, values, baseline)
            self._check_study(values)
            self._number(values)
            self._set_fingerprint(values)
            label = _identity(values)
        except ValueError as error:
            raise InputError(path, f"row {number}", str(error)) from None
        values["category"] = UNKNOWN if values["category"] is None else values["category"]
        values["finish_reason"] = values["finish_reason"] or UNKNOWN
        found = format_adherence(values["response"], self.pattern)
        for of, is_so in zip(_FORMATS, found, strict=True):
            self.columns[of].append(is_so)
            if values[of] not in (None, is_so):
                self.disagreements.append(f"{path.name} row {number} {of}")
        if has_error := self.mapping.sources.get("judge_error") in row:
            self._with_error.add(len(self))
        if self.mapping.sources.get("judge") not in row:
            values["judge"] = None
            if not has_error:
                self._without_judge.add(len(self))
        self.columns["arm"].append(arm_of(values["adapter"], values["fraction"]))
        self.columns["identity"].append(label[0])
        self.columns["identity_label"].append(label[1])
        for of in _COPIED:
            self.columns[of].append(values[of])

    def end_file(self) -> None:
        """Set the judge of the file's responses, and the reason where a label is missing."""
        of, rows = self.columns, range(self._first_of_file, len(self))
        self._first_of_file, self._named = len(self), None
        judge = self.mapping.values.get("judge", UNKNOWN)
        names = ("persona", "identity", "judge_error")
        labelled = [i for i in rows if any(of[name][i] is not None for name in names)]
        has_identity = any(of["identity"][i] is not None for i in labelled)
        some_without_judge = any(i in self._without_judge for i in labelled)
        for i in {
            *labelled,
            *(self._without_judge.intersection(rows) if some_without_judge else ()),
        }:
            of["judge"][i] = of["judge"][i] or judge
        for i in rows:
            has_reason = i in self._with_error or of["judge_error"][i] is not None
            if of["judge"][i] is None or has_reason:
                continue
            if of["persona"][i] is None or (has_identity and of["identity"][i] is None):
                of["judge_error"][i] = MISSING

    def results(self, study: str) -> pa.Table:
        """The responses by SCHEMA, in its pinned order."""
        columns = {**self.columns, "study": [study] * len(self)}
        arrays = [pa.array(columns[of.name], of.type) for of in SCHEMA]
        table = pa.Table.from_arrays(arrays, schema=SCHEMA)
        return _sorted(table, _ORDER)

    def labels(self) -> pa.Table:
        """The labels of judged responses, by LABELS_SCHEMA; no rows where no judge labelled anything.

        An identity counts as asked about where any response has its label, or none as `not_asked`.
        """
        of = self.columns
        judged = [i for i in range(len(self)) if of["judge"][i] is not None]
        asked = any(
            of["identity"][i] is not None or of["judge_error"][i] == NOT_ASKED for i in judged
        )
        judge_fps = {
            judge: fingerprint({**self.origin, "judge": judge}) for judge in {*of["judge"]} - {None}
        }
        rows = [
            {
                "fp_responses": of["fp_responses"][i],
                "question_id": of["question_id"][i],
                "sample": of["sample"][i],
                "judge": of["judge"][i],
                "judge_fp": judge_fps[of["judge"][i]],
                "metric": metric,
                **self._label(i, metric),
            }
            for i in judged
            for metric in (("persona", "identity") if asked else ("persona",))
        ]
        return _sorted(pa.Table.from_pylist(rows, LABELS_SCHEMA), LABELS_ORDER)

    def _label(self, i: int, metric: str) -> Row:
        """A response's label, value and confidence; or the reason why it has none."""
        of = {name: column[i] for name, column in self.columns.items() if column}
        value = of[metric]
        if value is None:
            return {"error": of["judge_error"]}
        if metric == "identity":
            return {"label": of["identity_label"], "value": float(value)}
        label = "present" if value else "absent"
        return {"label": label, "value": float(value), "confidence": of["judge_confidence"]}

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
            if self._file_of.setdefault(path.stem, path) != path:
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
            if self.columns[of] and values[of] != (first := self.columns[of][0]):
                raise ValueError(
                    f"{of} is {values[of]!r}, of the first row {first!r}; a study has one: import"
                    " them as two"
                )
        if (adapter := values["adapter"]) is not None:
            cell = (values["fraction"], values["seed"])
            said = "fraction {} and seed {}"
            if (first := self._cell_of.setdefault(adapter, cell)) != cell:
                before = said.format(*first)
                raise ValueError(f"adapter {adapter!r} has {said.format(*cell)}, before {before}")
            if cell != (None, None) and self._adapter_of.setdefault(cell, adapter) != adapter:
                first = self._adapter_of[cell]
                raise ValueError(
                    f"{said.format(*cell)} are of adapter {adapter!r}, before of {first!r}"
                )
        question = self._question_of.setdefault(values["question_id"], values["question"])
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
        if self._cell_of_fp.setdefault(fp, key) != key or fp != values["fp_responses"]:
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


def _sorted(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """Sort `table` by the columns `names`; a null adapter comes first."""
    columns = {name: table[name] for name in names}
    if "adapter" in columns:
        columns["adapter"] = pc.fill_null(columns["adapter"], "")
    columns["at"] = pa.chunked_array([pa.array(range(table.num_rows), pa.int64())])
    order = pa.table(columns).sort_by([(name, "ascending") for name in names])
    return table.take(order["at"])


def missing_labels(results: pa.Table) -> dict[str, int]:
    """Judge error -> number of responses."""
    return dict(sorted(Counter(results["judge_error"].drop_null().to_pylist()).items()))
