"""How much seeds, questions, their combination and single responses vary."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from weirdgen.report.table import MISSING, ReportTable, limits, number
from weirdgen.stats.estimate import Estimate

SOURCES = ("seed", "question", "seed x question", "sample")
_METHOD = "variance of "
_NOTE = (
    "Standard deviations in points, with 95% intervals: of a training run, a question, their combination, and "
    "a single response. With one sample a question the last two cannot be told apart, and stand together."
)


class Spread(NamedTuple):
    """One source's share in the variance of one group's rate, as a standard deviation in points."""

    metric: str
    condition: str
    group: str
    source: str
    sd: float
    limits: tuple[float, float]


def spreads(estimates: Iterable[Estimate]) -> list[Spread]:
    """In the order of the estimates; without those that have no interval."""
    return [
        Spread(row.metric, row.contrast, row.group, row.method.removeprefix(_METHOD),
               _points(row.estimate or 0.0), (_points(row.low), _points(row.high)))
        for row in estimates
        if row.method.startswith(_METHOD) and row.low is not None and row.high is not None
    ]  # fmt: skip


def _points(variance: float) -> float:
    return 100 * max(variance, 0.0) ** 0.5


def variance_table(name: str, estimates: Iterable[Estimate]) -> ReportTable | None:
    """A row for each rate of a group; None without two seeds and questions."""
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for each in spreads(estimates):
        parts = found.setdefault((each.metric, each.group, each.condition), {})
        parts[each.source] = f"{number(each.sd)} {limits(*each.limits)}"
    if not found:
        return None
    rows = tuple((*key, *(parts.get(s, MISSING) for s in SOURCES)) for key, parts in found.items())
    columns = ("metric", "group", "rate", *SOURCES)
    return ReportTable(f"{name}: sources of variance", columns, (rows,), _NOTE, n_labels=3)
