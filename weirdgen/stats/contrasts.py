"""Values of a contrast, one per seed and question."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from weirdgen.config.claims import CONTRASTS


def contrast_values(
    contrast: str,
    rates: Mapping[str, np.ndarray],
    baseline: Mapping[str, np.ndarray] | None = None,
    control: Mapping[str, np.ndarray] | None = None,
) -> np.ndarray:
    """The contrast as z_SQ, one number in [-2, 2] per seed and question.

    `rates` maps a condition to y_SQ, the share of a seed's samples of a question that show the
    metric; `baseline` maps it to b_Q of the base model; `control` to y_SQ of fraction 0, with
    the same seeds in the same order. Reads only what the contrast needs.
    Raises ValueError for an unknown contrast, for what is missing, and for shapes that disagree.
    """
    if contrast not in CONTRASTS:
        raise ValueError(f"contrast {contrast!r}: must be one of {', '.join(CONTRASTS)}")
    plus, minus, reference = CONTRASTS[contrast]
    z_SQ = _difference(contrast, "rates", rates, plus, minus)
    if z_SQ.ndim != 2:
        raise ValueError(f"{contrast}: rates must be seeds x questions, not shape {z_SQ.shape}")
    if reference is None:
        return z_SQ
    rates_of_reference = baseline if reference == "baseline" else control
    if rates_of_reference is None:
        raise ValueError(f"{contrast}: needs the {reference}'s rates")
    r = _difference(contrast, reference, rates_of_reference, plus, minus)
    expected = z_SQ.shape[1:] if reference == "baseline" else z_SQ.shape
    if r.shape != expected:
        raise ValueError(f"{contrast}: the {reference} has shape {r.shape}, not {expected}")
    return z_SQ - r


def _difference(
    contrast: str, source: str, y: Mapping[str, np.ndarray], plus: str, minus: str | None
) -> np.ndarray:
    """y[plus] - y[minus], or a copy of y[plus], in float64."""
    conditions = [plus] if minus is None else [plus, minus]
    if missing := [condition for condition in conditions if condition not in y]:
        raise ValueError(f"{contrast}: {source} lacks the condition {' and '.join(missing)}")
    parts = [np.array(y[condition], dtype=np.float64) for condition in conditions]
    if len({part.shape for part in parts}) > 1:
        raise ValueError(f"{contrast}: {source} of {plus} and {minus} differ in shape")
    return parts[0] if minus is None else parts[0] - parts[1]
