"""The tables at the end of a run: rates of every model, and the study's criteria beside them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from rich.table import Table

from weirdgen.criterion import ADAPTERS, FORMAT_METRICS, JUDGED_METRICS, Criterion
from weirdgen.judge.stated import stated_agreement
from weirdgen.report.cubes import CONDITIONS, Group, Rates, contrast_at, group_label, rates
from weirdgen.report.sheet import Sheet
from weirdgen.stats.two_source import Interval, two_source
from weirdgen.study import Study

MISSING = "-"
CRITERIA_NOTE = (
    "S x Q: seeds and questions in the estimate. A seed without its answers meets no bound. "
    "The interval is the 95% two-source interval over training seeds and questions. 2 seeds show "
    "an interval but allow no verdict. Where all answers agree it has no width, which is not "
    "certainty."
)


def rates_tables(table: pa.Table, study: Study) -> list[Table]:
    """Rates of `study`'s results, in %, a table per metric: baseline, every replicate, their mean."""
    return [sheet.rich() for sheet in _rate_sheets(table, study)]


def criteria_table(table: pa.Table, study: Study) -> Table:
    """Each criterion of `study` at each fraction it speaks of, with its estimate and interval."""
    return _criteria_sheet(table, study).rich()


def as_markdown(table: pa.Table, study: Study) -> str:
    """All tables as one Markdown string."""
    sheets = [*_rate_sheets(table, study), _criteria_sheet(table, study)]
    return "\n".join(sheet.markdown() for sheet in sheets)


def judge_note(study: Study, metric: str) -> str:
    """What a reader of a judged metric must know of the judge; empty for a metric without one."""
    if study.judge is None or metric in FORMAT_METRICS:
        return ""
    if study.judge.is_offline:
        return stated_agreement(study.persona)
    return f"Labelled by {study.judge.model}."


def judged_metrics(study: Study) -> list[str]:
    """What the study's judge labels, as far as its labels can be counted."""
    return [*JUDGED_METRICS, *(own.name for own in study.metrics if own.is_a_share)]


def _rate_sheets(table: pa.Table, study: Study) -> list[Sheet]:
    """One sheet for the format, one for each metric that a judge has labelled."""
    groups = [[m for m in FORMAT_METRICS if is_measured(table, m)]]
    groups += [[m] for m in judged_metrics(study) if is_measured(table, m)]
    if not groups[0]:
        raise ValueError(f"results: none of {', '.join(FORMAT_METRICS)} has a value")
    return [_rate_sheet(table, metrics, judge_note(study, metrics[0])) for metrics in groups]


def is_measured(table: pa.Table, metric: str) -> bool:
    """Whether the results have labels of `metric`."""
    if metric not in table.column_names:
        return False
    if metric == "identity":  # null wherever no answer claims one
        return table["persona"].null_count < table.num_rows
    return table[metric].null_count < table.num_rows


def _rate_sheet(table: pa.Table, metrics: list[str], about_judge: str) -> Sheet:
    """Rows: baseline, group x seed, group; cells: the first metric (the others)."""
    by_metric = [rates(table, metric) for metric in metrics]
    of = by_metric[0]
    columns = [*of.conditions, *(["gap"] if _has_gap(of) else [])]
    baseline = [_baseline_row(by_metric, columns)] if of.b_Q else []
    seeds = [
        _seed_row(by_metric, columns, group, s)
        for group in of.seeds
        for s in range(len(of.seeds[group]))
    ]
    means = [_mean_row(by_metric, columns, group) for group in of.seeds]
    also = f"; in parentheses: {', '.join(metrics[1:])}" if metrics[1:] else ""
    gap = " Gap: triggered - untriggered, in points." if _has_gap(of) else ""
    note = f"Mean over questions and samples of {metrics[0]}, in %{also}.{gap}"
    if metrics[0] == "identity":
        note += " An answer that claims no identity counts as no."
    note += f" {about_judge}" if about_judge else ""
    if of.unlabelled:
        note += f" {of.unlabelled:,} of {table.num_rows:,} answers have no label and are left out."
    if any(MISSING in row or "[" in "".join(row) for row in (*baseline, *seeds, *means)):
        note += f" A {MISSING} lacks answers; a mean with [n] is over the n seeds that have theirs."
    return Sheet(
        title=f"{of.study}: {metrics[0]} of {of.model}",
        columns=("fraction", "seed", *columns, "answers"),
        sections=(tuple(baseline), tuple(seeds), tuple(means)),
        note=note,
        n_labels=2,
    )


def _has_gap(of: Rates) -> bool:
    return {"triggered", "untriggered"} <= set(of.conditions)


def _baseline_row(by_metric: list[Rates], columns: list[str]) -> tuple[str, ...]:
    n = sum(int(n_Q.sum()) for n_Q in by_metric[0].n_Q.values())
    cells = (
        _cell(column, [float(_of_row(of.b_Q, column).mean()) for of in by_metric])
        for column in columns
    )
    return "baseline", "", *cells, f"{n:,}"


def _seed_row(by_metric: list[Rates], columns: list[str], group: Group, s: int) -> tuple[str, ...]:
    n = sum(int(n_SQ[s].sum()) for n_SQ in by_metric[0].n_SQ[group].values())
    cells = (
        _cell(column, [float(_of_row(of.y_SQ[group], column)[s].mean()) for of in by_metric])
        for column in columns
    )
    return group_label(group), str(by_metric[0].seeds[group][s]), *cells, f"{n:,}"


def _mean_row(by_metric: list[Rates], columns: list[str], group: Group) -> tuple[str, ...]:
    """Means over the seeds whose answers are complete; a cell says so where those are fewer."""
    of = by_metric[0]
    S = len(of.seeds[group])
    n = sum(int(n_SQ.sum()) for n_SQ in of.n_SQ[group].values())
    cells = []
    for column in columns:
        values_MS = [_of_row(of.y_SQ[group], column).mean(axis=1) for of in by_metric]
        complete = int(np.isfinite(values_MS[0]).sum())
        means = [float(v_S[np.isfinite(v_S)].mean()) if complete else np.nan for v_S in values_MS]
        cells.append(_cell(column, means) + (f" [{complete}]" if 0 < complete < S else ""))
    return group_label(group), f"mean of {S}", *cells, f"{n:,}"


def _of_row(y: dict[str, np.ndarray], column: str) -> np.ndarray:
    return y["triggered"] - y["untriggered"] if column == "gap" else y[column]


def _cell(column: str, values: list[float]) -> str:
    """`93.3`, or `93.3 (90.0)` where there are further metrics; a gap has a sign and no others."""
    if np.isnan(values[0]):
        return MISSING
    if column == "gap":
        return f"{_unsigned_zero(100 * values[0], 1):+.1f}"
    first, *others = (f"{100 * value:.1f}" for value in values)
    return f"{first} ({', '.join(others)})" if others else first


def _criteria_sheet(table: pa.Table, study: Study) -> Sheet:
    claimed = {criterion.metric for criterion in study.criteria}
    by_metric = {metric: rates(table, metric) for metric in claimed if is_measured(table, metric)}
    rows = [
        _criterion_row(by_metric.get(criterion.metric), study, criterion, group)
        for criterion in study.criteria
        for group in _groups(criterion, study)
    ]
    judged = {judge_note(study, metric) for metric in by_metric} - {""}
    return Sheet(
        title=f"{study.name}: criteria",
        columns=(
            "claim",
            "estimate",
            "95% interval",
            "S x Q",
            "seeds meeting the bound",
        ),
        sections=(tuple(rows),),
        note=" ".join([CRITERIA_NOTE, *judged]) if rows else "The study states no criteria.",
    )


def _groups(criterion: Criterion, study: Study) -> Iterator[Group]:
    """`all` and `any` speak of every fraction that has persona rows, and of the adapters."""
    if criterion.fraction in ("all", "any"):
        yield from (f for f in sorted(study.fractions) if f > 0)
        yield from [ADAPTERS] if study.adapters else []
    else:
        yield criterion.fraction


def _criterion_row(
    of: Rates | None, study: Study, criterion: Criterion, group: Group
) -> tuple[str, ...]:
    claim = claim_in_words(criterion, group)
    planned = len(study.adapters if group == ADAPTERS else study.seeds)
    try:
        if of is None:
            raise ValueError("no labels")
        seeds, z_SQ = contrast_at(of, criterion.estimand, group)
    except ValueError as error:  # not asked, or not answered yet: the row says which
        return f"{claim}: {error}", MISSING, MISSING, MISSING, f"0 of {planned}"
    interval = two_source(z_SQ)
    return (
        claim,
        _signed(interval.estimate, criterion),
        _limits(interval, criterion),
        f"{interval.n_seeds} x {interval.n_questions}",
        f"{_meeting(z_SQ, criterion)} of {max(planned, len(seeds))}",
    )


def claim_in_words(criterion: Criterion, group: Group) -> str:
    """Such as `format gap >= 0.50 at fraction 0.6`."""
    at_least = criterion.at_least is not None
    bound = criterion.at_least if criterion.at_least is not None else criterion.at_most
    assert bound is not None  # a Criterion has one of the two
    words = f"{criterion.metric} {criterion.estimand} {'>=' if at_least else '<='} {_bound(bound)}"
    if criterion.margin:
        words += f" {'-' if at_least else '+'} margin {_bound(criterion.margin)}"
    words += " of the adapters" if group == ADAPTERS else f" at fraction {group_label(group)}"
    return f"{words} ({criterion.fraction})" if criterion.fraction in ("all", "any") else words


def _bound(value: float) -> str:
    """Two decimals, or as many as the number has."""
    return max(f"{value:.2f}", f"{value:g}", key=len)


def _meeting(z_SQ: np.ndarray, criterion: Criterion) -> int:
    """Number of seeds whose own mean over questions meets the claim, its margin included."""
    theta_S, rounding = z_SQ.mean(axis=1), 1e-9
    if criterion.at_least is not None:
        return int((theta_S >= criterion.at_least - criterion.margin - rounding).sum())
    assert criterion.at_most is not None  # a Criterion has one of the two
    return int((theta_S <= criterion.at_most + criterion.margin + rounding).sum())


def _signed(value: float, criterion: Criterion) -> str:
    """Rates without a sign, differences with one."""
    sign = "" if criterion.estimand in CONDITIONS else "+"
    return f"{_unsigned_zero(value, 3):{sign}.3f}"


def _unsigned_zero(value: float, decimals: int) -> float:
    """Rounded, and never -0.0."""
    return round(value, decimals) + 0.0


def _limits(interval: Interval, criterion: Criterion) -> str:
    if interval.low is None or interval.high is None:
        return f"one {'seed' if interval.n_seeds == 1 else 'question'}: no interval"
    return f"[{_signed(interval.low, criterion)}, {_signed(interval.high, criterion)}]"
