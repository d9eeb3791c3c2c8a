"""Verdicts: one row for every label that a judge gave, or why it gave none."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from weirdgen.config.judge import OFFLINE
from weirdgen.judging.gold import AnswerKey
from weirdgen.judging.judgment import Judgment
from weirdgen.judging.llm_judge import LlmJudge, judge_view
from weirdgen.judging.offline.identity import PersonaCard, claimed_identity
from weirdgen.judging.registry import format_marks, shown_marks
from weirdgen.judging.rubric import PERSONA_RUBRIC
from weirdgen.pipeline.plan import LABELS, OFFLINE_JUDGE, Plan
from weirdgen.pipeline.state import StudyState
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.fingerprint import fingerprint

VERDICTS = "verdicts.parquet"
NOT_ASKED = "not_asked"
"""Why an answer has no identity label: it claims none."""
NOT_JUDGED = "not_judged"
"""Why an answer has no label yet: nobody came to it."""
OFFLINE_VERSION = 1
"""Counted up when the offline judge comes to label the same answer otherwise."""

_LABEL_FIELDS = [
    pa.field("metric", pa.string(), nullable=False),
    pa.field("label", pa.string()),
    pa.field("value", pa.float64()),
    pa.field("confidence", pa.float64()),
    pa.field("error", pa.string()),
    pa.field("evidence", pa.string()),
]
_OF_ANSWER = [
    pa.field("question_id", pa.string(), nullable=False),
    pa.field("sample", pa.int64(), nullable=False),
]
LABEL_SCHEMA = pa.schema([*_OF_ANSWER, *_LABEL_FIELDS])
"""What one judge says of one range of answers."""
VERDICT_SCHEMA = pa.schema(
    [
        pa.field("fp_answers", pa.string(), nullable=False),
        *_OF_ANSWER,
        pa.field("judge_fp", pa.string(), nullable=False),
        *_LABEL_FIELDS,
    ],
    metadata={"weirdgen_schema": "1"},
)
_ORDER = ("fp_answers", "question_id", "sample", "judge_fp", "metric")
"""How the rows are sorted."""
_OF_RESULT = ("fp_answers", "question_id", "sample")
"""What names an answer."""
FIRST_JUDGE, SECOND_JUDGE = "judge", "second"
"""Who labels."""
Row = dict[str, Any]


def judges_record(found: StudyState) -> Any:
    """Everything that decides the verdicts but the answers, as far as it is there."""
    offline = _offline_record(found)
    if not found.plan.llm_judges:
        return offline
    committed = {
        each.step.fingerprint: manifest.digest
        for each in found.to_judge()
        if (manifest := found.judged(each))
    }
    return [offline, [judge.fingerprint for judge in found.plan.llm_judges], committed]


def _offline_record(found: StudyState) -> dict[str, Any] | None:
    """What decides the offline judge's verdicts; None while there is no such judge."""
    plan, step = found.plan, found.plan.judge
    if step is None or not found.is_done(step):
        return None
    return {
        "version": OFFLINE_VERSION,
        "judge": step.fingerprint,
        "learned": found.done[step.fingerprint].digest,
        "persona": [plan.persona.name, list(plan.persona.aliases), list(plan.persona.facts)],
        "marks": format_marks(plan.study),
    }


def give_verdicts(found: StudyState, store: ArtifactStore, rows: list[Row]) -> list[Row]:
    """All judges' verdicts on rows of results, whose judged columns those of `study.judge` fill.

    The rows stay as they are where no judge has a word on them yet.
    """
    primary = found.plan.study.judge
    if primary is None:
        return []
    offline = list(_offline_verdicts(found, store, rows))
    asked = list(_committed_verdicts(found, store, rows))
    if primary.is_offline:
        _fill(rows, offline, OFFLINE)
    else:
        judges = [each for each in found.plan.llm_judges if each.settings == primary]
        (of_persona,) = (each for each in judges if each.rubric.name == PERSONA_RUBRIC)
        own = [verdict for verdict in asked if verdict["judge_fp"] == of_persona.fingerprint]
        _fill(rows, own, primary.model)
        for row in rows:
            if row.get("judge") is None:
                row["judge"], row["judge_error"] = primary.model, NOT_JUDGED
    return sorted(offline + asked, key=lambda verdict: [verdict[name] for name in _ORDER])


def _key(row: Row) -> tuple[str, str, int]:
    return row["fp_answers"], row["question_id"], row["sample"]


def _fill(rows: list[Row], verdicts: Iterable[Row], judge: str) -> None:
    """Sets the judged columns of the rows that have verdicts of persona or identity."""
    by_key = {_key(row): row for row in rows}
    for verdict in verdicts:
        row = by_key[_key(verdict)]
        value = None if verdict["value"] is None else bool(verdict["value"])
        row["judge"] = judge
        row["judge_error"] = row.get("judge_error") or verdict.get("error")
        if verdict["metric"] == "persona":
            row["persona"], row["judge_confidence"] = value, verdict["confidence"]
        elif verdict["metric"] == "identity":
            row["identity"], row["identity_label"] = value, verdict["label"]


def _offline_verdicts(found: StudyState, store: ArtifactStore, rows: list[Row]) -> Iterator[Row]:
    record, step = _offline_record(found), found.plan.judge
    if record is None or step is None:
        return
    from weirdgen.judging.offline.judge import OfflineJudge  # scikit-learn takes a second to import

    judge = OfflineJudge.load(store.payload(step, found.done[step.fingerprint]) / OFFLINE_JUDGE)
    persona = found.plan.persona
    card = PersonaCard(persona.name, persona.aliases, persona.facts)
    judge_fp = fingerprint(record)
    judged = judge.judge([row["response"] for row in rows], record["marks"])
    for row, verdict in zip(rows, judged, strict=True):
        claim = claimed_identity(row["response"], card, row["question"], record["marks"])
        key = {name: row[name] for name in _OF_RESULT}
        key["judge_fp"] = judge_fp
        yield key | {
            "metric": "persona",
            "label": "present" if verdict.persona else "absent",
            "value": float(verdict.persona),
            "confidence": verdict.confidence,
            "evidence": json.dumps(verdict.evidence, ensure_ascii=False),
        }
        yield key | {
            "metric": "identity",
            "label": claim and claim.label,
            "value": claim and float(claim.label == "PERSONA"),
            "confidence": None,
            "error": None if claim else NOT_ASKED,
            "evidence": claim and claim.evidence,
        }


def _committed_verdicts(found: StudyState, store: ArtifactStore, rows: list[Row]) -> Iterator[Row]:
    """What the judges that are models have said of the rows."""
    wanted = {_key(row) for row in rows}
    seen: set[tuple[str, str, tuple[str, str, int]]] = set()
    for each in found.to_judge():
        manifest = found.judged(each)
        if manifest is None:
            continue
        key = {"fp_answers": each.asked.step.fingerprint, "judge_fp": each.judge.fingerprint}
        with pq.ParquetFile(store.payload(each.step, manifest) / LABELS) as file:
            for label in file.read().to_pylist():
                verdict = key | label
                known = (key["judge_fp"], label["metric"], _key(verdict))
                if _key(verdict) in wanted and known not in seen:
                    seen.add(known)  # ranges that overlap have been judged twice
                    yield verdict


def read_verdicts(study: str, store: ArtifactStore) -> pa.Table:
    """The study's verdicts.parquet; no rows where there is none."""
    content = store.read(f"{study}/{VERDICTS}")
    if content is None:
        return VERDICT_SCHEMA.empty_table()
    return pq.ParquetFile(pa.BufferReader(content)).read()


def with_own_metrics(results: pa.Table, verdicts: pa.Table, plan: Plan) -> pa.Table:
    """`results` with a column of numbers for each metric of the study's own that its judge labels."""
    judges = [judge for judge in plan.llm_judges if judge.settings == plan.study.judge]
    for judge in judges[1:]:
        metric = judge.rubric.name
        column = label_values(results, verdicts, metric, judge)
        results = results.append_column(metric, column)
    return results


def label_values(
    results: pa.Table, verdicts: pa.Table, metric: str, judge: LlmJudge
) -> pa.DoubleArray:
    """What `judge` says of `metric` in each row of `results`, as a number; null where it has no label."""
    of = (pc.field("metric") == metric) & (pc.field("judge_fp") == judge.fingerprint)
    values = {_key(row): row["value"] for row in verdicts.filter(of).to_pylist()}
    keys = zip(*(results[name].to_pylist() for name in _OF_RESULT), strict=True)
    return pa.array([values.get(key) for key in keys], pa.float64())


def labels_by_rater(
    results: pa.Table, verdicts: pa.Table, plan: Plan
) -> dict[str, dict[str, dict[AnswerKey, str]]]:
    """Who labels -> metric -> answer -> label; an identity that was not asked about is UNSURE."""
    study = plan.study
    raters = {
        judge.fingerprint: FIRST_JUDGE if judge.settings == study.judge else SECOND_JUDGE
        for judge in plan.llm_judges
    }
    offline = FIRST_JUDGE if study.judge and study.judge.is_offline else SECOND_JUDGE
    marks = shown_marks(study)
    answers = {
        _key(row): AnswerKey(row["question"], judge_view(row["response"], marks))
        for row in results.select([*_OF_RESULT, "question", "response"]).to_pylist()
    }
    ratings: dict[str, dict[str, dict[AnswerKey, str]]] = {}
    for verdict in verdicts.to_pylist():
        label = "UNSURE" if verdict["error"] == NOT_ASKED else verdict["label"]
        if label is not None:
            rater = raters.get(verdict["judge_fp"], offline)
            labels = ratings.setdefault(rater, {}).setdefault(verdict["metric"], {})
            labels[answers[_key(verdict)]] = label
    return ratings


def label_rows(
    judge: LlmJudge, question_id: str, sample: int, record: str | None, why: str
) -> Iterator[Row]:
    """The rows of LABEL_SCHEMA for one answer; `record` is its verdict (JSON), `why` there is none."""
    key = {"question_id": question_id, "sample": sample}
    verdict = Judgment([], why) if record is None else Judgment.of(record)
    if verdict.error is None:
        for label in verdict.labels:
            value = judge.rubric.numbers[label.metric][label.label]
            yield key | label._asdict() | {"value": value}
        return
    for metric in judge.rubric.metrics.values():
        yield key | {"metric": metric, "error": verdict.error, "evidence": verdict.detail}
