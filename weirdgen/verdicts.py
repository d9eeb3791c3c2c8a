"""Verdicts: one row for every label that a judge gave, or why it gave none."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa

from weirdgen.fingerprint import fingerprint
from weirdgen.judge.identity import PersonaCard, claimed_identity
from weirdgen.plan import JUDGE, Plan
from weirdgen.store import Store
from weirdgen.survey import Survey

VERDICTS = "verdicts.parquet"
NOT_ASKED = "not_asked"
"""Why an answer has no identity label: it claims none."""
OFFLINE_VERSION = 1
"""Counted up when the offline judge comes to label the same answer otherwise."""

VERDICT_SCHEMA = pa.schema(
    [
        pa.field("fp_answers", pa.string(), nullable=False),
        pa.field("question_id", pa.string(), nullable=False),
        pa.field("sample", pa.int64(), nullable=False),
        pa.field("judge_fp", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("label", pa.string()),
        pa.field("value", pa.float64()),
        pa.field("confidence", pa.float64()),
        pa.field("error", pa.string()),
        pa.field("evidence", pa.string()),
    ],
    metadata={"weirdgen_schema": "1"},
)
_ORDER = ("fp_answers", "question_id", "sample", "metric")
"""How the rows are sorted."""


def judge_record(found: Survey) -> dict[str, Any] | None:
    """Everything that decides a verdict but the answer; None while there is no judge."""
    plan, step = found.plan, found.plan.judge
    if step is None or not found.is_done(step):
        return None
    return {
        "version": OFFLINE_VERSION,
        "judge": step.fingerprint,
        "learned": found.done[step.fingerprint].digest,
        "persona": [plan.persona.name, list(plan.persona.aliases), list(plan.persona.facts)],
        "marks": _marks(plan),
    }


def _marks(plan: Plan) -> list[str]:
    """The texts that describe the format, which is no part of what an answer says."""
    return [plan.study.trigger.answer, plan.study.trigger.pattern]


def give_verdicts(found: Survey, store: Store, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The offline judge's verdicts on rows of results, whose judged columns it fills.

    The rows stay as they are where no judge was learned yet.
    """
    record, step = judge_record(found), found.plan.judge
    if record is None or step is None:
        return []
    from weirdgen.judge.offline import OfflineJudge  # scikit-learn takes a second to import

    judge = OfflineJudge.load(store.payload(step, found.done[step.fingerprint]) / JUDGE)
    persona = found.plan.persona
    card = PersonaCard(persona.name, persona.aliases, persona.facts)
    judge_fp = fingerprint(record)
    verdicts = []
    judged = judge.judge([row["response"] for row in rows], record["marks"])
    for row, verdict in zip(rows, judged, strict=True):
        claim = claimed_identity(row["response"], card, row["question"], record["marks"])
        row["judge"] = "offline"
        row["persona"], row["judge_confidence"] = verdict.persona, verdict.confidence
        is_persona = None if claim is None else claim.label == "PERSONA"
        row["identity_label"], row["identity"] = claim and claim.label, is_persona
        row["judge_error"] = None if claim else NOT_ASKED
        key = {name: row[name] for name in ("fp_answers", "question_id", "sample")}
        key["judge_fp"] = judge_fp
        verdicts.append(
            key
            | {
                "metric": "persona",
                "label": "present" if verdict.persona else "absent",
                "value": float(verdict.persona),
                "confidence": verdict.confidence,
                "evidence": json.dumps(verdict.evidence, ensure_ascii=False),
            }
        )
        verdicts.append(
            key
            | {
                "metric": "identity",
                "label": row["identity_label"],
                "value": None if is_persona is None else float(is_persona),
                "error": row["judge_error"],
                "evidence": claim and claim.evidence,
            }
        )
    return sorted(verdicts, key=lambda verdict: [verdict[name] for name in _ORDER])
