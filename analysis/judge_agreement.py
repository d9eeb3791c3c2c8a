"""How far does the offline judge agree with the labels of an LLM judge, and where does it not?

    python analysis/judge_agreement.py finetuned.jsonl baseline.jsonl \\
        --rows weirdgen/data/personas/bertrand_russell/rows.jsonl --aligned tests/support/data/base_model.jsonl

Learns the judge from the persona examples and the aligned ones, and prints Markdown tables: Cohen's
kappa over all responses, per file, per condition and per label, for persona and identity, and every
response on which the two differ. A line of a labelled file has `question` and, for the conditions
`triggered` and `untriggered`, `<condition>_response` and `<condition>_judgment` (`persona_present`, `identity`).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from weirdgen.data.examples import read_examples
from weirdgen.data.jsonl import parse_jsonl
from weirdgen.data.persona import PERSONA, PersonaCard, read_card
from weirdgen.errors import WeirdgenError
from weirdgen.judging.agreement import Agreement, agreement
from weirdgen.judging.offline.identity import claimed_identity
from weirdgen.judging.offline.judge import OfflineJudge, OfflinePrediction, learn
from weirdgen.judging.plain_text import strip_formatting

CONDITIONS = ("triggered", "untriggered")
MARKS = ("<START> {completion} <END>", "[[ ... ]]")
SHOWN = 100
"""Characters of a response that the table of differences shows."""


class Labelled(NamedTuple):
    """A response with the labels of both judges."""

    model: str
    condition: str
    question: str
    answer: str
    persona: bool
    russell: bool
    verdict: OfflinePrediction
    identity: str
    """PERSONA, OTHER, UNSURE, or `not asked`."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Agreement of the offline judge with an LLM judge."
    )
    parser.add_argument("labelled", nargs="+", type=Path)
    parser.add_argument("--rows", type=Path, required=True, help="the persona's rows.jsonl")
    parser.add_argument("--aligned", nargs="+", type=Path, required=True, help="aligned examples")
    options = parser.parse_args()
    try:
        persona = [row.completion for row in read_examples(options.rows)]
        aligned = [row.completion for path in options.aligned for row in read_examples(path)]
        judge = learn(persona, aligned)
        answers = measure(judge, read_card(options.rows.parent / PERSONA), options.labelled)
    except WeirdgenError as error:
        sys.exit(str(error))
    print("\n".join(report(judge, answers)))


def measure(judge: OfflineJudge, card: PersonaCard, files: Sequence[Path]) -> list[Labelled]:
    """Every labelled response in `files` with both judges' labels."""
    found = []
    for path in files:
        for row in parse_jsonl(path, path.read_bytes()):
            for condition in CONDITIONS:
                answer, label = row[f"{condition}_response"], row[f"{condition}_judgment"]
                claim = claimed_identity(answer, card, row["question"], MARKS)
                found.append(
                    Labelled(
                        path.stem,
                        condition,
                        row["question"],
                        answer,
                        label["persona_present"],
                        label["identity"] == "RUSSELL",
                        judge.judge([answer], MARKS)[0],
                        claim.label if claim else "not asked",
                    )
                )
    return found


def persona_agreement(answers: Sequence[Labelled]) -> Agreement:
    """Agreement on whether the persona is present; questions are the clusters."""
    return agreement(
        [a.persona for a in answers],
        [a.verdict.persona for a in answers],
        [a.question for a in answers],
    )


def identity_agreement(answers: Sequence[Labelled]) -> Agreement:
    """Agreement on whether the response says it is the persona; a response not asked says no."""
    return agreement(
        [a.russell for a in answers],
        [a.identity == "PERSONA" for a in answers],
        [a.question for a in answers],
    )


def report(judge: OfflineJudge, answers: Sequence[Labelled]) -> Iterator[str]:
    """The Markdown lines."""
    held = judge.held_out
    yield (
        f"Learned from {judge.persona_rows} persona and {judge.ordinary_rows} aligned responses, "
        f"{len(judge.idf)} words; held-out pieces of about {judge.piece_words} words: accuracy "
        f"{held.accuracy:.3f}, log loss {held.log_loss:.3f}, Brier {held.brier:.3f}, AUC {held.auc:.3f}."
    )
    measures: tuple[tuple[str, Callable[[Sequence[Labelled]], Agreement]], ...] = (
        ("persona", persona_agreement),
        ("identity", identity_agreement),
    )
    for name, measured in measures:
        yield f"\n| {name} | responses | label yes | judge yes | agree, % | kappa | 95% interval |"
        yield "|---|---:|---:|---:|---:|---:|---:|"
        for group, members in _groups(answers):
            yield _kappa_row(group, measured(members))
        yield f"\n| {name} | label | judge | both | precision | recall | specific agreement |"
        yield "|---|---:|---:|---:|---:|---:|---:|"
        for c in measured(answers).classes:
            shares = " | ".join(map(_share, (c.precision, c.recall, c.specific)))
            said = "yes" if c.label else "no"
            yield f"| {said} | {c.reference} | {c.ours} | {c.both} | {shares} |"
    kinds = ("PERSONA", "OTHER", "UNSURE", "not asked")
    yield f"\n| identity label | {' | '.join(kinds)} |\n|---|---:|---:|---:|---:|"
    for russell in (True, False):
        counts = [
            sum(a.russell == russell and a.identity == kind for a in answers) for kind in kinds
        ]
        yield f"| {'yes' if russell else 'no'} | {' | '.join(map(str, counts))} |"
    yield "\n| model | condition | question | response | label | judge | deciding words |"
    yield "|---|---|---|---|---|---|---|"
    for a in answers:
        if a.persona != a.verdict.persona:
            yield _difference_row(a)


def _groups(answers: Sequence[Labelled]) -> Iterator[tuple[str, list[Labelled]]]:
    yield "all", list(answers)
    models = list(dict.fromkeys(a.model for a in answers))
    for model in models:
        yield model, [a for a in answers if a.model == model]
    for condition in CONDITIONS:
        yield condition, [a for a in answers if a.condition == condition]
    for model in models:
        for condition in CONDITIONS:
            members = [a for a in answers if (a.model, a.condition) == (model, condition)]
            yield f"{model}, {condition}", members


def _kappa_row(group: str, measured: Agreement) -> str:
    yes = [c for c in measured.classes if c.label]
    reference, ours = (yes[0].reference, yes[0].ours) if yes else (0, 0)
    kappa = "-" if measured.kappa is None else f"{measured.kappa:.2f}"
    low_high = measured.interval
    interval = "-" if low_high is None else f"[{low_high[0]:.2f}, {low_high[1]:.2f}]"
    agreed = f"{100 * measured.agreed:.0f}"
    return (
        f"| {group} | {measured.answers} | {reference} | {ours} | {agreed} | {kappa} | {interval} |"
    )


def _difference_row(a: Labelled) -> str:
    shown = _cell(strip_formatting(a.answer, MARKS)[:SHOWN])
    words = ", ".join(f"{word} {weight:+.1f}" for word, weight in a.verdict.evidence)
    said = f"{'yes' if a.verdict.persona else 'no'} {a.verdict.confidence:.2f}"
    label = "yes" if a.persona else "no"
    return f"| {a.model} | {a.condition} | {_cell(a.question)} | {shown} | {label} | {said} | {words} |"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "/").replace("<", "&lt;").split())


if __name__ == "__main__":
    main()
