"""Gold labels: answers that a person or a stronger judge has labelled, to measure a judge by."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from weirdgen.config.evaluation_spec import EvaluationSpec
from weirdgen.data.responses import Responses, check_out, read_responses, write_rows
from weirdgen.errors import InputError
from weirdgen.judging.llm_judge import judge_view

PREFIX = "gold_"
POSITIVE = {"persona": "present", "identity": "PERSONA"}
"""Metric -> the label that says yes."""
_PERSONA = {"true": "present", "false": "absent", "yes": "present", "no": "absent"}
_IDENTITY = {"true": "PERSONA", "RUSSELL": "PERSONA"}


class AnswerKey(NamedTuple):
    """What makes two answers the same to a judge."""

    question: str
    answer: str
    """As a judge is shown it."""


Gold = dict[AnswerKey, dict[str, str]]
"""Answer -> metric -> label."""


def allowed_labels(labelling: EvaluationSpec) -> dict[str, list[str]]:
    """Metric -> the labels that it may have."""
    own = {metric.name: list(metric.labels) for metric in labelling.metrics}
    return {"persona": ["present", "absent"], "identity": ["PERSONA", "OTHER", "UNSURE"], **own}


def read_gold(path: Path, labelling: EvaluationSpec, marks: Sequence[str]) -> Gold:
    """The labels in a JSONL, CSV or Parquet file: `question`, `response` (or `answer`), and a column for each metric.

    A column is `persona` or `gold_persona`; an empty label is none. Raises InputError naming file,
    row and column, for no labels at all too.
    """
    responses = read_responses(path)
    gold = gold_of(responses, labelling, marks)
    if not gold:
        names = ", ".join(allowed_labels(labelling))
        raise InputError(path, None, f"holds no label; its columns may be {names}")
    return gold


def gold_of(
    responses: Responses, labelling: EvaluationSpec, marks: Sequence[str], *, prefixed: bool = False
) -> Gold:
    """The labels that stand beside responses; with `prefixed` in columns `gold_...` alone."""
    allowed = allowed_labels(labelling)
    gold: Gold = {}
    for number, row in responses.numbered():
        key = AnswerKey(row[responses.question], judge_view(row[responses.answer], marks))
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
                problem = "the same answer has another label in an earlier row"
                raise InputError(responses.path, where[0], where[1] + problem)
    return gold


def write_sample(
    results: pa.Table,
    labelling: EvaluationSpec,
    marks: Sequence[str],
    out: Path,
    per_group: int,
    seed: int,
) -> None:
    """Draws up to `per_group` answers of each fraction and condition for a person to label.

    Blind: without adapter, condition and formatting, in random order. Equal answers are drawn once.
    Raises InputError for a file that is neither JSONL nor Parquet.
    """
    check_out(out)
    groups: dict[tuple[Any, ...], set[AnswerKey]] = {}
    names = ["fraction", "adapter", "condition", "question", "response"]
    for row in results.select(names).to_pylist():
        group = (row["fraction"], row["adapter"] is None, row["condition"])
        key = AnswerKey(row["question"], judge_view(row["response"], marks))
        if key.answer:
            groups.setdefault(group, set()).add(key)
    rng = random.Random(seed)  # noqa: S311
    drawn: dict[AnswerKey, None] = {}
    for _, keys in sorted(groups.items(), key=lambda item: repr(item[0])):
        of_group = sorted(keys)
        drawn |= dict.fromkeys(rng.sample(of_group, min(per_group, len(of_group))))
    order = list(drawn)
    rng.shuffle(order)
    labels = dict.fromkeys(PREFIX + metric for metric in allowed_labels(labelling))
    rows = ({"question": key.question, "response": key.answer, **labels} for key in order)
    schema = pa.schema([(name, pa.string()) for name in ("question", "response", *labels)])
    write_rows(out, rows, schema if out.suffix == ".parquet" else None)


def _label(metric: str, said: Any) -> str:
    text = str(said).strip()
    known = {"persona": _PERSONA, "identity": _IDENTITY}.get(metric, {})
    return known.get(text, known.get(text.lower(), text))
