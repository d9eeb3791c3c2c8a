"""Labels as table rows: what one judge says of each response, or why it says nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from weirdgen.judging.judgment import Judgment
from weirdgen.judging.llm_judge import LlmJudge

NOT_ASKED = "not_asked"
"""Why a response has no identity label: it claims none."""
NOT_JUDGED = "not_judged"
"""Why a response has no label yet: no judge came to it."""

RESPONSE_FIELDS = [
    pa.field("question_id", pa.string(), nullable=False),
    pa.field("sample", pa.int64(), nullable=False),
]
METRIC_FIELD = pa.field("metric", pa.string(), nullable=False)
LABEL_FIELDS = [
    pa.field("label", pa.string()),
    pa.field("value", pa.float64()),
    pa.field("confidence", pa.float64()),
    pa.field("error", pa.string()),
    pa.field("evidence", pa.string()),
]
RANGE_SCHEMA = pa.schema([*RESPONSE_FIELDS, METRIC_FIELD, *LABEL_FIELDS])
"""One judge's labels of one range of responses: the payload of the stage `labels`."""


def label_rows(
    judge: LlmJudge, question_id: str, sample: int, record: str | None, why: str
) -> Iterator[dict[str, Any]]:
    """Yield the rows of RANGE_SCHEMA for one response.

    `record` is its judgment (JSON), or None where there is none for the reason `why`.
    """
    key = {"question_id": question_id, "sample": sample}
    judgment = Judgment([], why) if record is None else Judgment.of(record)
    if judgment.error is None:
        for label in judgment.labels:
            value = judge.rubric.numbers[label.metric][label.label]
            yield key | label._asdict() | {"value": value}
        return
    for metric in judge.rubric.metrics.values():
        yield key | {"metric": metric, "error": judgment.error, "evidence": judgment.detail}
