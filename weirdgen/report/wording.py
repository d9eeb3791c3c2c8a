"""Claims, verdicts and what stands behind them, in sentences for readers without statistics."""

from __future__ import annotations

from collections.abc import Iterator

from weirdgen.config.claims import Claim
from weirdgen.report.descriptions import capital, count
from weirdgen.stats.analysis import ClaimVerdict
from weirdgen.stats.contrast_estimate import ContrastEstimate
from weirdgen.stats.estimate_rows import RATES
from weirdgen.stats.metric_arrays import Group
from weirdgen.stats.one_seed import OneSeed
from weirdgen.stats.power import MOST_QUESTIONS, MOST_SEEDS, Needed
from weirdgen.stats.seeds_meeting import SeedsMeeting
from weirdgen.stats.verdict import GroupEvidence, Outcome, Reason

_QUANTITIES = {
    "triggered": "the {metric} rate with the trigger",
    "untriggered": "the {metric} rate without the trigger",
    "decoy": "the {metric} rate with the decoy",
    "gap": "the {metric} gap (with the trigger minus without)",
    "gap_improvement": "the {metric} gap's rise over the base model",
    "triggered_lift": "the {metric} rate with the trigger minus the base model's",
    "untriggered_excess": "the {metric} rate without the trigger minus the base model's",
    "decoy_excess": "the {metric} rate with the decoy minus the base model's",
    "gap_decoy": "the {metric} rate with the trigger minus that with the decoy",
    "gap_vs_control": "the {metric} gap's rise over fine-tuning without persona examples",
}
_OPENINGS: dict[Outcome, str] = {
    "supported": "The data support that",
    "refuted": "The data contradict that",
    "inconclusive": "Cannot conclude whether",
}
_WHY: dict[Reason, str] = {
    "no data": "responses are missing: {refusal}",
    "one seed": "there is one training run, which describes its adapter and says nothing about a "
    "repeated training run",
    "two seeds": "two training runs give an interval and no verdict",
    "no interval": "{refusal}, so the noise is not known",
    "before the planned seeds": "the planned number of training runs is not reached, and looking early "
    "finds too much",
    "between looks": "no look was declared for this number of training runs",
    "after the last look": "there are more training runs than were declared for a look",
    "not clear": "the data agree with either side of the bound",
    "many claims": "significant on its own, not after correction for {claims} claims",
    "missing": "significant, but not if all missing labels were at their worst",
    "judge": "significant, but not within what the judge may have got wrong",
    "offline judge": "significant, but the offline judge is not evidence",
    "clear": "",
}
_SETTLES: dict[Reason, str] = {
    "no data": "The missing responses have to come first.",
    "one seed": "A verdict needs at least three training runs.",
    "two seeds": "A verdict needs at least three training runs.",
    "no interval": "Responses to more questions, on more training runs.",
    "before the planned seeds": "The planned training runs.",
    "between looks": "The next declared number of training runs.",
    "after the last look": "A new study that declares its training runs beforehand.",
    "many claims": "Fewer claims, or more training runs.",
    "missing": "The missing labels: judge those responses again.",
    "judge": "Gold labels on more responses, or a better judge.",
    "offline judge": "Labels of an LLM judge or of people.",
}
_OFFLINE = "Even then the offline judge never ends in supported: that takes labels of an LLM judge or of people."


def verdict_sentence(verdict: ClaimVerdict) -> str:
    """One claim's verdict, each fraction with its interval, and why where it is not clear."""
    claim = verdict.claim
    refusal = next((at.refusal for at in verdict.groups if at.refusal), "no such training run")
    scope = {"all": " at every fraction", "any": " at some fraction"}.get(str(claim.at), "")
    words = _QUANTITIES[claim.contrast].format(metric=claim.metric)
    margin = f", with a margin of {100 * claim.margin:g} points" * bool(claim.margin)
    why = _WHY[verdict.reason].format(refusal=refusal, claims=verdict.n_claims)
    text = (
        f"{_OPENINGS[verdict.outcome]} {words} is {bound_in_words(claim)}{margin}{scope}"
        f"{f': {why}' * bool(why)}."
    )
    if verdict.inside_margin:
        text += " It is worse than the bound, but inside the margin."
    parts = [
        f"{words} {_place(at.group)} is {with_interval(claim, at.measured)}"
        for at in verdict.groups
        if at.measured is not None
    ]
    if parts:
        text += f" {capital('; '.join(parts))}."
    for at in verdict.groups:
        if (missing := at.worst.get("missing")) is not None and missing.limits is not None:
            limits = _range(*missing.limits, claim.contrast in RATES)
            text += f" With every missing label at its worst, {_place(at.group)}: {limits}."
    failed = sum(at.n_failed for at in verdict.groups)
    if failed:
        text += f" {count(failed, 'training run')} failed and enter{'s' * (failed == 1)} no rate."
    return text


def settles(verdict: ClaimVerdict) -> str:
    """What would settle an inconclusive claim; empty for the others."""
    if verdict.outcome != "inconclusive":
        return ""
    parts = [_SETTLES.get(verdict.reason, "")]
    if verdict.needed is not None:
        parts.append(needs_in_words(verdict.needed))
    if not any(parts):
        parts.append("More training runs and more questions.")
    if verdict.offline and verdict.reason != "offline judge":
        parts.append(_OFFLINE)
    return " ".join(filter(None, parts))


def needs_in_words(of: Needed) -> str:
    points = f"{100 * of.effect:.{0 if of.effect >= 0.01 else 1}f} points"
    if of.by == "seeds":
        to = f"{of.high}" if of.high else f"more than {MOST_SEEDS} (not practical)"
        seeds = f"about {of.low}" if of.high == of.low else f"{of.low} to {to}"
        return (
            f"To see a difference of {points} from the bound in {of.power:.0%} of studies it needs "
            f"{seeds} seeds with these {of.questions} questions."
        )
    if of.by == "questions":
        return (
            f"To see a difference of {points} it needs at least {of.low} questions instead of "
            f"{of.questions}; more seeds alone will not help."
        )
    return (
        f"To see a difference of {points} nothing practical helps: neither {MOST_SEEDS} seeds nor "
        f"{MOST_QUESTIONS} questions are enough."
    )


def seeds_meeting(of: SeedsMeeting) -> str:
    """Such as `All 8 seeds meet it (95% confidence that at least 69% of seeds would).`"""
    which = {0: f"None of {of.of} seeds meets it", of.of: f"All {of.of} seeds meet it"}.get(
        of.meeting, f"{of.meeting} of {of.of} seeds meet it"
    )
    failed = f" ({of.failed} failed or lack responses, and count as not meeting it)" * bool(
        of.failed
    )
    share = f"at least {100 * of.least:.0f}%" if of.meeting else f"at most {100 * of.most:.0f}%"
    return f"{which}{failed} (95% confidence that {share} of seeds would)."


def single_seeds(of: OneSeed) -> str:
    """What single training runs would have concluded."""
    n = len(of.outcomes)
    if not n:
        return "No training run is complete."
    found = [*of.outcomes.values()]
    counts = ", ".join(f"{found.count(o)} {o}" for o in _OPENINGS if o in found)
    return (
        f"Judged alone, without regard to the noise of training, {count(n, 'training run')} would have "
        f"ended in: {counts}; {of.differing} of {n} differ from the study's verdict ({of.study})."
    )


def behind(verdict: ClaimVerdict, at: GroupEvidence) -> Iterator[tuple[str, str]]:
    """What the training runs of a group say, one by one: a heading and a text each."""
    if at.meeting is not None:
        yield "Training runs that meet the bound", seeds_meeting(at.meeting)
    for group, alone in verdict.one_seed:
        if group == at.group:
            yield "One training run alone", single_seeds(alone)


def with_interval(claim: Claim, measured: ContrastEstimate) -> str:
    """Such as `93.2% (95% interval 88.1% to 96.0%; 8 training runs, 30 questions)`."""
    rate = claim.contrast in RATES
    low, high = measured.limits()
    counts = f"{count(len(measured.seeds), 'training run')}, {count(len(measured.questions), 'question')}"
    counts += f"; {measured.left_out}" * bool(measured.left_out)
    value = amount(measured.estimate, rate, 1)
    if low is None or high is None:
        return f"{value} (no interval: {measured.refusal}; {counts})"
    kind = {"this adapter": " for this adapter", "seeds": " on exactly these questions"}.get(
        measured.target, ""
    )
    return f"{value} (95% interval{kind} {_range(low, high, rate)}; {counts})"


def own_bound(claim: Claim) -> float:
    """The claim's bound, without its margin."""
    bound = claim.at_least if claim.at_least is not None else claim.at_most
    assert bound is not None  # a Claim has one of the two
    return bound


def bound_in_words(claim: Claim) -> str:
    """Such as `at least 85%`."""
    side = "at least" if claim.at_least is not None else "at most"
    return f"{side} {amount(own_bound(claim), claim.contrast in RATES)}"


def _place(group: Group) -> str:
    return "of the adapters" if isinstance(group, str) else f"at persona fraction {group:g}"


def amount(value: float, rate: bool, decimals: int = 0) -> str:
    """A rate such as `85%`, or a difference such as `+5 points`."""
    value = round(100 * value, decimals if decimals else 6) + 0.0
    number = f"{value:.{decimals}f}" if decimals else f"{value:g}"
    return f"{number}%" if rate else f"{'+' if value > 0 else ''}{number} points"


def _range(low: float, high: float, rate: bool) -> str:
    return f"{amount(low, rate, 1)} to {amount(high, rate, 1)}"
