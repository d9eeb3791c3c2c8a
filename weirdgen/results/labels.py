"""Labels: a row for every label that a judge gave, or why it gave none."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from weirdgen.config.claims import JUDGED_METRICS
from weirdgen.config.judge import OFFLINE
from weirdgen.judging.blinding import format_markers, hidden_markers, judge_view
from weirdgen.judging.gold import ResponseKey
from weirdgen.judging.label_rows import (
    LABEL_FIELDS,
    METRIC_FIELD,
    NOT_ASKED,
    NOT_JUDGED,
    RESPONSE_FIELDS,
)
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.judging.offline.identity import claimed_identity
from weirdgen.pipeline.plan import Plan
from weirdgen.pipeline.stages.labels import read_labels as read_range
from weirdgen.pipeline.stages.offline_judge import OFFLINE_JUDGE
from weirdgen.pipeline.state import StudyState
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.fingerprint import fingerprint

LABELS = "labels.parquet"
SCHEMA_VERSION = "2"
"""Of all of a study's tables: responses, labels, claims, statistics."""
OFFLINE_VERSION = 1
"""Raised when the offline judge comes to label the same response otherwise."""

RESPONSE_KEY = ("fp_responses", "question_id", "sample")
"""The columns that identify a response, in results.parquet and labels.parquet alike."""
_key = itemgetter(*RESPONSE_KEY)
LABELS_SCHEMA = pa.schema(
    [
        pa.field("fp_responses", pa.string(), nullable=False),
        *RESPONSE_FIELDS,
        METRIC_FIELD,
        pa.field("judge", pa.string(), nullable=False),
        pa.field("judge_fp", pa.string(), nullable=False),
        *LABEL_FIELDS,
    ],
    metadata={"weirdgen_schema": SCHEMA_VERSION},
)
"""All judges' labels of a study's responses: `<study>/labels.parquet`."""
LABELS_ORDER = (*RESPONSE_KEY, "judge_fp", "metric")
"""How the rows of labels.parquet are sorted."""
FIRST_JUDGE, SECOND_JUDGE = "judge", "second"
"""Who labels."""
Row = dict[str, Any]


def judges_record(state: StudyState) -> Any:
    """Everything but the responses that decides the labels, as far as it is there."""
    offline = _offline_record(state)
    if not state.plan.llm_judges:
        return offline
    committed = {
        each.step.fingerprint: manifest.digest
        for each in state.label_ranges()
        if (manifest := state.judged(each))
    }
    return [offline, [judge.fingerprint for judge in state.plan.llm_judges], committed]


def _offline_record(state: StudyState) -> dict[str, Any] | None:
    """What decides the offline judge's labels; None while there is no such judge."""
    plan, step = state.plan, state.plan.judge
    if step is None or not state.is_done(step):
        return None
    return {
        "version": OFFLINE_VERSION,
        "judge": step.fingerprint,
        "learned": state.done[step.fingerprint].digest,
        "persona": [plan.persona.name, list(plan.persona.aliases)],
        "marks": format_markers(plan.study),
    }


def add_labels(state: StudyState, store: ArtifactStore, rows: list[Row]) -> list[Row]:
    """Return all judges' labels of `rows` of results, and fill the rows' columns of metrics.

    The columns are those of the first judge, `study.judge`. Without any judge, or while the offline
    judge is not there yet, the rows stay as they are.
    """
    first = state.plan.study.judge
    if first is None:
        return []
    offline = list(_offline_labels(state, store, rows))
    committed = list(_committed_labels(state, store, rows))
    if not first.is_offline:
        judges = [each for each in state.plan.llm_judges if each.settings == first]
        metrics = [metric for each in judges for metric in each.rubric.metrics.values()]
        fingerprints = {each.fingerprint for each in judges}
        _fill(rows, (label for label in committed if label["judge_fp"] in fingerprints), metrics)
    elif offline:
        _fill(rows, offline, JUDGED_METRICS)
    return sorted(offline + committed, key=lambda label: [label[name] for name in LABELS_ORDER])


def _fill(rows: list[Row], labels: Iterable[Row], metrics: Iterable[str]) -> None:
    """Set each row's metrics, and as `judge_error` the reason of the first one without a label."""
    by_key = {(_key(label), label["metric"]): label for label in labels}
    for row in rows:
        errors = []
        for metric in metrics:
            label = by_key.get((_key(row), metric), {"value": None, "error": NOT_JUDGED})
            value = label["value"]
            is_boolean = metric in JUDGED_METRICS and value is not None
            row[metric] = bool(value) if is_boolean else value
            errors.append(label.get("error"))
        row["judge_error"] = next(filter(None, errors), None)


def _offline_labels(state: StudyState, store: ArtifactStore, rows: list[Row]) -> Iterator[Row]:
    record, step = _offline_record(state), state.plan.judge
    if record is None or step is None:
        return
    judge = OFFLINE_JUDGE.read(store.payload(step, state.done[step.fingerprint]))
    persona = state.plan.persona
    judge_fp = fingerprint(record)
    predictions = judge.judge([row["response"] for row in rows], record["marks"])
    for row, prediction in zip(rows, predictions, strict=True):
        claim = claimed_identity(row["response"], persona, row["question"], record["marks"])
        key = {name: row[name] for name in RESPONSE_KEY}
        key |= {"judge": OFFLINE, "judge_fp": judge_fp}
        yield key | {
            "metric": "persona",
            "label": "present" if prediction.persona else "absent",
            "value": float(prediction.persona),
            "confidence": prediction.confidence,
            "evidence": json.dumps(prediction.evidence, ensure_ascii=False),
        }
        yield key | {
            "metric": "identity",
            "label": claim and claim.label,
            "value": claim and float(claim.label == "PERSONA"),
            "confidence": None,
            "error": None if claim else NOT_ASKED,
            "evidence": claim and claim.evidence,
        }


def _committed_labels(state: StudyState, store: ArtifactStore, rows: list[Row]) -> Iterator[Row]:
    """The committed labels of the LLM judges, of the responses in `rows`."""
    wanted = {_key(row) for row in rows}
    seen: set[tuple[str, str, tuple[str, str, int]]] = set()
    for each in state.label_ranges():
        manifest = state.judged(each)
        if manifest is None:
            continue
        key = {
            "fp_responses": each.response_set.step.fingerprint,
            "judge": each.judge.settings.model,
            "judge_fp": each.judge.fingerprint,
        }
        for row in read_range(store.payload(each.step, manifest)):
            label = key | row
            known = (key["judge_fp"], label["metric"], _key(label))
            if _key(label) in wanted and known not in seen:
                seen.add(known)  # ranges that overlap have been judged twice
                yield label


def read_labels(study: str, store: ArtifactStore) -> pa.Table:
    """Read the study's labels.parquet; an empty table where there is none."""
    content = store.read(f"{study}/{LABELS}")
    if content is None:
        return LABELS_SCHEMA.empty_table()
    return pq.ParquetFile(pa.BufferReader(content)).read()


def response_keys(table: pa.Table) -> list[tuple[Any, ...]]:
    """The values of RESPONSE_KEY in each row of `table`."""
    return list(zip(*(table[name].to_pylist() for name in RESPONSE_KEY), strict=True))


def label_values(
    results: pa.Table, labels: pa.Table, metric: str, judge: LlmJudge
) -> pa.DoubleArray:
    """The value of `metric` by `judge` for each row of `results`; null where it has no label."""
    of = (pc.field("metric") == metric) & (pc.field("judge_fp") == judge.fingerprint)
    chosen = labels.filter(of)
    values = dict(zip(response_keys(chosen), chosen["value"].to_pylist(), strict=True))
    return pa.array(map(values.get, response_keys(results)), pa.float64())


def labels_by_rater(
    results: pa.Table, labels: pa.Table, plan: Plan
) -> dict[str, dict[str, dict[ResponseKey, str]]]:
    """Rater -> metric -> response -> label; an identity that was not asked about is UNSURE."""
    study = plan.study
    raters = {
        judge.fingerprint: FIRST_JUDGE if judge.settings == study.judge else SECOND_JUDGE
        for judge in plan.llm_judges
    }
    offline = FIRST_JUDGE if study.judge and study.judge.is_offline else SECOND_JUDGE
    marks = hidden_markers(study)
    responses = {
        _key(row): ResponseKey(row["question"], judge_view(row["response"], marks))
        for row in results.select([*RESPONSE_KEY, "question", "response"]).to_pylist()
    }
    ratings: dict[str, dict[str, dict[ResponseKey, str]]] = {}
    for row in labels.to_pylist():
        label = "UNSURE" if row["error"] == NOT_ASKED else row["label"]
        if label is not None:
            rater = raters.get(row["judge_fp"], offline)
            rated = ratings.setdefault(rater, {}).setdefault(row["metric"], {})
            rated[responses[_key(row)]] = label
    return ratings
