"""How far two judges agree on the same answers."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import NamedTuple

import krippendorff
import numpy as np
from sklearn.metrics import cohen_kappa_score

_RESAMPLES = 2000


class ClassAgreement(NamedTuple):
    """Agreement on one label."""

    label: Hashable
    reference: int
    """Answers with this label by the reference."""
    ours: int
    """Answers with this label by the judge."""
    both: int
    precision: float | None
    """both / ours; None where the judge never gives the label."""
    recall: float | None
    """both / reference; None where the reference never gives it."""
    specific: float | None
    """Specific agreement, 2 both / (reference + ours) (Fleiss 1975); None where neither gives it."""


class Agreement(NamedTuple):
    """Agreement of a judge with a reference, over `answers` answers."""

    answers: int
    agreed: float
    """The share of equal labels."""
    kappa: float | None
    """Cohen's kappa (Cohen 1960); None where both give one and the same label to all."""
    interval: tuple[float, float] | None
    """95%, percentile bootstrap; None where one side gives a single label: kappa is 0 then, whatever comes."""
    alpha: float | None
    """Krippendorff's alpha for nominal labels (Krippendorff 2018); None where kappa is."""
    classes: tuple[ClassAgreement, ...]


def agreement(
    reference: Sequence[Hashable],
    ours: Sequence[Hashable],
    clusters: Sequence[Hashable] | None = None,
) -> Agreement:
    """Agreement of the labels `ours` with `reference`, each of one answer.

    The interval draws whole `clusters` (answers to one question are alike), or single answers; its
    seed is fixed. Raises ValueError for no labels, or for sequences of different lengths.
    """
    groups = range(len(reference)) if clusters is None else clusters
    if not reference or not len(reference) == len(ours) == len(groups):
        raise ValueError("labels, and clusters, must be of the same answers, and at least one")
    labels = sorted({*reference, *ours}, key=repr)
    index = {label: i for i, label in enumerate(labels)}
    x, y = (np.array([index[label] for label in side]) for side in (reference, ours))
    constant = len(set(reference)) == 1 or len(set(ours)) == 1
    return Agreement(
        answers=len(x),
        agreed=float((x == y).mean()),
        kappa=_kappa(x, y),
        alpha=_alpha(x, y),
        interval=None if constant else _interval(x, y, groups),
        classes=tuple(_class(label, x == i, y == i) for label, i in index.items()),
    )


def _kappa(x: np.ndarray, y: np.ndarray) -> float | None:
    # Undefined, and a warning in scikit-learn, where chance alone agrees always.
    if len(np.unique(np.concatenate([x, y]))) == 1:
        return None
    return float(cohen_kappa_score(x, y))


def _alpha(x: np.ndarray, y: np.ndarray) -> float | None:
    if len(np.unique(np.concatenate([x, y]))) == 1:
        return None
    return float(krippendorff.alpha(reliability_data=[x, y], level_of_measurement="nominal"))


def _interval(
    x: np.ndarray, y: np.ndarray, clusters: Sequence[Hashable]
) -> tuple[float, float] | None:
    members: dict[Hashable, list[int]] = {}
    for i, cluster in enumerate(clusters):
        members.setdefault(cluster, []).append(i)
    groups = [np.array(group) for group in members.values()]
    rng = np.random.default_rng(0)
    kappas = []
    for _ in range(_RESAMPLES):
        drawn = np.concatenate([groups[i] for i in rng.integers(len(groups), size=len(groups))])
        if (kappa := _kappa(x[drawn], y[drawn])) is not None:
            kappas.append(kappa)
    low, high = np.quantile(kappas, [0.025, 0.975])
    return float(low), float(high)


def _class(label: Hashable, x: np.ndarray, y: np.ndarray) -> ClassAgreement:
    reference, ours, both = int(x.sum()), int(y.sum()), int((x & y).sum())
    return ClassAgreement(
        label,
        reference,
        ours,
        both,
        both / ours if ours else None,
        both / reference if reference else None,
        2 * both / (reference + ours) if reference + ours else None,
    )
