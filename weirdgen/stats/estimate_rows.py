"""Rows of estimates: every contrast for both targets, trends over fractions, sensitivity rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from functools import reduce
from itertools import combinations, product
from typing import get_args

import numpy as np

from weirdgen.config.claims import CONTRASTS, ContrastName
from weirdgen.stats.bootstrap import crossed_bootstrap
from weirdgen.stats.contrast_estimate import ContrastEstimate, estimate_contrast
from weirdgen.stats.contrast_interval import ContrastInterval, p_by_inversion
from weirdgen.stats.estimate import Estimate
from weirdgen.stats.fractions import slope_weights
from weirdgen.stats.metric_arrays import Group, MetricArrays, group_label
from weirdgen.stats.options import AnalysisOptions
from weirdgen.stats.paired import mcnemar_exact
from weirdgen.stats.sensitivity import (
    FLIP_NOTE,
    LEAST_SEEDS,
    NAIVE_NOTE,
    SEED_T_NOTE,
    pooled,
    seed_t,
    sign_flip,
)
from weirdgen.stats.two_way_variance import Target, spread
from weirdgen.stats.variance_components import Component, components

CONTRAST_NAMES: tuple[ContrastName, ...] = get_args(ContrastName)
RATES: tuple[ContrastName, ...] = ("triggered", "untriggered", "decoy")
TARGETS: tuple[Target, ...] = ("seeds and questions", "seeds")


def estimates(cube: MetricArrays, options: AnalysisOptions) -> list[Estimate]:
    """Every row of one metric: contrasts by group and target, trends, pairs, sensitivity rows.

    A contrast that lacks a condition, a baseline or a control has no row.
    """
    rows, tables = [], []
    for group in cube.seeds:
        for contrast in CONTRAST_NAMES:
            if contrast == "gap_vs_control" and group == 0.0:
                continue  # a fraction against itself
            measured = _measured(cube, contrast, group, "seeds and questions")
            if measured is None:
                continue
            rows.append(row_of(cube.metric, contrast, group, measured))
            if len(measured.seeds) > 1:
                fixed = _measured(cube, contrast, group, "seeds")
                assert fixed is not None  # it has the same data
                rows.append(row_of(cube.metric, contrast, group, fixed))
                tables.append((contrast, group, measured))
    rows += _over_fractions(cube)
    rows += _components(cube)
    if options.sensitivity:
        rows += _sensitivity(cube, tables)
    return rows


def _measured(
    cube: MetricArrays, contrast: str, group: Group, target: Target
) -> ContrastEstimate | None:
    try:
        return estimate_contrast(cube, contrast, group, target)
    except ValueError:
        return None  # a condition, the baseline or the control was not asked


def row_of(
    metric: str, contrast: ContrastName, group: Group, measured: ContrastEstimate
) -> Estimate:
    """The row of one measured contrast; of a rate it has no p."""
    low, high = measured.limits()
    return Estimate(
        metric,
        contrast,
        group_label(group),
        measured.target,
        measured.method,
        measured.estimate if measured.z_SQ.size else None,
        low,
        high,
        _p_of_zero(measured),
        len(measured.seeds),
        len(measured.questions),
        measured.n_samples,
        note="; ".join(text for text in (measured.refusal, measured.left_out) if text),
    )


def _p_of_zero(measured: ContrastEstimate) -> float | None:
    """Two-sided p of a difference of 0: McNemar's exact one for pairs, else by inversion."""
    if measured.combined is None or len(measured.combined.rates) < 2:
        return None
    if measured.counts is not None:
        return mcnemar_exact(measured.counts)
    p = p_by_inversion(measured.bounds, measured.estimate, 0.0)
    return min(1.0, 2 * min(p, 1 - p))


def _over_fractions(cube: MetricArrays) -> Iterator[Estimate]:
    """Trends over, and pairs of, the fractions with persona examples, paired by seed.

    Only of what is not measured against a baseline or control: that is the same at both ends.
    """
    fractions = sorted(float(g) for g in cube.seeds if not isinstance(g, str) and g > 0)
    for contrast, target in product(CONTRAST_NAMES, TARGETS):
        if CONTRASTS[contrast].reference is None:
            measured = {f: _measured(cube, contrast, f, target) for f in fractions}
            of = {f: m for f, m in measured.items() if m is not None}
            if len(of) < 2:
                continue
            sums = {"trend": (slope_weights(list(of)), list(of.values()))}
            for low, high in combinations(of, 2):
                sums[f"{high:g} - {low:g}"] = np.array([-1.0, 1.0]), [of[low], of[high]]
            for name, (weights, chosen) in sums.items():
                yield row_of(cube.metric, contrast, name, _summed(weights, chosen, target))


def _summed(
    weights: np.ndarray, of: Sequence[ContrastEstimate], target: Target
) -> ContrastEstimate:
    """The weighted sum over fractions, over the seeds and questions that all of them have."""
    seeds = tuple(seed for seed in of[0].seeds if all(seed in m.seeds for m in of))
    questions = reduce(np.intersect1d, (m.questions for m in of))
    rows = [m.z_SQ[[m.seeds.index(seed) for seed in seeds]] for m in of]
    z_FSQ = [z_SQ[:, np.isin(m.questions, questions)] for z_SQ, m in zip(rows, of, strict=True)]
    z_SQ = np.tensordot(weights, np.stack(z_FSQ), 1)
    S, Q = z_SQ.shape
    summed = ContrastEstimate(
        seeds, questions, z_SQ, of[0].samples, sum(m.n_samples for m in of), target, "none", None
    )
    if not z_SQ.size:
        return replace(summed, refusal="no seed with the same questions at every fraction")
    if S < 2 or (Q < 2 and target == "seeds and questions"):
        return replace(summed, refusal=f"{'one seed' if S < 2 else 'one question'}: no interval")
    rates = tuple(
        (float(weight) * sign, rate)
        for weight, m in zip(weights, of, strict=True)
        for sign, rate in (m.combined.rates if m.combined is not None else ())
    )
    combined = ContrastInterval(spread(z_SQ, target), rates)
    return replace(summed, method="wilson and two-source", combined=combined)


def _within(cube: MetricArrays, group: Group, m: ContrastEstimate) -> tuple[np.ndarray, ...]:
    """An index of a group's arrays: the seeds and questions of a measured table."""
    return np.ix_([cube.seeds[group].index(seed) for seed in m.seeds], m.questions.tolist())


def _components(cube: MetricArrays) -> Iterator[Estimate]:
    """Variances by source of each condition's rate, over the seeds and questions that are complete."""
    for group in cube.seeds:
        for condition in RATES:
            measured = _measured(cube, condition, group, "seeds and questions")
            if measured is None or min(measured.z_SQ.shape) < 2 or not np.ptp(measured.z_SQ):
                continue  # not asked, or nothing that varies
            at = _within(cube, group, measured)
            v_SQ = cube.v_SQ[group][condition][at] if cube.v_SQ else None
            found = components(measured.z_SQ, cube.n_SQ[group][condition][at], v_SQ)
            row = replace(row_of(cube.metric, condition, group, measured), p=None, note="")
            for part in fields(found):
                component: Component | None = getattr(found, part.name)
                if component is not None:
                    name = part.name.replace("_", " x ")
                    yield replace(row, method=f"variance of {name}", estimate=component.estimate,
                                  low=component.low, high=component.high)  # fmt: skip


def _sensitivity(
    cube: MetricArrays, tables: list[tuple[ContrastName, Group, ContrastEstimate]]
) -> Iterator[Estimate]:
    """Rows beside the verdicts' method: naive ones always, resampling ones from ten seeds on."""
    by_shape: dict[tuple[int, ...], list[tuple[Estimate, bool, np.ndarray]]] = {}
    for contrast, group, m in tables:
        row = replace(row_of(cube.metric, contrast, group, m), p=None, note="")
        is_difference = len(CONTRASTS[contrast].terms) > 1
        t = seed_t(m.z_SQ.mean(axis=1))
        yield replace(row, target="seeds", method="seed t", low=float(t.low), high=float(t.high),
                      p=float(t.p) if is_difference else None, note=SEED_T_NOTE)  # fmt: skip
        plus, minus, reference = CONTRASTS[contrast]
        if minus is not None and reference is None:
            y, n, at = cube.y_SQ[group], cube.n_SQ[group], _within(cube, group, m)
            naive = pooled(y[plus][at], n[plus][at], y[minus][at], n[minus][at])
            yield replace(row, method="pooled", estimate=float(naive.estimate), low=float(naive.low),
                          high=float(naive.high), p=float(naive.p), note=NAIVE_NOTE)  # fmt: skip
        if len(m.seeds) >= LEAST_SEEDS and len(m.questions) > 1:
            by_shape.setdefault(m.z_SQ.shape, []).append((row, is_difference, m.z_SQ))
    for several in by_shape.values():
        z_NSQ = np.stack([z_SQ for *_, z_SQ in several])
        flips = sign_flip(z_NSQ.mean(axis=2))
        boots = crossed_bootstrap(z_NSQ)
        for (row, is_difference, _), boot, flip in zip(several, boots, flips, strict=True):
            for name, limits in (("percentile", boot.percentile), ("bca", boot.bca)):
                yield replace(row, method=f"crossed bootstrap, {name}", low=limits.low,
                              high=limits.high)  # fmt: skip
            if is_difference:
                yield replace(row, target="seeds", method="sign flip", low=None, high=None,
                              p=float(flip), note=FLIP_NOTE)  # fmt: skip
