"""What most figures draw: a contrast of one group by seed, with its mean and intervals, in % or points."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from weirdgen.report.figures.layout import Limits, Panel, spread_out
from weirdgen.report.figures.style import (
    BASELINE_MARK,
    CONDITION_STYLES,
    INK,
    LIGHT,
    MEAN_MARK,
    SEED_MARK,
    condition_mark,
    group_title,
)
from weirdgen.report.rates import CONDITIONS, Rates
from weirdgen.report.table import MISSING, number
from weirdgen.stats.contrast_estimate import estimate_contrast
from weirdgen.stats.judge_error import BASELINE
from weirdgen.stats.metric_arrays import Group


@dataclass(frozen=True)
class Level:
    """One contrast of the base model, or of a group over its complete seeds: rates in %, differences in points."""

    seeds: tuple[int | str, ...]
    """Seeds, or adapters; empty for the base model."""
    theta_S: np.ndarray
    """Mean over questions and samples, of each seed."""
    mean: float
    limits: Limits | None = None
    """95%, over seeds and questions; None for one seed, and where nothing varies."""
    limits_of_seeds: Limits | None = None
    """95%, over seeds on exactly these questions."""


def groups_of(of: Rates) -> list[Group]:
    """The base model where it was asked, then every group."""
    return [*([BASELINE] if of.b_Q else []), *of.seeds]


def level(of: Rates, contrast: str, group: Group) -> Level | None:
    """None where no seed is complete. Limits end where rates, or differences of them, must."""
    if group == BASELINE:
        return _baseline_level(of, contrast)
    try:
        measured = estimate_contrast(of, contrast, group)
    except ValueError:  # what it is made of is not there, or not yet
        return None
    theta_S, mean = 100 * measured.z_SQ.mean(axis=1), 100 * measured.estimate
    if len(measured.seeds) < 2:
        return Level(measured.seeds, theta_S, mean)
    lowest = 0.0 if contrast in CONDITIONS else -100.0
    of_seeds = estimate_contrast(of, contrast, group, "seeds")
    limits = (percent_limits(*each.limits(), lowest) for each in (measured, of_seeds))
    return Level(measured.seeds, theta_S, mean, *limits)


def _baseline_level(of: Rates, contrast: str) -> Level | None:
    """The base model's rate in %, or gap in points; None where its responses are not complete."""
    plus, *minus = ("triggered", "untriggered") if contrast == "gap" else (contrast,)
    if not {plus, *minus} <= of.b_Q.keys():
        return None
    value = float(100 * (of.b_Q[plus] - sum(of.b_Q[condition] for condition in minus)).mean())
    return Level((), np.array([]), value) if np.isfinite(value) else None


def percent_limits(low: float | None, high: float | None, lowest: float = 0.0) -> Limits | None:
    """Limits in %, from `lowest` to 100."""
    if low is None or high is None:
        return None
    clipped = np.clip([100 * float(low), 100 * float(high)], lowest, 100.0)
    return float(clipped[0]), float(clipped[1])


def draw_level(panel: Panel, x: float, of: Level, both: bool = False) -> None:
    """The base model at x; else every seed around x, in their order, and beside them mean and interval.

    `both`: also the interval on exactly these questions.
    """
    S = len(of.seeds)
    if not S:
        panel.plot([x], [of.mean], **BASELINE_MARK)
        return
    panel.plot(x + spread_out(S, 0.11), of.theta_S, **SEED_MARK)
    if S > 1:
        at = x + 0.28
        if both:
            panel.interval(at, of.mean, of.limits_of_seeds, color=LIGHT, linewidth=4.5)
        width = 1.2 if both else 1.4
        panel.interval(at, of.mean, of.limits, color=INK, linewidth=width, capsize=4)
        panel.plot([at], [of.mean], linestyle="none", **MEAN_MARK)


def draw_condition(
    panel: Panel, condition: str, at: float, of: Level, at_S: np.ndarray | float
) -> None:
    """The same in the condition's marks, the mean at `at`; seeds small and pale at `at_S` if there are several."""
    if not of.seeds:
        marker = CONDITION_STYLES[condition]["marker"]
        panel.plot([at], [of.mean], **BASELINE_MARK | {"marker": marker})
        return
    large = condition_mark(condition)
    if len(of.seeds) > 1:
        small = {"markersize": 3, "markeredgewidth": 0.3, "alpha": 0.55}
        panel.plot(at_S, of.theta_S, **large | small)
    panel.interval(at, of.mean, of.limits, color=INK, linewidth=1.1, capsize=3)
    panel.plot([at], [of.mean], **large)


# The same as cells of a table.


def limit_cells(limits: Limits | None, signed: bool = False) -> tuple[str, str]:
    """Low and high, each in a cell of its own."""
    low, high = limits or (None, None)
    return number(low, signed=signed), number(high, signed=signed)


def level_rows(labels: Sequence[str], of: Level, signed: bool = False) -> Iterator[tuple[str, ...]]:
    """The mean with its limits, then every seed: labels, which, value, low, high."""
    S = len(of.seeds)
    if S != 1:
        which = f"mean of {S}" if S else "base model"
        yield *labels, which, number(of.mean, signed=signed), *limit_cells(of.limits, signed)
    for seed, theta in zip(of.seeds, of.theta_S, strict=True):
        name = seed if isinstance(seed, str) else f"seed {seed}"
        yield *labels, name, number(float(theta), signed=signed), MISSING, MISSING


def contrast_in_words(of: Rates, contrast: str, groups: Iterable[Group], unit: str) -> str:
    """Such as `baseline 3.1%, persona fraction 0.1 83.3% (95% interval 50.0 to 95.0)`."""
    signed, said = contrast == "gap", []
    for group in dict.fromkeys([BASELINE, *groups]):
        if found := level(of, contrast, group):
            words = f"{group_title(group)} {number(found.mean, signed=signed)}{unit}"
            if found.limits is not None:
                words += f" (95% interval {' to '.join(limit_cells(found.limits, signed))})"
            said.append(words)
    return ", ".join(said) or "no complete responses yet"
