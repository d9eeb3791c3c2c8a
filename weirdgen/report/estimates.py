"""A study's statistics: from its results to estimates and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from weirdgen.config.claims import ADAPTERS, FORMAT_METRICS, JUDGED_METRICS
from weirdgen.config.study import Study
from weirdgen.judging.blinding import hidden_markers, judge_view
from weirdgen.judging.gold import POSITIVE, ResponseKey
from weirdgen.pipeline.plan import Plan
from weirdgen.report.rates import Group, Rates, metric_numbers, rates, row_groups
from weirdgen.report.rendering import sentences
from weirdgen.results.labels import label_values
from weirdgen.stats.analysis import Analysis, AnalysisOptions, analyse
from weirdgen.stats.judge_error import Gold, gold_correction, two_judges
from weirdgen.stats.multiplicity import InterimLooks

_CALIBRATED_SHARE = 0.24
"""Of the most that a rate can vary, p (1 - p), what seeds made of it where the intervals held their level."""
_LEAST_GOLD = 2
"""Gold labels of a stratum from which its correction can be told."""


def analyse_results(table: pa.Table, metrics: Sequence[str]) -> Analysis:
    """The statistics of results that belong to no study file: estimates, and no claims."""
    return analyse([rates(table, metric) for metric in metrics], [])


def analyse_study(
    table: pa.Table,
    labels: pa.Table,
    plan: Plan,
    metrics: Sequence[str],
    failed: Mapping[float, int],
    looks: InterimLooks | None,
) -> Analysis:
    """The statistics of a study's results and of its claims.

    `metrics` are those that have labels; `failed`: fraction -> training runs that failed.
    """
    study = plan.study
    cubes = [replace(rates(table, metric), failed=dict(failed)) for metric in metrics]
    judged = [cube.metric for cube in cubes if cube.metric not in FORMAT_METRICS]
    bounds = {metric: _two_judges(table, labels, plan, metric) for metric in judged}
    planned: dict[Group, int] = {fraction: len(study.seeds) for fraction in study.fractions}
    if study.adapters:
        planned[ADAPTERS] = len(study.adapters)
    offline = study.judge is not None and study.judge.is_offline
    settings = AnalysisOptions(
        target=study.target,
        looks=looks,
        planned=planned,
        offline=frozenset(JUDGED_METRICS if offline else ()),
        gold={metric: _gold(table, plan, metric) for metric in judged},
        judges={metric: both for metric, both in bounds.items() if both is not None},
    )
    return analyse(cubes, study.claims, settings)


def design_cautions(study: Study) -> list[str]:
    """What of the study's design a reader of its numbers must know."""
    judged = study.judge is not None and any(c.metric not in FORMAT_METRICS for c in study.claims)
    unchecked = judged and study.gold is None and study.second_judge is None
    return sentences("design_cautions", study=study, unchecked=unchecked)


def spread_cautions(analysis: Analysis) -> list[str]:
    """Rates that differ over seeds by more than the method was calibrated for."""
    means = {
        (row.metric, row.group, row.contrast): row.estimate
        for row in analysis.estimates
        if row.method == "wilson"
    }
    wide = []
    for row in analysis.estimates:
        mean = means.get((row.metric, row.group, row.contrast))
        if row.method != "variance of seed" or mean is None or row.estimate is None:
            continue
        checked = _CALIBRATED_SHARE * mean * (1 - mean)
        if row.estimate > checked:
            wide.append((row, row.estimate**0.5, checked**0.5))
    return sentences("spread_cautions", wide=wide)


def _two_judges(
    table: pa.Table, labels: pa.Table, plan: Plan, metric: str
) -> tuple[Rates, Rates] | None:
    """What both judges say, and what either says; None unless both are models and have labels.

    An offline judge is no bound of what a model may have got wrong.
    """
    study = plan.study
    if study.second_judge is None or study.judge is None or study.judge.is_offline:
        return None
    second = [
        judge
        for judge in plan.llm_judges
        if judge.settings == study.second_judge and metric in judge.rubric.metrics.values()
    ]
    if not second:
        return None
    theirs = label_values(table, labels, metric, second[0])
    if theirs.null_count == len(theirs):
        return None
    both, either = two_judges(metric_numbers(table, metric), theirs.to_numpy(zero_copy_only=False))
    at = table.column_names.index(metric)
    low, high = (
        rates(table.set_column(at, metric, pa.array(np.nan_to_num(values, nan=unknown))), metric)
        for values, unknown in ((both, 0.0), (either, 1.0))  # a missing label may be anything
    )
    return low, high


def _gold(table: pa.Table, plan: Plan, metric: str) -> dict[tuple[Group, str], Gold]:
    """Gold labels against the judge's, by group (or the baseline) and condition.

    Taken for a random sample of the distinct responses of each, as `weirdgen sample` draws them: equal
    responses to a question count once.
    """
    if plan.gold is None:
        return {}
    values = {POSITIVE.get(metric, ""): 1.0}
    values |= next((own.labels for own in plan.study.metrics if own.name == metric), {})
    marks = hidden_markers(plan.study)
    pairs: dict[tuple[Group, str], dict[ResponseKey, tuple[float, float]]] = {}
    rows = table.select(["condition", "question", "response"]).to_pylist()
    judged = metric_numbers(table, metric)
    for row, place, judge in zip(rows, row_groups(table), judged, strict=True):
        key = ResponseKey(row["question"], judge_view(row["response"], marks))
        label = plan.gold.get(key, {}).get(metric)
        if label is None or np.isnan(judge):
            continue
        of = pairs.setdefault((place, row["condition"]), {})
        of[key] = (values.get(label) or 0.0, judge)
    return {
        stratum: gold_correction(*np.array([*of.values()]).T)
        for stratum, of in pairs.items()
        if len(of) >= _LEAST_GOLD
    }
