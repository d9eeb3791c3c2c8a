"""How a study is to be analysed, from its file and its record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from weirdgen.stats.judge_error import Gold
from weirdgen.stats.metric_arrays import Group, MetricArrays
from weirdgen.stats.multiplicity import InterimLooks
from weirdgen.stats.two_way_variance import Target


@dataclass(frozen=True)
class AnalysisOptions:
    """How a study is to be analysed, from its file and its record."""

    target: Target = "seeds and questions"
    """What verdicts generalize to; estimates are given for both."""
    looks: InterimLooks | None = None
    """None: the data are looked at once, as they are."""
    planned: Mapping[Group, int] = field(default_factory=dict)
    """Training runs that the study lists at a group; those without a row have failed, or are to come."""
    offline: frozenset[str] = frozenset()
    """Metrics that only the offline judge has labelled."""
    gold: Mapping[str, Mapping[tuple[Group, str], Gold]] = field(default_factory=dict)
    """Metric -> (fraction, `adapters` or `baseline`; condition) -> gold labels against the judge."""
    judges: Mapping[str, tuple[MetricArrays, MetricArrays]] = field(default_factory=dict)
    """Metric -> cubes of what both judges say (AND) and of what either says (OR)."""
    effect: ClassVar[float] = 0.05
    """The distance from a bound that an inconclusive claim's needs are worked out for, where the
    estimate itself lies nearer than that.
    """
    sensitivity: bool = True
    """Whether to add bootstrap and sign-flip rows where there are ten seeds or more."""
