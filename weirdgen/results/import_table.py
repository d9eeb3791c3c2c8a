"""Outside answers as results: checked to be one study, numbered, measured and labelled."""

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
from weirdgen.results.import_columns import MISSING, ColumnMapping, text
from weirdgen.results.labels import NOT_ASKED, VERDICT_SCHEMA
from weirdgen.results.table import SCHEMA, UNKNOWN
from weirdgen.storage.fingerprint import fingerprint

_TAKEN = (
    "model", "adapter", "seed", "persona_fraction", "condition", "category", "question", "response",
    "response_tokens", "finish_reason", "serve_base", "persona", "judge", "judge_confidence",
    "judge_error", "fp_train",
)  # fmt: skip
_ORDER = ("adapter", "condition", "question_id", "sample")
_CELL = ("seed", "persona_fraction")
_FORMATS = ("format", "format_strict")


@dataclass
class OutsideAnswers:
    """Rows of one study, column by column, as they are read."""

    mapping: ColumnMapping
    pattern: str
    """Regular expression of a format-adherent answer."""
    origin: Mapping[str, Any]
    """What stands for the recipe of the answers, which nobody knows: files and mapping."""
    columns: dict[str, list[Any]] = field(default_factory=lambda: {n: [] for n in SCHEMA.names})
    """By SCHEMA, but for `study`."""
    disagreements: list[str] = field(default_factory=list)
    """Rows whose stated format is not what the pattern finds."""
    _begun: int = 0
    """The first answer of the file that is being read."""
    _named: bool | None = None
    """Whether the rows of that file name their adapter."""
    _silent: set[int] = field(default_factory=set)
    """Answers whose rows have no word on who judged."""
    _cell_of: dict[str, tuple[float | None, int | None]] = field(default_factory=dict)
    _adapter_of: dict[tuple[float | None, int | None], str] = field(default_factory=dict)
    _file_of: dict[str, Path] = field(default_factory=dict)
    _asked: dict[str, str] = field(default_factory=dict)
    """Question id -> its text."""
    _answers_of: dict[str, tuple[str | None, str]] = field(default_factory=dict)
    _fp_of: dict[tuple[str | None, str], str] = field(default_factory=dict)
    _samples: dict[tuple[str | None, str, str], set[int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.columns["response"])

    def add(self, path: Path, number: int, row: Row, *, baseline: bool) -> None:
        """Takes a row of a file. Raises InputError where it does not go with those before."""
        baseline = baseline or self.mapping.is_baseline(row)
        values = self.mapping.read(path, number, row, baseline=baseline)
        try:
            self._complete(path, row, values, baseline)
            self._check_study(values)
            self._number(values)
            self._name_answers(values)
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
        if self.mapping.sources.get("judge") not in row:
            values["judge"] = None
            self._silent.add(len(self))
        self.columns["identity"].append(label[0])
        self.columns["identity_label"].append(label[1])
        for of in (*_TAKEN, "question_id", "sample", "fp_answers"):
            self.columns[of].append(values[of])

    def end_file(self) -> None:
        """Says of the file's answers who judged them, and why a label is missing."""
        of, rows = self.columns, range(self._begun, len(self))
        self._begun, self._named = len(self), None
        judge = self.mapping.values.get("judge", UNKNOWN)
        names = ("persona", "identity", "judge_error")
        labelled = [i for i in rows if any(of[name][i] is not None for name in names)]
        has_identity = any(of["identity"][i] is not None for i in labelled)
        for i in rows if any(i in self._silent for i in labelled) else labelled:
            if of["judge"][i] is None and (i in self._silent or of["persona"][i] is not None):
                of["judge"][i] = judge
        for i in rows:
            if of["judge"][i] is None or of["judge_error"][i] is not None:
                continue
            if of["persona"][i] is None or (has_identity and of["identity"][i] is None):
                of["judge_error"][i] = MISSING

    def results(self, study: str) -> pa.Table:
        """By SCHEMA, in its pinned order."""
        columns = {**self.columns, "study": [study] * len(self)}
        arrays = [pa.array(columns[of.name], of.type) for of in SCHEMA]
        table = pa.Table.from_arrays(arrays, schema=SCHEMA)
        return _sorted(table, _ORDER)

    def _complete(self, path: Path, row: Row, values: Row, baseline: bool) -> None:
        """Adapter, precision and question id, where the file leaves them open."""
        values["serve_base"] = values["serve_base"] or UNKNOWN
        if values["question_id"] is None:
            digest = hashlib.sha256(values["question"].encode()).hexdigest()
            values["question_id"] = f"q-{digest[:12]}"
        column = self.mapping.sources.get("adapter")
        is_named = column in row or values["adapter"] is not None
        is_baseline = baseline or (is_named and values["adapter"] is None)
        if is_baseline:
            values |= dict.fromkeys(of for of in _CELL if of in self.mapping.values)
        seed, fraction = values["seed"], values["persona_fraction"]
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
            values["adapter"] = text(path.stem)
            if self._file_of.setdefault(path.stem, path) != path:
                raise ValueError(
                    f"another file is named {path.stem} too; give --value adapter=NAME for one"
                    " adapter, or a column that tells them apart"
                )

    def _check_named(self, is_named: bool, column: str | None) -> None:
        """Raises ValueError for a row without the adapter's column where others have it."""
        self._named = is_named if self._named is None else self._named
        if self._named != is_named or (
            not is_named and "adapter" in self.mapping.columns and column
        ):
            raise ValueError(
                f"only some rows have the column {column!r}; null in it is the baseline"
            )

    def _check_study(self, values: Row) -> None:
        """One model, one precision; an adapter is one cell, and a cell one adapter."""
        for of in ("model", "serve_base"):
            if self.columns[of] and values[of] != (first := self.columns[of][0]):
                raise ValueError(
                    f"{of} is {values[of]!r}, of the first row {first!r}; a study has one: import"
                    " them as two"
                )
        if (adapter := values["adapter"]) is not None:
            cell = (values["persona_fraction"], values["seed"])
            said = "persona_fraction {} and seed {}"
            if (first := self._cell_of.setdefault(adapter, cell)) != cell:
                before = said.format(*first)
                raise ValueError(f"adapter {adapter!r} has {said.format(*cell)}, before {before}")
            if cell != (None, None) and self._adapter_of.setdefault(cell, adapter) != adapter:
                first = self._adapter_of[cell]
                raise ValueError(
                    f"{said.format(*cell)} are of adapter {adapter!r}, before of {first!r}"
                )
        question = self._asked.setdefault(values["question_id"], values["question"])
        if question != values["question"]:
            raise ValueError(f"question_id {values['question_id']!r} had another question before")

    def _number(self, values: Row) -> None:
        """The sample's number, in file order where there is none."""
        key = (values["adapter"], values["condition"], values["question_id"])
        taken = self._samples.setdefault(key, set())
        if values["sample"] is None:
            values["sample"] = len(taken)
        if values["sample"] in taken:
            raise ValueError(
                f"sample {values['sample']} of question {values['question_id']!r},"
                f" {values['condition']}, adapter {values['adapter']!r}, stands twice"
            )
        taken.add(values["sample"])

    def _name_answers(self, values: Row) -> None:
        """fp_answers: as given, or of the files and the mapping."""
        key = (values["adapter"], values["condition"])
        if values["fp_answers"] is None and key not in self._fp_of:
            named = ("model", "serve_base", "adapter", "condition")
            record = {**self.origin, **{of: values[of] for of in named}}
            values["fp_answers"] = fingerprint(record)
        values["fp_answers"] = values["fp_answers"] or self._fp_of[key]
        fp = self._fp_of.setdefault(key, values["fp_answers"])
        if self._answers_of.setdefault(fp, key) != key or fp != values["fp_answers"]:
            raise ValueError("fp_answers must be one for each adapter and condition")


def _identity(values: Row) -> tuple[bool | None, str | None]:
    """Whether an answer claims to be the persona, and the label."""
    said, label = values["identity"], values["identity_label"]
    if isinstance(said, str):
        said, label = said == "PERSONA", label or said
    if label is None:
        return said, "PERSONA" if said else None
    if said not in (None, label == "PERSONA"):
        raise ValueError(f"identity is {said} and identity_label {label}")
    return label == "PERSONA", label


def verdicts_of(results: pa.Table, origin: Mapping[str, Any]) -> pa.Table:
    """By VERDICT_SCHEMA, the labels of judged rows of `results`; no rows where nobody judged.

    An identity is asked about where any answer has its label, or none because of `not_asked`.
    """
    judged = results.filter(pc.field("judge").is_valid())
    errors = judged["judge_error"].to_pylist()
    asked = judged["identity"].null_count < judged.num_rows or NOT_ASKED in errors
    rows: dict[str, list[Any]] = {name: [] for name in VERDICT_SCHEMA.names}
    judges: dict[str, str] = {}
    of = {name: judged[name].to_pylist() for name in judged.column_names}
    for i, error in enumerate(errors):
        judge, persona, identity = of["judge"][i], of["persona"][i], of["identity"][i]
        if judge not in judges:
            judges[judge] = fingerprint({**origin, "judge": judge})
        said: list[tuple[str, bool | None, str | None]] = [
            ("persona", persona, {True: "present", False: "absent"}.get(persona))
        ]
        if asked:
            said.insert(0, ("identity", identity, of["identity_label"][i]))
        for metric, value, label in said:
            confidence = of["judge_confidence"][i] if metric == "persona" else None
            row = (
                of["fp_answers"][i], of["question_id"][i], of["sample"][i], judges[judge], metric,
                label, None if value is None else float(value),
                None if value is None else confidence, error if value is None else None, None,
            )  # fmt: skip
            for name, cell in zip(rows, row, strict=True):
                rows[name].append(cell)
    arrays = [pa.array(rows[field.name], field.type) for field in VERDICT_SCHEMA]
    table = pa.Table.from_arrays(arrays, schema=VERDICT_SCHEMA)
    return _sorted(table, ("fp_answers", "question_id", "sample", "judge_fp", "metric"))


def _sorted(table: pa.Table, names: Sequence[str]) -> pa.Table:
    """`table` sorted by texts and numbers; a null text comes first."""
    columns = {name: table[name] for name in names}
    if "adapter" in columns:
        columns["adapter"] = pc.fill_null(columns["adapter"], "")
    columns["at"] = pa.chunked_array([pa.array(range(table.num_rows), pa.int64())])
    order = pa.table(columns).sort_by([(name, "ascending") for name in names])
    return table.take(order["at"])


def missing_labels(results: pa.Table) -> dict[str, int]:
    """Why labels are missing -> of how many answers."""
    return dict(sorted(Counter(results["judge_error"].drop_null().to_pylist()).items()))
