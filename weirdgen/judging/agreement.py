"""How far two judges agree on the same responses."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import krippendorff
import numpy as np
from statsmodels.stats.inter_rater import cohens_kappa

_RESAMPLES = 2000


class ClassAgreement(NamedTuple):
    """Agreement on one label."""

    label: Hashable
    reference: int
    """Responses with this label by the reference."""
    ours: int
    """Responses with this label by the judge."""
    both: int
    precision: float | None
    """both / ours; None if the judge never gives the label."""
    recall: float | None
    """both / reference; None if the reference never gives it."""
    specific: float | None
    """Specific agreement, 2 both / (reference + ours) (Fleiss 1975); None if neither gives it."""


class Agreement(NamedTuple):
    """Agreement of a judge with a reference, over `answers` responses."""

    answers: int
    agreed: float
    """The share of equal labels."""
    kappa: float | None
    """Cohen's kappa (Cohen 1960); None if both give one and the same label to all."""
    interval: tuple[float, float] | None
    """95%, percentile bootstrap; None if one side gives a single label: every kappa is 0 then."""
    alpha: float | None
    """Krippendorff's alpha for nominal labels (Krippendorff 2018); None if kappa is."""
    classes: tuple[ClassAgreement, ...]


def agreement(
    reference: Sequence[Hashable],
    ours: Sequence[Hashable],
    clusters: Sequence[Hashable] | None = None,
) -> Agreement:
    """Agreement of the labels `ours` with `reference`, one label per response.

    The interval resamples whole `clusters` (responses to one question are alike), or single
    responses; its seed is fixed. Raises ValueError for no labels, or for sequences of different
    lengths.
    """
    groups = range(len(reference)) if clusters is None else clusters
    if not reference or not len(reference) == len(ours) == len(groups):
        raise ValueError("labels, and clusters, must be of the same responses, and at least one")
    labels = sorted({*reference, *ours}, key=repr)
    x, y = ([labels.index(label) for label in side] for side in (reference, ours))
    order = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    tables_GLL = np.zeros((len(order), len(labels), len(labels)), dtype=int)
    np.add.at(tables_GLL, ([order[group] for group in groups], x, y), 1)
    table_LL = tables_GLL.sum(axis=0)
    constant = len(set(reference)) == 1 or len(set(ours)) == 1
    alpha = None
    if len(labels) > 1:
        alpha = float(krippendorff.alpha([x, y], level_of_measurement="nominal"))
    return Agreement(
        answers=len(x),
        agreed=float(np.trace(table_LL) / len(x)),
        kappa=_kappa(table_LL),
        alpha=alpha,
        interval=None if constant else _interval(tables_GLL),
        classes=tuple(_class(label, table_LL, i) for i, label in enumerate(labels)),
    )


def _kappa(table_LL: np.ndarray) -> float | None:
    """Kappa of a table reference x ours; None where chance alone always agrees."""
    if ((table_LL.sum(axis=0) + table_LL.sum(axis=1)) > 0).sum() == 1:
        return None
    kappa = float(np.asarray(cohens_kappa(table_LL, return_results=False)))
    return round(kappa, 12)  # beyond are rounding errors that differ by processor


def _interval(tables_GLL: np.ndarray) -> tuple[float, float]:
    rng = np.random.default_rng(0)
    kappas = []
    for _ in range(_RESAMPLES):
        drawn = rng.integers(len(tables_GLL), size=len(tables_GLL))
        if (kappa := _kappa(tables_GLL[drawn].sum(axis=0))) is not None:
            kappas.append(kappa)
    low, high = np.quantile(kappas, [0.025, 0.975])
    return float(low), float(high)


def _class(label: Hashable, table_LL: np.ndarray, i: int) -> ClassAgreement:
    reference, ours = int(table_LL[i].sum()), int(table_LL[:, i].sum())
    both = int(table_LL[i, i])
    return ClassAgreement(
        label,
        reference,
        ours,
        both,
        both / ours if ours else None,
        both / reference if reference else None,
        2 * both / (reference + ours) if reference + ours else None,
    )
