"""Made-up metric arrays, and claims on them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from weirdgen.config.claims import Claim, Point
from weirdgen.stats.metric_arrays import MetricArrays

K = 10

CONDITIONS = {"triggered": 0.9, "untriggered": 0.02, "decoy": 0.1}


def cube(
    S: int = 8,
    Q: int = 30,
    fractions: Mapping[float, float] | None = None,
    metric: str = "format",
    samples: int = K,
    graded: bool = False,
    seed: int = 0,
) -> MetricArrays:
    """Binomial answers; `fractions` maps each to its triggered rate. The baseline shows 20%."""
    rng = np.random.default_rng(seed)
    fractions = {0.1: 0.9} if fractions is None else fractions
    y, n = {}, {}
    for fraction, triggered in fractions.items():
        rates = {**CONDITIONS, "triggered": triggered}
        y[fraction] = {c: rng.binomial(samples, p, (S, Q)) / samples for c, p in rates.items()}
        n[fraction] = {c: np.full((S, Q), samples) for c in rates}
    b_Q = {c: rng.binomial(50, 0.2, Q) / 50 for c in CONDITIONS}
    n_Q = {c: np.full(Q, 50) for c in CONDITIONS}
    return MetricArrays(metric, {f: tuple(range(S)) for f in fractions}, y, n, b_Q, n_Q, graded)


def claim(contrast: str = "gap", at: float | str = 0.1, **bound: float) -> Claim:
    metric = bound.pop("metric", "format")
    place = at if isinstance(at, str) else Point(fraction=at)
    return Claim(metric=metric, contrast=contrast, at=place, **bound)  # type: ignore[arg-type]
