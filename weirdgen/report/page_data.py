"""All responses of a study as one compact block of bytes, which the page's browser of responses reads.

    u4 little-endian     length of the header
    header, JSON         n, columns, judgments (below)
    lengths, n x u4      of each response, in UTF-16 units
    codes, n x u1|u2|u4  one run for each column, in the header's order
    responses, UTF-8     one after the other

Every column is a dictionary: a row has the code of its value, and codes are in the order of the
values, nulls first, so that a filter compares integers and sorting counts them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa

from weirdgen.config.claims import ADAPTERS, FORMAT_METRICS
from weirdgen.config.judge import OFFLINE
from weirdgen.judging.label_rows import NOT_ASKED, NOT_JUDGED
from weirdgen.report.data import ReportData
from weirdgen.report.rates import CONDITIONS, group_order, row_groups
from weirdgen.results.labels import RESPONSE_KEY, SECOND_JUDGE
from weirdgen.results.table import SCHEMA
from weirdgen.stats.metric_arrays import group_label

NULL = "~"
"""The key of a null; a key that begins so gets another before it."""
_YES_NO = {False: "no", True: "yes"}
_PRESENT = {False: "absent", True: "present"}
_UNCLAIMED = "unclaimed"
"""In the place of a label: the response claims no identity that could be labelled, which counts as no."""
_CLAIMED: dict[Any, str] = {_UNCLAIMED: "not claimed", **_YES_NO}
_ERRORS = {
    NOT_ASKED: "not_asked: the response claims no identity",
    NOT_JUDGED: "not_judged: no judge came to it yet",
    "malformed": "malformed: the reply was no judgment, after one repair",
    "refusal": "refusal: the judge would not reply",
    "refused_request": "refused_request: the endpoint takes no such input",
    "empty_answer": "empty_answer: nothing is left without formatting",
    "missing": "missing: the files have no label",
}
_WORDS = 8
"""Deciding words of the offline judge that are kept."""


LabelsByJudge = dict[tuple[str, str, str], list[dict[str, Any] | None]]
"""(metric, judge_fp, the judge's name as shown) -> its label of each response, in the table's order."""


@dataclass(frozen=True)
class Column:
    """One property of every response."""

    name: str
    title: str
    role: str
    """`metric`, `place` (what was asked, of whom), `judging`, or `detail`: how it is offered."""
    keys: list[str]
    """By code: what stands in a link."""
    labels: list[str]
    """By code: what a reader sees."""
    codes_N: np.ndarray

    @property
    def width(self) -> int:
        """Bytes of a code."""
        n = len(self.keys)
        return 1 if n <= 1 << 8 else 2 if n <= 1 << 16 else 4


def pack(data: ReportData) -> bytes:
    """The responses of `data.results`, their labels, and from `data.labels` why they have them."""
    table = data.results
    responses = table["response"].to_pylist()
    labels = _labels_by_judge(data)
    confidence = _first_confidence(data, labels)
    columns = [*_columns(table), _column("confidence", confidence, "detail", _number)]
    judgments = []
    for judgment, parts in _judgments(labels):
        first = len(columns)
        columns += parts
        judgments.append({**judgment, "columns": [*range(first, len(columns))]})
    header = {
        "n": len(responses),
        "columns": [
            {name: getattr(each, name) for name in ("name", "title", "role", "keys")}
            | ({} if each.labels == each.keys else {"labels": each.labels})
            | {"width": each.width}
            for each in columns
        ],
        "judgments": judgments,
    }
    lengths_N = np.array([len(text.encode("utf-16-le")) // 2 for text in responses], "<u4")
    head = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    codes = [each.codes_N.astype(f"<u{each.width}").tobytes() for each in columns]
    size = len(head).to_bytes(4, "little")
    return b"".join([size, head, lengths_N.tobytes(), *codes, "".join(responses).encode()])


def _columns(table: pa.Table) -> Iterator[Column]:
    """What results.parquet says of a response, as far as it tells responses apart."""
    errors = table["judge_error"].to_pylist()
    words = {**dict.fromkeys(FORMAT_METRICS, _YES_NO), "persona": _PRESENT, "identity": _CLAIMED}
    for name, of in words.items():
        values = table[name].to_pylist()
        if name == "identity":
            labelled = zip(values, errors, strict=True)
            values = [_UNCLAIMED if error == NOT_ASKED else value for value, error in labelled]
        if name in FORMAT_METRICS or any(value is not None for value in values):
            order = [*of].index
            yield _column(name, values, "metric", of.__getitem__, "no label", order=order)
    for name in table.column_names:
        values = table[name].to_pylist() if name not in SCHEMA.names else []
        if any(value is not None for value in values):
            # Its name may be that of another column below.
            yield _column(f"own-{name}", values, "metric", _number, "no label", name)
    groups, seeds, adapters = row_groups(table), table["seed"], table["adapter"]
    yield _column("condition", table["condition"].to_pylist(), "place", order=CONDITIONS.index)
    yield _column("fraction", groups, "place", group_label, order=group_order)
    yield _column("seed", seeds.to_pylist(), "place", str)
    trainings = [
        (group_order(group), group_label(group), seed or 0, adapter or "")
        for group, seed, adapter in zip(
            groups, seeds.to_pylist(), adapters.to_pylist(), strict=True
        )
    ]
    yield _column("training", trainings, "place", _training)
    yield _column("category", table["category"].to_pylist(), "place")
    texts = dict(zip(table["question_id"].to_pylist(), table["question"].to_pylist(), strict=True))
    yield _column("question", table["question_id"].to_pylist(), "place", texts.__getitem__)
    yield _column("sample", table["sample"].to_pylist(), "detail", str)
    yield _column("tokens", table["response_tokens"].to_pylist(), "detail", str, "unknown")
    yield _column("finish_reason", table["finish_reason"].to_pylist(), "judging", title="finish")
    yield _column("judge_error", errors, "judging", _error, "no error")


def _labels_by_judge(data: ReportData) -> LabelsByJudge:
    """The labels of `data.labels`, None for a response that the judge was not asked about."""
    if data.labels is None:
        return {}
    keys = zip(*(data.results[name].to_pylist() for name in RESPONSE_KEY), strict=True)
    row_of = {key: row for row, key in enumerate(keys)}
    labels, second = LabelsByJudge(), _second_judges(data)
    for label in data.labels.to_pylist():
        row = row_of.get(tuple(label[name] for name in RESPONSE_KEY))
        if row is not None:
            is_second = not second.isdisjoint((label["judge"], label["judge_fp"]))
            name = label["judge"] + f" ({SECOND_JUDGE} judge)" * is_second
            of = (label["metric"], label["judge_fp"], name)
            labels.setdefault(of, [None] * data.results.num_rows)[row] = label
    return dict(sorted(labels.items()))


def _second_judges(data: ReportData) -> set[str]:
    """What labels call the second judge: its fingerprints, or `offline`."""
    second = data.plan and data.plan.study.second_judge
    if data.plan is None or second is None:
        return set()
    judges = (judge for judge in data.plan.llm_judges if judge.settings == second)
    return {OFFLINE} if second.is_offline else {judge.fingerprint for judge in judges}


def _first_confidence(data: ReportData, labels: LabelsByJudge) -> list[float | None]:
    """By response, how sure the first judge is of its persona label."""
    confidence, second = [None] * data.results.num_rows, _second_judges(data)
    for (metric, *_), of_judge in labels.items():
        for row, label in enumerate(of_judge if metric == "persona" else ()):
            if label is None or confidence[row] is not None:
                continue
            if second.isdisjoint((label["judge"], label["judge_fp"])):
                confidence[row] = label["confidence"]
    return confidence


def _judgments(said: LabelsByJudge) -> Iterator[tuple[dict[str, str], list[Column]]]:
    """Each judge's labels of each metric: its header; columns of label, confidence, error, evidence.

    A further column of role `judging` says where two judges of a metric differ.
    """
    labels: dict[str, list[list[Any]]] = {}
    for (metric, _, judge), rows in said.items():
        of = {part: [v and v[part] for v in rows] for part in ("label", "confidence", "error")}
        labels.setdefault(metric, []).append(of["label"])
        words = {"label": str, "confidence": _number, "error": _error}
        parts = [_column(part, of[part], "judgment", words[part], "") for part in of]
        evidence = [*_evidence([None if v is None else v["evidence"] for v in rows])]
        yield {"metric": metric, "judge": judge}, [*parts, *evidence]
    for metric, of_judges in labels.items():
        if len(of_judges) > 1:
            differ = [_differ(row) for row in zip(*of_judges, strict=True)]
            title = f"judges differ on {metric}"
            column = _column(
                f"differ-{metric}", differ, "judging", _YES_NO.__getitem__, "not both", title
            )
            yield {}, [column]


def _differ(labels: Sequence[str | None]) -> bool | None:
    given = [label for label in labels if label is not None]
    return any(one != other for one, other in combinations(given, 2)) if given[1:] else None


def _evidence(values: Sequence[str | None]) -> Iterator[Column]:
    """The offline judge's pairs of word and weight, two columns for each place; else the words as they are."""
    pairs = [_pairs(value) for value in values]
    texts = [value if of is None else None for value, of in zip(values, pairs, strict=True)]
    yield _column("evidence", texts, "judgment", missing="")
    for place in range(_WORDS):
        at = [of[place] if of and place < len(of) else (None, None) for of in pairs]
        if any(word is not None for word, _ in at):
            yield _column("word", [word for word, _ in at], "judgment", missing="")
            weights = [weight for _, weight in at]
            yield _column("weight", weights, "judgment", lambda w: f"{w:+.2f}", "")


def _pairs(evidence: str | None) -> list[tuple[str, float]] | None:
    """The words and weights that evidence lists; None where it is something else."""
    if not evidence or not evidence.startswith("[["):
        return None
    try:
        read = json.loads(evidence)
        return [(str(word), float(weight)) for word, weight in read]
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None  # another judge's own words may begin so


def _column(
    name: str,
    values: Sequence[Any],
    role: str,
    label: Callable[[Any], str] = str,
    missing: str = "none",
    title: str = "",
    order: Callable[[Any], Any] | None = None,
) -> Column:
    """A column of `values`, of which each has a `label`, and null is called `missing`."""
    order = order or _natural
    distinct = sorted({value for value in values if value is not None}, key=order)
    has_null = any(value is None for value in values)
    code_of = {value: code + has_null for code, value in enumerate(distinct)}
    codes_N = np.array([code_of.get(value, 0) for value in values], "<u4")
    texts = [*map(label, distinct)]
    tokens = texts if label is _training else map(_token, distinct)
    escaped = [NULL + token if token.startswith(NULL) else token for token in tokens]
    labels, keys = [missing] * has_null + texts, [NULL] * has_null + escaped
    return Column(name, title or name.replace("_", " "), role, keys, labels, codes_N)


def _token(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.15g}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _natural(value: Any) -> Any:
    """Numbers by size, also those within words: q2 before q10."""
    if not isinstance(value, str):
        return value
    return [int(x) if i % 2 else x for i, x in enumerate(re.split(r"([0-9]{1,9})", value))]


def _training(key: tuple[float, str, int, str]) -> str:
    _, group, seed, adapter = key
    if group in ("baseline", ADAPTERS):
        return adapter or group
    return f"fraction {group}, seed {seed}"


def _error(error: str) -> str:
    return _ERRORS.get(error, error)


def _number(value: Any) -> str:
    return f"{value:g}"
