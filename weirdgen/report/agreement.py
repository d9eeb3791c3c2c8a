"""How far judges agree with each other, and with gold labels, and where they do not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

from weirdgen.config.evaluation_spec import EvaluationSpec
from weirdgen.judging.agreement import Agreement, agreement
from weirdgen.judging.gold import POSITIVE, Gold, ResponseKey
from weirdgen.report.table import ReportTable, limits, number
from weirdgen.results.labels import FIRST_JUDGE, SECOND_JUDGE

GOLD = "gold"
_ORDER = (GOLD, SECOND_JUDGE, FIRST_JUDGE)
"""Of two who label, the first of these is the reference."""
_COLUMNS = (
    "metric", "labels of", "responses", "agree, %", "kappa", "95% interval", "alpha",
    "sens.", "spec.",
)  # fmt: skip
_NOTE = (
    "Kappa is Cohen's, its interval draws whole questions; alpha is Krippendorff's. Sensitivity "
    "and specificity: of the latter of the two, for what the former calls the persona. Equal responses to "
    "a question count once."
)

Labels = Mapping[ResponseKey, str]
"""Response -> label, by one rater and metric."""


class Difference(NamedTuple):
    """A response on which two raters differ."""

    metric: str
    question: str
    response: str
    labels: dict[str, str]
    """Rater -> label."""


class Compared(NamedTuple):
    """Two raters on one metric, over the responses that both have labelled."""

    metric: str
    reference: str
    other: str
    agreement: Agreement
    differences: list[Difference]


def compare(ratings: Mapping[str, Mapping[str, Labels]], gold: Gold | None) -> list[Compared]:
    """Every pair of raters on every metric; `ratings` is rater -> metric -> labels.

    The intervals draw whole questions.
    """
    raters = {rater: dict(metrics) for rater, metrics in ratings.items()}
    if gold is not None:
        raters[GOLD] = {
            metric: {key: labels[metric] for key, labels in gold.items() if metric in labels}
            for metric in {metric for labels in gold.values() for metric in labels}
        }
    compared = []
    for one, other in combinations([rater for rater in _ORDER if rater in raters], 2):
        for metric in sorted(raters[one].keys() & raters[other].keys()):
            if pair := _compare(metric, one, raters[one][metric], other, raters[other][metric]):
                compared.append(pair)
    return compared


def _compare(
    metric: str, reference: str, theirs: Labels, other: str, ours: Labels
) -> Compared | None:
    both = sorted(theirs.keys() & ours.keys())
    if not both:
        return None
    measured = agreement(
        [theirs[key] for key in both], [ours[key] for key in both], [key.question for key in both]
    )
    differences = [
        Difference(metric, *key, {reference: theirs[key], other: ours[key]})
        for key in both
        if theirs[key] != ours[key]
    ]
    return Compared(metric, reference, other, measured, differences)


def agreement_table(compared: Sequence[Compared], spec: EvaluationSpec) -> ReportTable:
    """One row for each pair and metric."""
    names = zip((FIRST_JUDGE, SECOND_JUDGE), (judge.model for judge in spec.judges), strict=False)
    who = ", ".join(f"{rater}: {model}" for rater, model in names)
    return ReportTable(
        title="agreement of the judges",
        columns=_COLUMNS,
        sections=(tuple(map(_row, compared)),),
        note=f"{who}. {_NOTE}",
        n_labels=2,
    )


def _row(each: Compared) -> tuple[str, ...]:
    measured = each.agreement
    positive = [c for c in measured.classes if c.label == POSITIVE.get(each.metric)]
    sensitivity = specificity = None
    if positive:
        (of,) = positive
        negatives = measured.answers - of.reference
        sensitivity = of.recall
        specificity = (negatives - (of.ours - of.both)) / negatives if negatives else None
    return (
        each.metric,
        f"{each.reference}, {each.other}",
        f"{measured.answers:,}",
        number(100 * measured.agreed),
        number(measured.kappa, 2),
        limits(*measured.interval or (None, None), 2),
        number(measured.alpha, 2),
        number(sensitivity, 2),
        number(specificity, 2),
    )


def differences_jsonl(compared: Iterable[Compared]) -> Iterator[str]:
    """A JSON line for every response on which two raters differ."""
    for each in compared:
        for metric, question, response, labels in each.differences:
            row = {"metric": metric, "question": question, "response": response, **labels}
            yield json.dumps(row, ensure_ascii=False) + "\n"
