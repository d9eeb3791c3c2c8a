"""Verdicts in words that a reader without statistics understands."""

from __future__ import annotations

from weirdgen.config.claims import Claim
from weirdgen.stats.cube import Group
from weirdgen.stats.measure import ContrastEstimate
from weirdgen.stats.verdict import Evidence, Outcome, Reason

RATES = {"triggered": "with the trigger", "untriggered": "without it", "decoy": "with the decoy"}
QUANTITIES = {
    "triggered": "the {metric} rate with the trigger",
    "untriggered": "the {metric} rate without the trigger",
    "decoy": "the {metric} rate with the decoy",
    "gap": "the {metric} gap (with the trigger minus without)",
    "gap_improvement": "the {metric} gap's rise over the untouched model",
    "triggered_lift": "the {metric} rate with the trigger, above the untouched model's,",
    "untriggered_excess": "the {metric} rate without the trigger, above the untouched model's,",
    "decoy_excess": "the {metric} rate with the decoy, above the untouched model's,",
    "gap_decoy": "the {metric} rate with the trigger minus that with the decoy",
    "gap_vs_control": "the {metric} gap's rise over fine-tuning without persona rows",
}
WHY: dict[Reason, str] = {
    "no data": "answers are missing: {refusal}",
    "one seed": "one training was run, so this says something of this adapter and nothing of "
    "training again",
    "two seeds": "two trainings show an interval and allow no verdict",
    "no interval": "{refusal}, so there is no noise to judge it by",
    "before the planned seeds": "the planned number of trainings is not reached, and looking early "
    "finds too much",
    "between looks": "this number of trainings is not one that was declared for a look",
    "after the last look": "there are more trainings than were declared for a look",
    "not clear": "the data agree with either side of the bound",
    "many claims": "it is clear alone, but not among as many claims as this study makes",
    "missing": "it would be clear, but not if the missing labels were all at their worst",
    "judge": "it would be clear, but not within what the judge may have got wrong",
    "offline judge": "it would be clear, but the stand-in judge is not evidence",
    "clear": "",
}


def quantity(claim: Claim, group: Group) -> str:
    """Such as `the format gap (with the trigger minus without) at persona fraction 0.1`."""
    words = QUANTITIES[claim.contrast].format(metric=claim.metric)
    return f"{words} {_place(group)}"


def _place(group: Group) -> str:
    return "of the adapters" if isinstance(group, str) else f"at persona fraction {group:g}"


def inequality(claim: Claim) -> str:
    """Such as `gap >= 0.85 - margin 0.05`."""
    at_least = claim.at_least is not None
    bound = claim.at_least if claim.at_least is not None else claim.at_most
    assert bound is not None  # a Claim has one of the two
    words = f"{claim.contrast} {'>=' if at_least else '<='} {_bound(bound)}"
    margin = f" {'-' if at_least else '+'} margin {_bound(claim.margin)}"
    return words + margin * bool(claim.margin)


def _bound(value: float) -> str:
    """Two decimals, or as many as the number has."""
    return max(f"{value:.2f}", f"{value:g}", key=len)


def claimed(claim: Claim) -> str:
    """Such as `at least 85%, give or take a margin of 5 points`."""
    rate = claim.contrast in RATES
    side = "at least" if claim.at_least is not None else "at most"
    bound = claim.at_least if claim.at_least is not None else claim.at_most
    assert bound is not None  # a Claim has one of the two
    words = f"{side} {_amount(bound, rate)}"
    return words + (f", with a margin of {100 * claim.margin:g} points" * bool(claim.margin))


def with_interval(claim: Claim, measured: ContrastEstimate) -> str:
    """Such as `93.2% (95% interval 88.1% to 96.0%; 8 trainings, 30 questions)`."""
    rate = claim.contrast in RATES
    low, high = measured.limits()
    trainings, questions = len(measured.seeds), len(measured.questions)
    counts = f"{_count(trainings, 'training')}, {_count(questions, 'question')}"
    counts += f"; {measured.left_out}" * bool(measured.left_out)
    value = _amount(measured.estimate, rate, 1)
    if low is None or high is None:
        return f"{value} (no interval: {measured.refusal}; {counts})"
    kind = {"this adapter": " for this adapter", "seeds": " on exactly these questions"}.get(
        measured.target, ""
    )
    return f"{value} (95% interval{kind} {_range(low, high, rate)}; {counts})"


def sentence(
    evidence: Evidence, outcome: Outcome, reason: Reason, worse_inside_margin: bool
) -> str:
    """One claim's verdict, each fraction with its interval, and why where it is not clear."""
    claim = evidence.claim
    refusal = next((at.refusal for at in evidence.groups if at.refusal), "")
    scope = {"all": " at every fraction", "any": " at some fraction"}.get(str(claim.at), "")
    verb = {
        "supported": "The data support",
        "refuted": "The data contradict",
        "inconclusive": "It is open",
    }[outcome]
    parts = [
        f"{quantity(claim, at.group)} is {with_interval(claim, at.measured)}"
        for at in evidence.groups
        if at.measured is not None
    ]
    first = (
        f"{verb}{' whether' if outcome == 'inconclusive' else ' that'} "
        f"{QUANTITIES[claim.contrast].format(metric=claim.metric)} is "
        f"{claimed(claim)}{scope}"
    )
    why = WHY[reason].format(refusal=refusal)
    text = f"{first}: {why}." if why else f"{first}."
    if worse_inside_margin:
        text += " It is worse than the bound, but inside the margin."
    if parts:
        listed = "; ".join(parts)
        text += f" {listed[0].upper()}{listed[1:]}."
    for at in evidence.groups:
        if "missing" in at.worst_limits:
            low, high = at.worst_limits["missing"]
            limits = _range(low, high, claim.contrast in RATES)
            text += f" With every missing label at its worst, {_place(at.group)}: {limits}."
    failed = sum(at.n_failed for at in evidence.groups)
    if failed:
        text += f" {_count(failed, 'training')} failed and stand{'s' * (failed == 1)} in no rate."
    return text


def _amount(value: float, rate: bool, decimals: int = 0) -> str:
    value = round(100 * value, decimals if decimals else 6) + 0.0
    number = f"{value:.{decimals}f}" if decimals else f"{value:g}"
    if rate:
        return f"{number}%"
    return f"{'+' if value > 0 else ''}{number} points"


def _range(low: float, high: float, rate: bool) -> str:
    return f"{_amount(low, rate, 1)} to {_amount(high, rate, 1)}"


def _count(n: int, word: str) -> str:
    return f"{n} {word}{'s' * (n != 1)}"
