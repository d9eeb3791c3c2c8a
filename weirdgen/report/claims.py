"""A study's claims and their verdicts, as a table and in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from weirdgen.config.claims import ADAPTERS, Claim
from weirdgen.report.descriptions import SPEAKS_OF
from weirdgen.report.rates import CONDITIONS
from weirdgen.report.rendering import prose
from weirdgen.report.table import MISSING, ReportTable, limits, number
from weirdgen.report.wording import behind, settles, verdict_sentence
from weirdgen.stats.analysis import Analysis, ClaimVerdict
from weirdgen.stats.estimate import Estimate
from weirdgen.stats.metric_arrays import Group, group_label
from weirdgen.stats.verdict import GroupEvidence, inequality

_MAIN = ("wilson", "wilson and two-source", "newcombe paired", "question t", "none")
"""Methods of the estimates themselves; the others stand beside them."""


def claims_table(
    name: str, verdicts: Sequence[ClaimVerdict], notes: Sequence[str] = ()
) -> ReportTable:
    """One row for each claim and group that it speaks of; `notes` are put below it."""
    rows = [_claim_row(verdict, at) for verdict in verdicts for at in verdict.groups]
    return ReportTable(
        title=f"{name}: claims",
        columns=(
            "claim", "estimate", "95% interval", "S x Q", "p", "seeds meeting the bound", "verdict",
        ),
        sections=(tuple(rows),),
        note=_note(verdicts, notes) if rows else "The study states no claims.",
    )  # fmt: skip


def _note(verdicts: Sequence[ClaimVerdict], notes: Sequence[str]) -> str:
    targets = {at.measured.target for each in verdicts for at in each.groups if at.measured}
    target = "seeds" if "seeds" in targets else "seeds and questions"
    return prose(
        "claims_note",
        speaks_of=SPEAKS_OF[target],
        fixed_questions=target == "seeds",
        notes=notes,
    )


def verdict_lines(verdicts: Sequence[ClaimVerdict]) -> Iterator[str]:
    """Each verdict in words: its numbers, what would settle it, and what single training runs say."""
    for verdict in verdicts:
        parts = [f"{verdict.label}: {verdict_sentence(verdict)}", settles(verdict)]
        several = len(verdict.groups) > 1
        for at in verdict.groups:
            said = [text for _, text in behind(verdict, at)]
            if several and said:
                parts.append(f"At {group_label(at.group)}:")
            parts += said
        yield " ".join(part for part in parts if part)


def estimates_table(name: str, analysis: Analysis) -> ReportTable:
    """The estimates of every metric and group by the verdicts' own method."""
    rows = [row for row in analysis.estimates if row.method in _MAIN and row.target != "seeds"]
    alone = any(row.target == "this adapter" for row in rows)
    return ReportTable(
        title=f"{name}: estimates",
        columns=("metric", "contrast", "group", "estimate", "95% interval", "p", "S x Q x n"),
        sections=(tuple(map(_estimate_row, rows)),),
        note=prose("estimates_note", alone=alone, speaks_of=SPEAKS_OF),
        n_labels=3,
    )


def claim_in_words(claim: Claim, *groups: Group) -> str:
    """Such as `format gap >= 0.50 at fraction 0.6`."""
    words = f"{claim.metric} {inequality(claim)}"
    if groups[:1] == (ADAPTERS,):
        words += " of the adapters"
    elif groups:
        words += f" at fraction{'s' * (len(groups) > 1)} {', '.join(map(group_label, groups))}"
    return f"{words} ({claim.at})" if claim.at in ("all", "any") else words


def _claim_row(verdict: ClaimVerdict, at: GroupEvidence) -> tuple[str, ...]:
    claim, measured = verdict.claim, at.measured
    words = claim_in_words(claim, at.group)
    meeting = f"{at.meeting.meeting} of {at.meeting.of}" if at.meeting else MISSING
    if measured is None:  # not asked, or not answered yet: the row says which
        return f"{words}: {at.refusal}", *[MISSING] * 4, meeting, verdict.label
    low, high = measured.limits()
    shape = f"{len(measured.seeds)} x {len(measured.questions)}"
    sign = claim.contrast not in CONDITIONS  # a difference has one, a rate none
    return (
        words,
        number(measured.estimate, 3, sign),
        at.refusal if low is None or high is None else limits(low, high, 3, sign),
        shape,
        _p_of(verdict),
        meeting,
        verdict.label,
    )


def _estimate_row(row: Estimate) -> tuple[str, ...]:
    shape = f"{row.n_seeds} x {row.n_questions} x {row.n_samples:,}"
    sign = row.contrast not in CONDITIONS or row.group == "trend" or " - " in row.group
    interval = limits(row.low, row.high, 3, sign)
    return (
        row.metric,
        row.contrast,
        row.group,
        number(row.estimate, 3, sign),
        row.note or MISSING if interval == MISSING else interval,
        MISSING if row.p is None else p_in_words(row.p),
        shape,
    )


def _p_of(verdict: ClaimVerdict) -> str:
    if verdict.p_support == verdict.p_refute == 1.0:
        return MISSING
    if verdict.p_refute < verdict.p_support:
        return f"against: {p_in_words(verdict.adjusted_refute)}"
    return p_in_words(verdict.adjusted_support)


def p_in_words(p: float) -> str:
    """`0.012`, or `<0.0001`."""
    return "<0.0001" if p < 1e-4 else f"{p:.4f}" if p < 0.001 else f"{p:.3f}"
