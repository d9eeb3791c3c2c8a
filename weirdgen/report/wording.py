"""Claims, verdicts and what stands behind them, in sentences for readers without statistics."""

from __future__ import annotations

from collections.abc import Iterator

from weirdgen.config.claims import Claim
from weirdgen.report.rendering import amount, prose
from weirdgen.stats.analysis import ClaimVerdict
from weirdgen.stats.contrast_estimate import ContrastEstimate
from weirdgen.stats.estimate_rows import RATES
from weirdgen.stats.metric_arrays import Group
from weirdgen.stats.one_seed import OneSeed
from weirdgen.stats.power import MOST_QUESTIONS, MOST_SEEDS, Needed
from weirdgen.stats.seeds_meeting import SeedsMeeting
from weirdgen.stats.verdict import GroupEvidence


def verdict_sentence(verdict: ClaimVerdict) -> str:
    """One claim's verdict, each fraction with its interval, and why where it is not clear."""
    claim = verdict.claim
    worst = [(at.group, case.limits) for at in verdict.groups if (case := at.worst.get("missing"))]
    return prose(
        "verdict",
        verdict=verdict,
        bound=bound_in_words(claim),
        measured=[
            (_place(at.group), with_interval(claim, at.measured))
            for at in verdict.groups
            if at.measured is not None
        ],
        missing=[
            (_place(group), " to ".join(amount(x, claim.contrast in RATES, 1) for x in limits))
            for group, limits in worst
            if limits is not None
        ],
        n_failed=sum(at.n_failed for at in verdict.groups),
    )


def settles(verdict: ClaimVerdict) -> str:
    """What would settle an inconclusive claim; empty for the others."""
    if verdict.outcome != "inconclusive":
        return ""
    needs = "" if verdict.needed is None else needs_in_words(verdict.needed)
    return prose("settles", verdict=verdict, needs=needs)


def needs_in_words(of: Needed) -> str:
    """How many seeds or questions would settle a claim."""
    return prose("needed", of=of, most_seeds=MOST_SEEDS, most_questions=MOST_QUESTIONS)


def seeds_meeting(of: SeedsMeeting) -> str:
    """Such as `All 8 seeds meet it (95% confidence that at least 69% of seeds would).`"""
    return prose("seeds_meeting", of=of)


def single_seeds(of: OneSeed) -> str:
    """What single training runs would have concluded."""
    return prose("single_seeds", of=of)


def behind(verdict: ClaimVerdict, at: GroupEvidence) -> Iterator[tuple[str, str]]:
    """What the training runs of a group say, one by one: a heading and a text each."""
    if at.meeting is not None:
        yield "Training runs that meet the bound", seeds_meeting(at.meeting)
    for group, alone in verdict.one_seed:
        if group == at.group:
            yield "One training run alone", single_seeds(alone)


def with_interval(claim: Claim, measured: ContrastEstimate) -> str:
    """Such as `93.2% (95% interval 88.1% to 96.0%; 8 training runs, 30 questions)`."""
    return prose("with_interval", measured=measured, rate=claim.contrast in RATES)


def bound_in_words(claim: Claim) -> str:
    """Such as `at least 85%`."""
    side = "at least" if claim.sign > 0 else "at most"
    return f"{side} {amount(claim.bound, claim.contrast in RATES)}"


def _place(group: Group) -> str:
    return "of the adapters" if isinstance(group, str) else f"at persona fraction {group:g}"
