"""stats.parquet, claims.parquet and claims.json: a report's numbers for other programs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

import pyarrow as pa

from weirdgen.config.claims import ADAPTERS
from weirdgen.results.labels import SCHEMA_VERSION
from weirdgen.results.table import PERSONA_ARM
from weirdgen.stats.analysis import Analysis, ClaimVerdict
from weirdgen.stats.estimate import Estimate
from weirdgen.stats.verdict import GroupEvidence

LEVEL = 0.95
"""The confidence of every interval."""


@dataclass(frozen=True, kw_only=True)
class ClaimRow:
    """One claim at one point, as measured or in one of its worst cases; results/README.md describes the columns."""

    claim: int
    metric: str
    contrast: str
    at: str
    at_least: float | None
    at_most: float | None
    margin: float
    verdict: str
    reason: str
    p_adjusted: float
    p_fails_adjusted: float
    arm: str | None
    fraction: float | None
    case: str = "as measured"
    target: str | None = None
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    level: float = LEVEL
    p: float | None = None
    p_fails: float | None = None
    n_seeds: int = 0
    n_questions: int = 0
    n_samples: int = 0
    seeds_meeting: int | None
    seeds_planned: int | None
    note: str


def _schema(row: type) -> pa.Schema:
    """A column for each field of a dataclass of texts and numbers."""
    types = {"str": pa.string(), "int": pa.int64(), "float": pa.float64()}
    columns = [(f.name, *str(f.type).partition(" | ")[::2]) for f in fields(row)]
    return pa.schema(
        [pa.field(name, types[of], nullable=bool(none)) for name, of, none in columns],
        metadata={"weirdgen_schema": SCHEMA_VERSION},
    )


STATS_SCHEMA = _schema(Estimate)
"""A row for each estimate; results/README.md describes the columns."""
CLAIMS_SCHEMA = _schema(ClaimRow)


def stats_table(analysis: Analysis) -> pa.Table:
    """The rows of stats.parquet, in the order of the analysis."""
    return pa.Table.from_pylist([vars(row) for row in analysis.estimates], STATS_SCHEMA)


def claims_data(analysis: Analysis) -> pa.Table:
    """The rows of claims.parquet, in the order of the study's claims and their points."""
    rows = [
        vars(row)
        for number, verdict in enumerate(analysis.verdicts, 1)
        for at in verdict.groups
        for row in _claim_rows(number, verdict, at)
    ]
    return pa.Table.from_pylist(rows, CLAIMS_SCHEMA)


def claims_json(study: str, claims: pa.Table) -> bytes:
    """The same rows as JSON."""
    content = {"weirdgen_schema": SCHEMA_VERSION, "study": study, "claims": claims.to_pylist()}
    return f"{json.dumps(content, indent=1, ensure_ascii=False)}\n".encode()


def _claim_rows(number: int, verdict: ClaimVerdict, at: GroupEvidence) -> Iterator[ClaimRow]:
    """One point as measured, and in each of its worst cases."""
    claim, measured, meeting = verdict.claim, at.measured, at.meeting
    is_adapters = at.group == ADAPTERS
    stated: dict[str, Any] = {**vars(claim), "at": str(claim.at)}
    row = ClaimRow(
        claim=number,
        **stated,
        verdict=verdict.outcome,
        reason=verdict.reason,
        p_adjusted=verdict.adjusted_support,
        p_fails_adjusted=verdict.adjusted_refute,
        arm=ADAPTERS if is_adapters else PERSONA_ARM,
        fraction=None if isinstance(at.group, str) else at.group,
        seeds_meeting=meeting and meeting.meeting,
        seeds_planned=meeting and meeting.of,
        note=at.refusal,
    )
    if measured is not None:
        low, high = measured.limits()
        has_interval = measured.combined is not None
        row = replace(
            row,
            target=measured.target,
            estimate=measured.estimate,
            low=low,
            high=high,
            p=at.p_support if has_interval else None,
            p_fails=at.p_refute if has_interval else None,
            n_seeds=len(measured.seeds),
            n_questions=len(measured.questions),
            n_samples=measured.n_samples,
            note="; ".join(text for text in (at.refusal, measured.left_out) if text),
        )
    yield row
    for case, worst in at.worst.items():
        if worst.limits is not None:
            low, high = worst.limits
            of_case = {"case": case, "low": low, "high": high}
            yield replace(row, **of_case, p=worst.p_support, p_fails=worst.p_refute)
