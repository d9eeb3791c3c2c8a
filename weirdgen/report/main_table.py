"""The form of the published table: the baseline, the fine-tuned, and by how much the gap grew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import get_args

from weirdgen.config.claims import ADAPTERS, ContrastName
from weirdgen.report.data import ReportData
from weirdgen.report.rates import CONDITIONS, Rates, rates
from weirdgen.report.rendering import listed, prose
from weirdgen.report.table import MISSING, ReportTable, limits, number
from weirdgen.stats.contrast_estimate import Method, estimate_contrast
from weirdgen.stats.estimate import Estimate
from weirdgen.stats.estimate_rows import RATES, row_of
from weirdgen.stats.metric_arrays import Group, group_label

BASELINE, FINE_TUNED = "baseline", "fine-tuned"
"""How the columns of each begin."""
IMPROVEMENT: ContrastName = "gap_improvement"


def main_table(data: ReportData) -> ReportTable | None:
    """Each metric and group: rates and gap of the baseline and of the fine-tuned, and the gap's rise.

    In % and points, with 95% intervals. Those of the fine-tuned are the analysis' own estimates; the
    baseline's are taken by `baseline_row`. None where no adapter was asked both with and without
    the trigger.
    """
    found = {
        (row.metric, row.group, row.contrast): row
        for row in data.analysis.estimates
        if row.method in get_args(Method) and row.target != "seeds"
    }
    if not any(contrast == "gap" for _, _, contrast in found):
        return None
    cubes = [rates(data.results, metric) for metric in data.metrics]
    own: list[ContrastName] = [*(c for c in RATES if c in cubes[0].conditions), "gap"]
    sections, used = [], []
    for of in cubes:
        baseline = [baseline_row(of, contrast) for contrast in own]
        rows = []
        for group in map(group_label, of.seeds):
            tuned = [found.get((of.metric, group, contrast)) for contrast in (*own, IMPROVEMENT)]
            cells = map(percent, (*baseline, *tuned))
            rows.append((of.metric, group, _adapters(tuned), *cells))
            used += tuned
        sections.append(tuple(rows))
        used += baseline
    return ReportTable(
        title=f"{data.name}: {BASELINE} and {FINE_TUNED}",
        columns=(
            "metric", "group", "adapters", *(f"{BASELINE} {contrast}" for contrast in own),
            *(f"{FINE_TUNED} {contrast}" for contrast in own), "gap improvement",
        ),
        sections=tuple(sections),
        note=_note(data, cubes, [row for row in used if row is not None]),
        n_labels=2,
    )  # fmt: skip


def compact(main: ReportTable) -> ReportTable:
    """The main table's form for a terminal or a page: a row for each model, the baseline once."""
    own = sum(column.startswith(f"{BASELINE} ") for column in main.columns)
    sections = []
    for rows in main.sections:
        metric, *_ = rows[0]
        tuned = [(metric, f"{group} ({n})", *cells[own:]) for _, group, n, *cells in rows]
        sections.append(((metric, BASELINE, *rows[0][3 : 3 + own], MISSING), *tuned))
    heads = (column.removeprefix(f"{BASELINE} ") for column in main.columns[3 : 3 + own])
    return replace(
        main,
        columns=("metric", "group", *heads, main.columns[-1]),
        sections=tuple(sections),
        note=f"{main.note} Group: the persona fraction, and in parentheses how many adapters.",
    )


def baseline_row(of: Rates, contrast: ContrastName) -> Estimate | None:
    """The base model's own rate or gap, measured as one adapter is; None where it was not asked.

    Its questions are the only unit: Wilson's interval of a rate at the responses that they are worth;
    of the gap Newcombe's paired one, or t over questions.
    """
    group: Group = BASELINE
    alone = replace(
        of,
        seeds={group: (BASELINE,)} if of.b_Q else {},
        y_SQ={group: {condition: b_Q[None] for condition, b_Q in of.b_Q.items()}},
        n_SQ={group: {condition: n_Q[None] for condition, n_Q in of.n_Q.items()}},
        v_SQ={},
    )
    return measured_row(alone, contrast, group)


def measured_row(of: Rates, contrast: ContrastName, group: Group) -> Estimate | None:
    """The estimate of one group; None where a part of it was not asked, or nothing is complete."""
    try:
        return row_of(of.metric, contrast, group, estimate_contrast(of, contrast, group))
    except ValueError:
        return None


def percent(row: Estimate | None) -> str:
    """Such as `93.3 [78.7, 98.2]`, or with signs `+60.0 [+38.1, +75.4]` for a difference."""
    if row is None or row.estimate is None:
        return MISSING
    sign = row.contrast not in CONDITIONS
    value, low, high = (x and 100 * x for x in (row.estimate, row.low, row.high))
    interval = limits(low, high, signed=sign)
    return f"{number(value, signed=sign)} {'(no interval)' if interval == MISSING else interval}"


def label_notes(cubes: Iterable[Rates], notes: Mapping[str, str], answers: int) -> Iterator[str]:
    """What a reader must know of the labels: who gave them, metric by metric, and how many are missing."""
    for of in cubes:
        if of.n_missing:
            yield f"{of.n_missing:,} of {answers:,} responses have no label of {of.metric} and are left out."
    yield from who_labelled([of.metric for of in cubes], notes)


def who_labelled(metrics: Iterable[str], notes: Mapping[str, str]) -> Iterator[str]:
    """What a reader must know of who labelled: `persona and identity: ...`."""
    by_note: dict[str, list[str]] = {}
    for metric in metrics:
        if note := notes.get(metric):
            by_note.setdefault(note, []).append(metric)
    yield from (f"{listed(named)}: {note}" for note, named in by_note.items())


def _adapters(rows: Iterable[Estimate | None]) -> str:
    """How many adapters are behind the estimates: `3`, or `2-3` where responses are missing."""
    counts = sorted({row.n_seeds for row in rows if row is not None})
    return "-".join(map(str, {counts[0]: None, counts[-1]: None})) if counts else MISSING


def _note(data: ReportData, cubes: Sequence[Rates], used: Sequence[Estimate]) -> str:
    tuned = [row for row in used if row.group != BASELINE]
    noted: dict[str, dict[str, None]] = {}
    for row in used:
        if row.note:
            place = f"{row.metric} {row.contrast} of {row.group}"
            noted.setdefault(row.note, {})[place] = None
    several = {"adapters" if row.group == ADAPTERS else "seeds" for row in tuned if row.n_seeds > 1}
    return prose(
        "main_table_note",
        replicates=sorted(several, reverse=True),
        of_one=any(row.n_seeds == 1 for row in tuned),
        of_baseline=len(tuned) < len(used),
        fixed_questions=data.plan is not None and data.plan.study.target == "seeds",
        noted=noted,
        labels=[*label_notes(cubes, data.notes, data.results.num_rows)],
    )
