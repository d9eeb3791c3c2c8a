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

from weirdgen.gold import AnswerKey, Gold
from weirdgen.judge.desk import VerdictOf, Why
from weirdgen.judge.llm import LlmJudge, shown
from weirdgen.judge.rubric import PERSONA_RUBRIC
from weirdgen.judge.verdict import Item, Verdict
from weirdgen.responses import Responses, Row, write_rows
from weirdgen.runner.cluster import connect
from weirdgen.runner.judge_pool import JudgePool
from weirdgen.store import Store
from weirdgen.verdicts import FIRST_JUDGE, NOT_JUDGED, SECOND_JUDGE

_CHUNK = 500
_TURN_S = 0.5
_SECOND = "second_"


@dataclass
class FileJudged:
    """What came of judging a file."""

    rows: int
    unjudged: Counter[str]
    """Why -> verdicts that were not given."""
    ratings: dict[str, dict[str, dict[AnswerKey, str]]]
    """Who labels -> metric -> answer -> label; of the answers that have a gold label, or of all."""


class _Chunk:
    """Some rows, for one judge."""

    def __init__(self, judge: LlmJudge, items: list[Item]) -> None:
        self.judge, self._items = judge, items

    def items(self) -> list[Item]:
        return self._items

    def finish(self, verdict_of: VerdictOf, why: Why) -> None:
        """The verdicts are read once all are there."""


def judge_file(
    responses: Responses,
    judges: Sequence[LlmJudge],
    marks: Sequence[str],
    gold: Gold | None,
    store: Store,
    actors: int,
    out: Path,
    event: Callable[[str], None],
) -> FileJudged:
    """Has every row judged, and writes the rows with their labels to `out`, in their order.

    `judges` begins with those of the first judge. What the store has is not asked again.
    """
    store.check_writable()
    joined = ray.is_initialized()
    connect()
    pool = JudgePool(store, file_payer(responses.path), judges, actors, event)
    try:
        pool.open()
        rows = responses.rows()
        while chunk := list(islice(rows, _CHUNK)):
            for judge in judges:
                pool.add(_Chunk(judge, _items(judge, responses, marks, chunk)))
            while pool.full:
                _turn(pool)
        while pool.busy or (pool.unchecked and not pool.stopped):
            _turn(pool)
        judged = FileJudged(0, pool.unasked, {})
        compared = gold is not None or len({judge.settings for judge in judges}) > 1
        labelled = _labelled(pool, responses, judges, marks, judged if compared else None)
        write_rows(out, _counted(labelled, judged), dict(_columns(judges)))
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
) -> list[Item]:
    asked = ((row[responses.question], shown(row[responses.answer], marks)) for row in rows)
    return [Item(judge.key(*each), *each) for each in asked if each[1]]


def _prefix(judge: LlmJudge, judges: Sequence[LlmJudge]) -> str:
    return "" if judge.settings == judges[0].settings else _SECOND


def _columns(judges: Sequence[LlmJudge]) -> Iterator[tuple[str, pa.DataType]]:
    """The columns that are added, in order."""
    for judge in judges:
        prefix = _prefix(judge, judges)
        if judge.rubric.name == PERSONA_RUBRIC:
            yield f"{prefix}judge", pa.string()
            yield f"{prefix}judge_confidence", pa.float64()
            yield f"{prefix}judge_error", pa.string()
        for metric in judge.rubric.metrics.values():
            yield f"{prefix}{metric}", pa.string()


def added_columns(judges: Sequence[LlmJudge]) -> list[str]:
    """The names of the columns that judging adds."""
    return [name for name, _ in _columns(judges)]


def _labelled(
    pool: JudgePool,
    responses: Responses,
    judges: Sequence[LlmJudge],
    marks: Sequence[str],
    judged: FileJudged | None,
) -> Iterator[Row]:
    """The rows with their labels; notes them in `judged` where they are to be compared."""
    for row in responses.rows():
        question, answer = row[responses.question], shown(row[responses.answer], marks)
        added: Row = dict.fromkeys(added_columns(judges))
        for judge in judges:
            prefix = _prefix(judge, judges)
            record = pool.verdict_of(judge.key(question, answer)) if answer else judge.empty()
            verdict = Verdict([], NOT_JUDGED) if record is None else Verdict.of(record)
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


def _counted(rows: Iterator[Row], judged: FileJudged) -> Iterator[Row]:
    for row in rows:
        judged.rows += 1
        yield row
