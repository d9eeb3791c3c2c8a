"""What a report shows of one study: everything that its tables, figures, page and cards are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from weirdgen.config.claims import FORMAT_METRICS
from weirdgen.report.rates import is_measured

if TYPE_CHECKING:  # the statistics take a moment to import
    from weirdgen.pipeline.plan import Plan
    from weirdgen.report.agreement import Compared
    from weirdgen.stats.analysis import Analysis


@dataclass(frozen=True)
class ReportData:
    """What a report shows of one study's results."""

    name: str
    results: pa.Table
    """The rows of results.parquet."""
    judged: Sequence[str]
    """Metrics that a judge labels."""
    notes: Mapping[str, str]
    """Metric -> what a reader must know of who labelled it."""
    analysis: Analysis
    cautions: Sequence[str] = ()
    """What a reader of the claims must know of the study's design."""
    lines: Sequence[str] = ()
    """What else is to be said, below everything."""
    plan: Plan | None = None
    """The study as planned; None where responses came from elsewhere."""
    labels: pa.Table | None = None
    """The rows of labels.parquet: every judge's labels, and why."""
    compared: Sequence[Compared] = ()
    """Pairs of judges, and of judges and gold labels."""
    methods: str = ""
    """A paragraph that says what was trained, asked, judged and tested; plain text."""
    progress: str = ""
    """What is still missing of a study that runs or was stopped; empty where it is whole."""

    @property
    def metrics(self) -> list[str]:
        """Those that have a figure."""
        return [m for m in (FORMAT_METRICS[0], *self.judged) if is_measured(self.results, m)]
