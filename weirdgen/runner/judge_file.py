"""Judge a file of responses with the judge pool, without a study."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import ray

from weirdgen.data.responses import Responses, check_added, parquet_schema, write_rows
from weirdgen.data.tabular import Row
from weirdgen.judging.blinding import judge_view
from weirdgen.judging.gold import Gold, ResponseKey
from weirdgen.judging.judgment import JudgeItem, Judgment
from weirdgen.judging.label_rows import NOT_JUDGED
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.judging.queue import JudgmentOf, Reasons
from weirdgen.judging.rubric import PERSONA_RUBRIC
from weirdgen.results.labels import FIRST_JUDGE, SECOND_JUDGE
from weirdgen.runner.cluster import connect
from weirdgen.runner.judge_pool import JudgePool
from weirdgen.storage.artifacts import ArtifactStore

_CHUNK = 500
_TURN_S = 0.5
_SECOND = "second_"


@dataclass
class FileJudgeResult:
    """Result of judging a file."""

    unjudged: Counter[str]
    """Reason -> judgments that are missing."""
    ratings: dict[str, dict[str, dict[ResponseKey, str]]]
    """Rater -> metric -> response -> label."""


class _Chunk:
    """Some rows, for one judge."""

    def __init__(self, judge: LlmJudge, items: list[JudgeItem], reasons: Reasons) -> None:
        """`reasons` collects why items end without a judgment."""
        self.judge, self._items, self._reasons = judge, items, reasons

    def items(self) -> list[JudgeItem]:
        return self._items

    def finish(self, judgment_of: JudgmentOf, reasons: Reasons) -> None:  # noqa: ARG002
        """Does nothing more: judgments are read once all are there."""
        self._reasons.update(reasons)


def judge_file(
    responses: Responses,
    judges: Sequence[LlmJudge],
    markers: Sequence[str],
    gold: Gold | None,
    store: ArtifactStore,
    actors: int,
    out: Path,
    event: Callable[[str], None],
) -> FileJudgeResult:
    """Judge every row and write the rows with their labels to `out`, in order.

    `judges` begins with those of the first judge. Judgments in the store are not requested again.
    Raises InputError for rows that cannot be written with their labels, before any request.
    """
    added = _added_columns(judges)
    check_added(responses, added)
    schema = parquet_schema(responses, added) if out.suffix == ".parquet" else None
    store.check_writable()
    joined = ray.is_initialized()
    connect()
    pool = JudgePool(store, file_payer(responses.path), judges, actors, event)
    try:
        pool.open()
        rows, reasons = responses.rows(), Reasons()
        while chunk := list(islice(rows, _CHUNK)):
            for judge in judges:
                pool.queue.add(_Chunk(judge, _items(judge, responses, markers, chunk), reasons))
            while pool.has_enough:
                pool.turn(_TURN_S)
        while pool.queue.busy or (pool.unprobed and not pool.stopped):
            pool.turn(_TURN_S)
        result = FileJudgeResult(pool.queue.unjudged, {})
        compared = gold is not None or len({judge.settings for judge in judges}) > 1
        noted = result if compared else None
        labelled = _labelled(pool, reasons, responses, judges, markers, noted)
        write_rows(out, labelled, schema)
        return result
    finally:
        pool.close()
        if not joined:
            ray.shutdown()


def file_payer(path: Path) -> str:
    """The payer in journals of requests about a file, so that each file has its own budget."""
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()
    return f"file:{path.name}-{digest[:12]}"


def _items(
    judge: LlmJudge, responses: Responses, markers: Sequence[str], rows: Sequence[Row]
) -> list[JudgeItem]:
    pairs = (
        (row[responses.question], judge_view(row[responses.response], markers)) for row in rows
    )
    return [JudgeItem(judge.key(*each), *each) for each in pairs if each[1]]


def _prefix(judge: LlmJudge, judges: Sequence[LlmJudge]) -> str:
    return "" if judge.settings == judges[0].settings else _SECOND


def _added_columns(judges: Sequence[LlmJudge]) -> dict[str, pa.DataType]:
    """The columns that judging adds, in order."""
    columns: dict[str, pa.DataType] = {}
    for judge in judges:
        prefix = _prefix(judge, judges)
        if judge.rubric.name == PERSONA_RUBRIC:
            columns[f"{prefix}judge"] = pa.string()
            columns[f"{prefix}judge_confidence"] = pa.float64()
            columns[f"{prefix}judge_error"] = pa.string()
        columns |= {prefix + metric: pa.string() for metric in judge.rubric.metrics.values()}
    return columns


def _labelled(
    pool: JudgePool,
    reasons: Reasons,
    responses: Responses,
    judges: Sequence[LlmJudge],
    markers: Sequence[str],
    result: FileJudgeResult | None,
) -> Iterator[Row]:
    """Yield rows with their labels; record these in `result` if raters are to be compared."""
    names = list(_added_columns(judges))
    for row in responses.rows():
        question, response = row[responses.question], judge_view(row[responses.response], markers)
        added: Row = dict.fromkeys(names)
        for judge in judges:
            prefix = _prefix(judge, judges)
            key = judge.key(question, response)
            record = pool.index.get(key) if response else judge.empty()
            reason = reasons.get(key, NOT_JUDGED)
            judgment = Judgment([], reason) if record is None else Judgment.of(record)
            if judge.rubric.name == PERSONA_RUBRIC:
                added[f"{prefix}judge"] = judge.settings.model
                if judgment.labels:
                    added[f"{prefix}judge_confidence"] = judgment.labels[0].confidence
            if judgment.error is not None:
                errors = json.loads(added[f"{prefix}judge_error"] or "{}")
                errors[judge.rubric.name] = judgment.error
                added[f"{prefix}judge_error"] = json.dumps(errors)
            for label in judgment.labels:
                added[prefix + label.metric] = label.label
                if result is not None:
                    rater = SECOND_JUDGE if prefix else FIRST_JUDGE
                    labels = result.ratings.setdefault(rater, {}).setdefault(label.metric, {})
                    labels[ResponseKey(question, response)] = label.label
        yield row | added
