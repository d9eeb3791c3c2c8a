"""What most figures draw: a contrast of one group by seed, with its mean and intervals, in % or points."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from weirdgen.report.figures.layout import spread_out
from weirdgen.report.figures.style import INK, MEAN_MARK, SEED_MARK, group_title
from weirdgen.report.rates import CONDITIONS, Rates
from weirdgen.report.table import MISSING
from weirdgen.stats.contrast_estimate import estimate_contrast
from weirdgen.stats.metric_arrays import Group
from weirdgen.text import round_unsigned

Limits = tuple[float, float]


@dataclass(frozen=True)
class Level:
    """One contrast of one group over its complete seeds: rates in %, differences in points."""

    seeds: tuple[int | str, ...]
    theta_S: np.ndarray
    """Mean over questions and samples, of each seed."""
    mean: float
    limits: Limits | None
    """95%, over seeds and questions; None for one seed, and where nothing varies."""
    limits_of_seeds: Limits | None
    """95%, over seeds on exactly these questions."""


def level(of: Rates, contrast: str, group: Group) -> Level | None:
    """None where no seed is complete. Limits end where rates, or differences of them, must."""
    try:
        measured = estimate_contrast(of, contrast, group)
    except ValueError:  # what it is made of is not there, or not yet
        return None
    several = len(measured.seeds) > 1
    lowest = 0.0 if contrast in CONDITIONS else -100.0
    return Level(
        measured.seeds,
        100 * measured.z_SQ.mean(axis=1),
        100 * measured.estimate,
        _limits(measured.limits(), lowest) if several else None,
        _limits(estimate_contrast(of, contrast, group, "seeds").limits(), lowest)
        if several
        else None,
    )


def _limits(limits: tuple[float | None, float | None], lowest: float) -> Limits | None:
    low, high = limits
    if low is None or high is None:
        return None
    low, high = np.clip([100 * low, 100 * high], lowest, 100.0).tolist()
    return low, high


def baseline_level(of: Rates, contrast: str) -> float | None:
    """The base model's rate in %, or gap in points; None where its responses are not complete."""
    plus, *minus = ("triggered", "untriggered") if contrast == "gap" else (contrast,)
    if not {plus, *minus} <= of.b_Q.keys():
        return None
    value = float(100 * (of.b_Q[plus] - sum(of.b_Q[condition] for condition in minus)).mean())
    return value if np.isfinite(value) else None


def draw_level(panel: Axes, x: float, of: Level) -> None:
    """Every seed as a point around x, in the order of the seeds, and beside them mean and interval."""
    S = len(of.seeds)
    panel.plot(x + spread_out(S, 0.11), of.theta_S, **SEED_MARK)
    if S > 1:
        at = x + 0.28
        bar(panel, at, of.mean, of.limits, color=INK, linewidth=1.4, capsize=4)
        panel.plot([at], [of.mean], linestyle="none", **MEAN_MARK)


def bar(
    panel: Axes,
    at: float,
    middle: float,
    limits: Limits | None,
    across: bool = False,
    **style: Any,
) -> None:
    """An interval through `middle`, upright or `across`; nothing without limits."""
    if limits is None:
        return
    # A middle that lies outside by rounding alone must not turn a length negative.
    reach = np.array([[max(middle - limits[0], 0.0)], [max(limits[1] - middle, 0.0)]])
    x, y = ([middle], [at]) if across else ([at], [middle])
    panel.errorbar(x, y, **{"xerr" if across else "yerr": reach}, linestyle="none", **style)


# The same as cells of a table.


def number(value: float | None, signed: bool = False) -> str:
    """One decimal, of % or points."""
    if value is None or not np.isfinite(value):
        return MISSING
    return f"{round_unsigned(value, 1):{'+' if signed else ''}.1f}"


def limit_cells(limits: Limits | None, signed: bool = False) -> tuple[str, str]:
    """Low and high, each in a cell of its own."""
    low, high = limits or (None, None)
    return number(low, signed), number(high, signed)


def level_rows(labels: Sequence[str], of: Level, signed: bool = False) -> Iterator[tuple[str, ...]]:
    """The mean with its limits, then every seed: labels, which, value, low, high."""
    S = len(of.seeds)
    if S > 1:
        yield *labels, f"mean of {S}", number(of.mean, signed), *limit_cells(of.limits, signed)
    for seed, theta in zip(of.seeds, of.theta_S, strict=True):
        name = seed if isinstance(seed, str) else f"seed {seed}"
        yield *labels, name, number(float(theta), signed), MISSING, MISSING


def in_words(of: Level, unit: str, signed: bool = False) -> str:
    """Such as `83.3% (95% interval 50.0 to 95.0)`."""
    said = f"{number(of.mean, signed)}{unit}"
    if of.limits is None:
        return said
    low, high = limit_cells(of.limits, signed)
    return f"{said} (95% interval {low} to {high})"


def contrast_in_words(of: Rates, contrast: str, groups: Iterable[Group], unit: str) -> str:
    """Such as `baseline 3.1%, persona fraction 0.1 83.3% (95% interval 50.0 to 95.0)`."""
    signed = contrast == "gap"
    said = [
        f"{group_title(group)} {in_words(found, unit, signed)}"
        for group in groups
        if (found := level(of, contrast, group))
    ]
    if (value := baseline_level(of, contrast)) is not None:
        said.insert(0, f"baseline {number(value, signed)}{unit}")
    return ", ".join(said) or "no complete responses yet"
