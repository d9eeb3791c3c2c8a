"""stats.parquet, claims.parquet and claims.json: a report's numbers for other programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pyarrow as pa

from weirdgen.config.claims import ADAPTERS
from weirdgen.results.labels import SCHEMA_VERSION
from weirdgen.results.table import PERSONA_ARM
from weirdgen.stats.analysis import Analysis, ClaimVerdict
from weirdgen.stats.estimate import Estimate
from weirdgen.stats.verdict import GroupEvidence

_TYPES = {"str": pa.string(), "int": pa.int64(), "float | None": pa.float64()}
_METADATA = {"weirdgen_schema": SCHEMA_VERSION}
STATS_SCHEMA = pa.schema(
    [pa.field(f.name, _TYPES[str(f.type)], "None" in str(f.type)) for f in fields(Estimate)],
    metadata=_METADATA,
)
"""A row for each estimate; results/README.md describes the columns."""
LEVEL = 0.95
"""The confidence of every interval."""
CLAIMS_SCHEMA = pa.schema(
    [
        pa.field("claim", pa.int64(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("contrast", pa.string(), nullable=False),
        pa.field("at", pa.string(), nullable=False),
        pa.field("at_least", pa.float64()),
        pa.field("at_most", pa.float64()),
        pa.field("margin", pa.float64(), nullable=False),
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("p_adjusted", pa.float64(), nullable=False),
        pa.field("p_fails_adjusted", pa.float64(), nullable=False),
        pa.field("arm", pa.string()),
        pa.field("fraction", pa.float64()),
        pa.field("case", pa.string(), nullable=False),
        pa.field("target", pa.string()),
        pa.field("estimate", pa.float64()),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
        pa.field("level", pa.float64(), nullable=False),
        pa.field("p", pa.float64()),
        pa.field("p_fails", pa.float64()),
        pa.field("n_seeds", pa.int64(), nullable=False),
        pa.field("n_questions", pa.int64(), nullable=False),
        pa.field("n_samples", pa.int64(), nullable=False),
        pa.field("seeds_meeting", pa.int64()),
        pa.field("seeds_planned", pa.int64()),
        pa.field("note", pa.string(), nullable=False),
    ],
    metadata=_METADATA,
)
"""A row for each claim, point and case; results/README.md describes the columns."""


def stats_table(analysis: Analysis) -> pa.Table:
    """The rows of stats.parquet, in the order of the analysis."""
    return pa.Table.from_pylist([vars(row) for row in analysis.estimates], STATS_SCHEMA)


def claims_data(analysis: Analysis) -> pa.Table:
    """The rows of claims.parquet, in the order of the study's claims and their points."""
    rows = [
        row
        for number, verdict in enumerate(analysis.verdicts, 1)
        for row in _claim_rows(number, verdict)
    ]
    return pa.Table.from_pylist(rows, CLAIMS_SCHEMA)


def claims_json(study: str, claims: pa.Table) -> bytes:
    """The same rows as JSON."""
    content = {"weirdgen_schema": SCHEMA_VERSION, "study": study, "claims": claims.to_pylist()}
    return f"{json.dumps(content, indent=1, ensure_ascii=False)}\n".encode()


def _claim_rows(number: int, verdict: ClaimVerdict) -> Iterator[dict[str, Any]]:
    """A row for each point as measured, and one for each of its worst cases."""
    claim = verdict.claim
    common = {
        "claim": number,
        "metric": claim.metric,
        "contrast": claim.contrast,
        "at": str(claim.at),
        "at_least": claim.at_least,
        "at_most": claim.at_most,
        "margin": claim.margin,
        "verdict": verdict.outcome,
        "reason": verdict.reason,
        "p_adjusted": verdict.adjusted_support,
        "p_fails_adjusted": verdict.adjusted_refute,
        "level": LEVEL,
    }
    for at in verdict.groups:
        point = common | _point(at)
        yield point
        for case, worst in at.worst.items():
            if worst.limits is not None:
                low, high = worst.limits
                of_case = {"case": case, "low": low, "high": high}
                yield point | of_case | {"p": worst.p_support, "p_fails": worst.p_refute}


def _point(at: GroupEvidence) -> dict[str, Any]:
    """The columns of one point, as measured."""
    measured, meeting = at.measured, at.meeting
    is_adapters = at.group == ADAPTERS
    point = {
        "arm": ADAPTERS if is_adapters else PERSONA_ARM,
        "fraction": None if is_adapters else at.group,
        "case": "as measured",
        "n_seeds": 0,
        "n_questions": 0,
        "n_samples": 0,
        "seeds_meeting": meeting and meeting.meeting,
        "seeds_planned": meeting and meeting.of,
        "note": at.refusal,
    }
    if measured is None:
        return point
    low, high = measured.limits()
    has_interval = measured.combined is not None
    return point | {
        "target": measured.target,
        "estimate": measured.estimate,
        "low": low,
        "high": high,
        "p": at.p_support if has_interval else None,
        "p_fails": at.p_refute if has_interval else None,
        "n_seeds": len(measured.seeds),
        "n_questions": len(measured.questions),
        "n_samples": measured.n_samples,
        "note": "; ".join(text for text in (at.refusal, measured.left_out) if text),
    }
