"""Judging a file of responses: the pool of a study's run, without the study."""

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
from weirdgen.judging.gold import AnswerKey, Gold
from weirdgen.judging.judgment import JudgeItem, Judgment
from weirdgen.judging.label_rows import NOT_JUDGED
from weirdgen.judging.llm_judge import LlmJudge, judge_view
from weirdgen.judging.queue import VerdictOf, Why
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
    """What came of judging a file."""

    rows: int
    unjudged: Counter[str]
    """Why -> verdicts that were not given."""
    ratings: dict[str, dict[str, dict[AnswerKey, str]]]
    """Who labels -> metric -> answer -> label; of the answers that have a gold label, or of all."""


class _Chunk:
    """Some rows, for one judge."""

    def __init__(self, judge: LlmJudge, items: list[JudgeItem], reasons: Why) -> None:
        """`reasons` gets why there is no verdict on items that end without one."""
        self.judge, self._items, self._reasons = judge, items, reasons

    def items(self) -> list[JudgeItem]:
        return self._items

    def finish(self, verdict_of: VerdictOf, why: Why) -> None:  # noqa: ARG002
        """The verdicts are read once all are there."""
        self._reasons.update(why)


def judge_file(
    responses: Responses,
    judges: Sequence[LlmJudge],
    marks: Sequence[str],
    gold: Gold | None,
    store: ArtifactStore,
    actors: int,
    out: Path,
    event: Callable[[str], None],
) -> FileJudgeResult:
    """Has every row judged, and writes the rows with their labels to `out`, in their order.

    `judges` begins with those of the first judge. What the store has is not asked again. Raises
    InputError for rows that cannot be written with their labels, before anybody is asked.
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
        rows, reasons = responses.rows(), Why()
        while chunk := list(islice(rows, _CHUNK)):
            for judge in judges:
                pool.add(_Chunk(judge, _items(judge, responses, marks, chunk), reasons))
            while pool.full:
                _turn(pool)
        while pool.busy or (pool.unchecked and not pool.stopped):
            _turn(pool)
        judged = FileJudgeResult(0, pool.unasked, {})
        compared = gold is not None or len({judge.settings for judge in judges}) > 1
        noted = judged if compared else None
        labelled = _labelled(pool, reasons, responses, judges, marks, noted)
        write_rows(out, _counted(labelled, judged), schema)
        return judged
    finally:
        pool.close()
        if not joined:
            ray.shutdown()


def file_payer(path: Path) -> str:
    """In whose name the requests about a file are noted: a budget is this file's own."""
    place = hashlib.sha256(str(path.resolve()).encode()).hexdigest()
    return f"file:{path.name}-{place[:12]}"


def _turn(pool: JudgePool) -> None:
    pool.turn()
    if pool.running:
        done, _ = ray.wait(list(pool.running), timeout=_TURN_S)
        for ref in done:
            pool.finish(ref)


def _items(
    judge: LlmJudge, responses: Responses, marks: Sequence[str], rows: Sequence[Row]
) -> list[JudgeItem]:
    asked = ((row[responses.question], judge_view(row[responses.answer], marks)) for row in rows)
    return [JudgeItem(judge.key(*each), *each) for each in asked if each[1]]


def _prefix(judge: LlmJudge, judges: Sequence[LlmJudge]) -> str:
    return "" if judge.settings == judges[0].settings else _SECOND


def _added_columns(judges: Sequence[LlmJudge]) -> dict[str, pa.DataType]:
    """The columns that judging adds, in their order."""
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
    reasons: Why,
    responses: Responses,
    judges: Sequence[LlmJudge],
    marks: Sequence[str],
    judged: FileJudgeResult | None,
) -> Iterator[Row]:
    """The rows with their labels; notes them in `judged` where they are to be compared."""
    names = list(_added_columns(judges))
    for row in responses.rows():
        question, answer = row[responses.question], judge_view(row[responses.answer], marks)
        added: Row = dict.fromkeys(names)
        for judge in judges:
            prefix = _prefix(judge, judges)
            key = judge.key(question, answer)
            record = pool.verdict_of(key) if answer else judge.empty()
            why = reasons.get(key, NOT_JUDGED)
            verdict = Judgment([], why) if record is None else Judgment.of(record)
            if judge.rubric.name == PERSONA_RUBRIC:
                added[f"{prefix}judge"] = judge.settings.model
                if verdict.labels:
                    added[f"{prefix}judge_confidence"] = verdict.labels[0].confidence
            if verdict.error is not None:
                errors = json.loads(added[f"{prefix}judge_error"] or "{}")
                errors[judge.rubric.name] = verdict.error
                added[f"{prefix}judge_error"] = json.dumps(errors)
            for label in verdict.labels:
                added[prefix + label.metric] = label.label
                if judged is not None:
                    rater = SECOND_JUDGE if prefix else FIRST_JUDGE
                    labels = judged.ratings.setdefault(rater, {}).setdefault(label.metric, {})
                    labels[AnswerKey(question, answer)] = label.label
        yield row | added


def _counted(rows: Iterator[Row], judged: FileJudgeResult) -> Iterator[Row]:
    for row in rows:
        judged.rows += 1
        yield row
