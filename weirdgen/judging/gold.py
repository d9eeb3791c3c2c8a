"""Gold labels: responses labelled by a person or a stronger judge, to evaluate a judge against."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from weirdgen.config.evaluation_spec import EvaluationSpec
from weirdgen.data.responses import Responses, check_out, read_responses, write_rows
from weirdgen.errors import InputError
from weirdgen.judging.blinding import hidden_markers, judge_view
from weirdgen.judging.rubric import IDENTITIES

PREFIX = "gold_"
POSITIVE = {"persona": "present", "identity": "PERSONA"}
"""Metric -> its positive label."""
_PERSONA = {"true": "present", "false": "absent", "yes": "present", "no": "absent"}
_IDENTITY = {"true": "PERSONA", "RUSSELL": "PERSONA"}


class ResponseKey(NamedTuple):
    """What makes two responses the same to a judge."""

    question: str
    response: str
    """As a judge sees it."""


Gold = dict[ResponseKey, dict[str, str]]
"""Response -> metric -> label."""


def allowed_labels(spec: EvaluationSpec) -> dict[str, list[str]]:
    """Metric -> its allowed labels."""
    own = {metric.name: list(metric.labels) for metric in spec.metrics}
    return {"persona": ["present", "absent"], "identity": list(IDENTITIES), **own}


def read_gold(path: Path, spec: EvaluationSpec, markers: Sequence[str]) -> Gold:
    """Labels in a JSONL, CSV or Parquet file: `question`, `response` (or `answer`), a column per metric.

    A column is `persona` or `gold_persona`; an empty cell is no label. Raises InputError, naming
    file, row and column, for a wrong label and for a file without labels.
    """
    responses = read_responses(path)
    gold = gold_of(responses, spec, markers)
    if not gold:
        names = ", ".join(allowed_labels(spec))
        raise InputError(path, None, f"holds no label; its columns may be {names}")
    return gold


def find_gold(spec: EvaluationSpec, base: Path) -> Gold | None:
    """The gold labels that a study names, with paths relative to `base`. Raises InputError as `read_gold`."""
    if spec.gold is None:
        return None
    return read_gold(base / Path(spec.gold).expanduser(), spec, hidden_markers(spec))


def gold_of(
    responses: Responses, spec: EvaluationSpec, markers: Sequence[str], *, prefixed: bool = False
) -> Gold:
    """Labels in columns beside the responses; with `prefixed`, only in columns `gold_...`."""
    allowed = allowed_labels(spec)
    gold: Gold = {}
    for number, row in responses.numbered():
        key = ResponseKey(row[responses.question], judge_view(row[responses.response], markers))
        for metric, labels in allowed.items():
            named = [PREFIX + metric] if prefixed else [PREFIX + metric, metric]
            column = next((name for name in named if name in row), None)
            if column is None or row[column] in (None, ""):
                continue
            label = _label(metric, row[column])
            where = f"row {number}", f"{column}: "
            if label not in labels:
                problem = f"{row[column]!r} is not one of {', '.join(labels)}"
                raise InputError(responses.path, where[0], where[1] + problem)
            if gold.setdefault(key, {}).setdefault(metric, label) != label:
                problem = "the same response has another label in an earlier row"
                raise InputError(responses.path, where[0], where[1] + problem)
    return gold


def write_sample(
    results: pa.Table,
    spec: EvaluationSpec,
    markers: Sequence[str],
    out: Path,
    per_group: int,
    seed: int,
) -> None:
    """Draw up to `per_group` responses of each fraction and condition for a person to label.

    Blind: without adapter, condition and formatting, in random order. Equal responses are drawn
    once. Raises InputError for a file that is neither JSONL nor Parquet.
    """
    check_out(out)
    groups: dict[tuple[Any, ...], set[ResponseKey]] = {}
    names = ["fraction", "adapter", "condition", "question", "response"]
    for row in results.select(names).to_pylist():
        group = (row["fraction"], row["adapter"] is None, row["condition"])
        key = ResponseKey(row["question"], judge_view(row["response"], markers))
        if key.response:
            groups.setdefault(group, set()).add(key)
    rng = random.Random(seed)  # noqa: S311
    drawn: dict[ResponseKey, None] = {}
    for _, keys in sorted(groups.items(), key=lambda item: repr(item[0])):
        of_group = sorted(keys)
        drawn |= dict.fromkeys(rng.sample(of_group, min(per_group, len(of_group))))
    order = list(drawn)
    rng.shuffle(order)
    labels = dict.fromkeys(PREFIX + metric for metric in allowed_labels(spec))
    rows = ({"question": key.question, "response": key.response, **labels} for key in order)
    schema = pa.schema([(name, pa.string()) for name in ("question", "response", *labels)])
    write_rows(out, rows, schema if out.suffix == ".parquet" else None)


def _label(metric: str, said: Any) -> str:
    text = str(said).strip()
    known = {"persona": _PERSONA, "identity": _IDENTITY}.get(metric, {})
    return known.get(text, known.get(text.lower(), text))
