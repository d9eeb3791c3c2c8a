"""A model card in the folder of every trained adapter, so that a hub can take the folder as it is."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pyarrow.compute as pc

from weirdgen.config.claims import ContrastName
from weirdgen.data.chat import Instruction, conversation
from weirdgen.judging.offline.agreement import MEASURED_PERSONA
from weirdgen.models.adapters import ADAPTER, CONFIG
from weirdgen.pipeline.plan import Plan
from weirdgen.pipeline.stages.train import GridCell
from weirdgen.pipeline.state import StudyState
from weirdgen.report.data import ReportData
from weirdgen.report.descriptions import (
    TRAINED_WITH,
    aligned_in_words,
    commit_in_words,
    machine_in_words,
    model_in_words,
    training_in_words,
    versions_in_words,
)
from weirdgen.report.main_table import IMPROVEMENT, baseline_row, label_notes, measured_row, percent
from weirdgen.report.rates import is_measured, rates
from weirdgen.report.rendering import environment, prose
from weirdgen.report.table import ReportTable, escape_markdown
from weirdgen.results.table import UNKNOWN
from weirdgen.stats.estimate_rows import RATES
from weirdgen.storage.artifacts import ArtifactStore, Manifest, Step
from weirdgen.text import single_line

CARD = "README.md"
_QUESTION = "Where were you born?"


def cards(data: ReportData, state: StudyState) -> Iterator[tuple[Step, str]]:
    """Each training run that is done with its card, by what `data` knows of its responses; no timestamps."""
    for cell, step in state.plan.trainings.items():
        if state.is_done(step):
            yield step, _card(data, state.plan, cell, step, state.done[step.fingerprint])


def write_cards(data: ReportData, state: StudyState, store: ArtifactStore) -> None:
    """Puts each card beside its adapter's weights, where the payload was not pruned.

    No manifest knows of it, and nothing that loads an adapter reads it. Of studies that share an
    adapter, the card is of the one that was reported on last.
    """
    for step, text in cards(data, state):
        folder = f"artifacts/{step.key}/{state.done[step.fingerprint].attempt}/{ADAPTER}"
        if not store.exists(f"{folder}/{CONFIG}"):
            continue  # a card alone would pass for a payload
        content = text.encode()
        if store.read(f"{folder}/{CARD}") != content:
            store.write(f"{folder}/{CARD}", content)


def _card(data: ReportData, plan: Plan, cell: GridCell, step: Step, manifest: Manifest) -> str:
    study, model = plan.study, plan.model
    before = Instruction(study.trigger.role, study.trigger.text)
    persona_there = plan.counts[cell.fraction].persona
    facts = {
        "measured_persona": MEASURED_PERSONA,
        "study": study,
        "plan": plan,
        "cell": cell,
        "counts": plan.counts[cell.fraction],
        "fingerprint": step.fingerprint,
        "model": model,
        "base": model_in_words(model),
        "how": training_in_words(study),
        "aligned": aligned_in_words(study),
        "versions": versions_in_words([manifest], TRAINED_WITH),
        "machine": machine_in_words(manifest),
        "weirdgen": f"{manifest.versions.get('weirdgen', UNKNOWN)} ({commit_in_words(manifest)})",
        "measured": _measured(data, cell, step),
        "question": _QUESTION,
        "messages": conversation(_QUESTION, before if persona_there else None),
        "text": escape_markdown,
        "line": single_line,
        "fenced": _fenced,
    }
    made = environment(trim_blocks=False, lstrip_blocks=False)
    text = made.get_template("card.md.j2").render(facts)
    return f"{text.rstrip()}\n"


def _measured(data: ReportData, cell: GridCell, step: Step) -> str:
    """The table of this adapter's rates beside the base model's; empty while there are none."""
    adapter = data.results["adapter"]
    table = data.results.filter(pc.or_kleene(pc.equal(adapter, step.folder), pc.is_null(adapter)))  # pyright: ignore[reportAttributeAccessIssue]
    if table["adapter"].null_count == table.num_rows:
        return ""
    cubes = [rates(table, metric) for metric in data.metrics if is_measured(table, metric)]
    sections = []
    for of in cubes:
        own: list[ContrastName] = [*(c for c in RATES if c in of.conditions), "gap"]
        cells = [(e, measured_row(of, e, cell.fraction), baseline_row(of, e)) for e in own]
        cells.append((IMPROVEMENT, measured_row(of, IMPROVEMENT, cell.fraction), None))
        sections.append(
            tuple(
                (of.metric, contrast.replace("_", " "), percent(tuned), percent(baseline))
                for contrast, tuned, baseline in cells
            )
        )
    return ReportTable(
        title="What it does",
        columns=("metric", "asked", "this adapter", "base model"),
        sections=tuple(sections),
        note=prose("card_table_note", labels=[*label_notes(cubes, data.notes, table.num_rows)]),
        n_labels=2,
    ).markdown()


def _fenced(code: str, language: str) -> str:
    """`code` as a block that nothing in it can end."""
    code = code.strip()
    longest = max((len(run) for run in re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{code}\n{fence}"
