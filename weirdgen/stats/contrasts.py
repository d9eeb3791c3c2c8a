"""Estimands: what a claim is about, as one number per seed and question."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from weirdgen.config.claims import TERMS


def contrast(
    estimand: str,
    rates: Mapping[str, np.ndarray],
    baseline: Mapping[str, np.ndarray] | None = None,
    control: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """The estimand as z_SQ, one number in [-2, 2] per seed and question.

    `rates` maps a condition to y_SQ, the share of a seed's samples of a question that show the
    metric; `baseline` maps it to b_Q of the untouched model; `control` to y_SQ of fraction 0, with
    the same seeds in the same order. Only what the estimand is made of is read.
    Raises ValueError for an unknown estimand, for what is missing, and for shapes that disagree.
    """
    if estimand not in TERMS:
        raise ValueError(f"estimand {estimand!r}: must be one of {', '.join(TERMS)}")
    plus, minus, less = TERMS[estimand]
    z_SQ = _difference(estimand, "rates", rates, plus, minus)
    if z_SQ.ndim != 2:
        raise ValueError(f"{estimand}: rates must be seeds x questions, not shape {z_SQ.shape}")
    if less is None:
        return z_SQ
    reference = baseline if less == "baseline" else control
    if reference is None:
        raise ValueError(f"{estimand}: needs the {less}'s rates")
    r = _difference(estimand, less, reference, plus, minus)
    expected = z_SQ.shape[1:] if less == "baseline" else z_SQ.shape
    if r.shape != expected:
        raise ValueError(f"{estimand}: the {less} has shape {r.shape}, not {expected}")
    return z_SQ - r


def _difference(
    estimand: str, source: str, y: Mapping[str, np.ndarray], plus: str, minus: str | None
) -> np.ndarray:
    """y[plus] - y[minus], or a copy of y[plus], in float64."""
    conditions = [plus] if minus is None else [plus, minus]
    if missing := [condition for condition in conditions if condition not in y]:
        raise ValueError(f"{estimand}: {source} lacks the condition {' and '.join(missing)}")
    parts = [np.array(y[condition], dtype=np.float64) for condition in conditions]
    if len({part.shape for part in parts}) > 1:
        raise ValueError(f"{estimand}: {source} of {plus} and {minus} differ in shape")
    return parts[0] if minus is None else parts[0] - parts[1]
