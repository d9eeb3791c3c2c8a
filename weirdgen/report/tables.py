"""The tables of rates: of every model, metric and condition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from weirdgen.config.claims import FORMAT_METRICS, JUDGED_METRICS
from weirdgen.config.study import Study
from weirdgen.judging.offline.agreement import stated_agreement
from weirdgen.report.descriptions import judges_in_words
from weirdgen.report.rates import CONDITIONS, group_order, has_gap, is_measured, rates, row_groups
from weirdgen.report.rendering import prose
from weirdgen.report.table import MISSING, ReportTable, number
from weirdgen.results.table import UNKNOWN
from weirdgen.stats.judge_error import BASELINE
from weirdgen.stats.metric_arrays import Group, group_label


def rate_tables(
    table: pa.Table, judged: Sequence[str], notes: Mapping[str, str]
) -> list[ReportTable]:
    """Rates in %, a table for the format and one for each of `judged`: baseline, replicates, mean.

    `notes`: metric -> what a reader must know of who labelled it. Metrics without any label have no
    table. Raises ValueError where not even the format has a value.
    """
    groups = [[m for m in FORMAT_METRICS if is_measured(table, m)]]
    groups += [[m] for m in judged if is_measured(table, m)]
    if not groups[0]:
        raise ValueError(f"results: none of {', '.join(FORMAT_METRICS)} has a value")
    return [_rate_table(table, metrics, notes.get(metrics[0], "")) for metrics in groups]


def length_table(table: pa.Table) -> ReportTable:
    """How long responses are, and how many were cut at the token limit and so could not close a format."""
    rows = table.select(["condition", "response_tokens", "finish_reason"]).to_pylist()
    of: dict[tuple[Group, str], list[dict[str, Any]]] = {}
    for group, row in zip(row_groups(table), rows, strict=True):
        of.setdefault((group, row["condition"]), []).append(row)
    order = sorted(of, key=lambda at: (group_order(at[0]), CONDITIONS.index(at[1])))
    cells = []
    for group, condition in order:
        answers = of[group, condition]
        tokens = [row["response_tokens"] for row in answers if row["response_tokens"] is not None]
        reasons = Counter(row["finish_reason"] for row in answers)
        cut = None if reasons[UNKNOWN] == len(answers) else 100 * reasons["length"] / len(answers)
        mean = sum(tokens) / len(tokens) if tokens else None
        labels = (group_label(group), condition, f"{len(answers):,}")
        cells.append((*labels, number(mean), number(cut)))
    return ReportTable(
        title=f"{table['study'][0]}: length of the responses",
        columns=("fraction", "condition", "responses", "mean tokens", "cut at the limit, %"),
        sections=(tuple(cells),),
        note="A response that was cut cannot have closed its format.",
        n_labels=2,
    )


def judge_notes(study: Study) -> dict[str, str]:
    """What a reader of each judged metric must know of the judge."""
    if study.judge is None:
        return {}
    offline = study.judge.is_offline
    note = stated_agreement(study.persona) if offline else f"Labelled by {study.judge.model}."
    return dict.fromkeys(judged_metrics(study), note)


def imported_notes(labels: pa.Table, judged: Sequence[str]) -> dict[str, str]:
    """The same of responses from elsewhere, which name their judges."""
    judges = judges_in_words(labels)
    return dict.fromkeys(judged, f"Labelled by {judges}.") if judges else {}


def judged_metrics(study: Study) -> list[str]:
    """What the study's judge labels, as far as its labels can be counted."""
    return [*JUDGED_METRICS, *(own.name for own in study.metrics if own.is_a_share)]


def _rate_table(table: pa.Table, metrics: list[str], about_judge: str) -> ReportTable:
    """Rows: baseline, group x seed, group; cells: the first metric (the others)."""
    by_metric = [rates(table, metric) for metric in metrics]
    of = by_metric[0]
    columns = [*of.conditions, *["gap"] * has_gap(of)]
    of_baseline = [{c: b_Q[None] for c, b_Q in of.b_Q.items()} for of in by_metric]
    baseline = [_row((BASELINE, ""), of_baseline, of.n_Q, columns)] if of.b_Q else []
    seeds, means = [], []
    for group, names in of.seeds.items():
        y_SQ, n_SQ = [of.y_SQ[group] for of in by_metric], of.n_SQ[group]
        for s, name in enumerate(names):
            *own, n_Q = ({c: a[s : s + 1] for c, a in y.items()} for y in (*y_SQ, n_SQ))
            seeds.append(_row((group_label(group), str(name)), own, n_Q, columns))
        means.append(_row((group_label(group), f"mean of {len(names)}"), y_SQ, n_SQ, columns))
    note = prose(
        "rate_note",
        metric=metrics[0],
        others=metrics[1:],
        has_gap=has_gap(of),
        about_judge=about_judge,
        n_missing=of.n_missing,
        n_responses=table.num_rows,
        incomplete=any(
            MISSING in row or "[" in "".join(row) for row in (*baseline, *seeds, *means)
        ),
        MISSING=MISSING,
    )
    return ReportTable(
        title=f"{of.study}: {metrics[0]} of {of.model}",
        columns=("fraction", "seed", *columns, "responses"),
        sections=(tuple(baseline), tuple(seeds), tuple(means)),
        note=note,
        n_labels=2,
    )


def _row(
    labels: tuple[str, str],
    by_metric: Sequence[Mapping[str, np.ndarray]],
    n: Mapping[str, np.ndarray],
    columns: Sequence[str],
) -> tuple[str, ...]:
    """Means over the seeds of y_SQ whose responses are complete; a cell says so where those are fewer."""
    cells = []
    for column in columns:
        values_MS = [_of_row(y_SQ, column).mean(axis=1) for y_SQ in by_metric]
        complete = int(np.isfinite(values_MS[0]).sum())
        means = [float(v_S[np.isfinite(v_S)].mean()) if complete else np.nan for v_S in values_MS]
        fewer = 0 < complete < len(values_MS[0])
        cells.append(_cell(column, means) + f" [{complete}]" * fewer)
    return *labels, *cells, f"{sum(int(counts.sum()) for counts in n.values()):,}"


def _of_row(y: Mapping[str, np.ndarray], column: str) -> np.ndarray:
    return y["triggered"] - y["untriggered"] if column == "gap" else y[column]


def _cell(column: str, values: list[float]) -> str:
    """`93.3`, or `93.3 (90.0)` where there are further metrics; a gap has a sign and no others."""
    first, *others = (number(100 * value, signed=column == "gap") for value in values)
    shown = others and first != MISSING and column != "gap"
    return f"{first} ({', '.join(others)})" if shown else first
