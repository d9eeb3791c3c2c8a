"""What a report shows of one study: everything that its tables, figures, page and cards are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import pyarrow as pa

from weirdgen.config.claims import FORMAT_METRICS
from weirdgen.report.losses import Losses
from weirdgen.report.table import ReportTable, escape_markdown
from weirdgen.report.tables import is_measured, length_sheet, rate_sheets
from weirdgen.storage.timeline import Span

if TYPE_CHECKING:  # the statistics take a moment to import
    from weirdgen.pipeline.plan import Plan
    from weirdgen.report.agreement import Compared
    from weirdgen.stats.analysis import Analysis


@dataclass(frozen=True)
class ReportData:
    """What a report shows of one study's results."""

    name: str
    table: pa.Table
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
    """The study as planned; None where answers came from elsewhere."""
    labels: pa.Table | None = None
    """The rows of verdicts.parquet: who said what of an answer, and why."""
    compared: Sequence[Compared] = ()
    """Pairs of judges, and of judges and gold labels."""
    losses: Losses = field(default_factory=dict)
    """The trainings' loss curves."""
    timeline: Sequence[Span] = ()
    """What ran where and when, in all runs."""
    methods: str = ""
    """A paragraph that says what was trained, asked, judged and tested; plain text."""
    progress: str = ""
    """What is still missing of a study that runs or was stopped; empty where it is whole."""

    @cached_property
    def published(self) -> ReportTable | None:
        """The form of the published table."""
        from weirdgen.report.published import published_sheet

        return published_sheet(self)

    @cached_property
    def narrow(self) -> ReportTable | None:
        """The same for a page or a terminal."""
        from weirdgen.report.published import narrow

        return None if self.published is None else narrow(self.published)

    @cached_property
    def sheets(self) -> list[ReportTable]:
        """The other tables: rates by metric, lengths, sources of variance, agreement of the judges,
        and last the claims or, without claims, the estimates.
        """
        from weirdgen.report.agreement import agreement_sheet
        from weirdgen.report.claims import claims_sheet, estimates_sheet, variance_sheet

        verdicts = self.analysis.verdicts
        claimed = {verdict.criterion.metric for verdict in verdicts}
        notes = dict.fromkeys(self.notes[metric] for metric in self.notes if metric in claimed)
        sheets = [
            *rate_sheets(self.table, self.judged, self.notes),
            length_sheet(self.table),
            variance_sheet(self.name, self.analysis),
            agreement_sheet(self.compared, self.plan.study)
            if self.compared and self.plan
            else None,
            claims_sheet(self.name, verdicts, list(notes))
            if verdicts
            else estimates_sheet(self.name, self.analysis),
        ]
        return [sheet for sheet in sheets if sheet is not None]

    @property
    def verdicts(self) -> list[str]:
        """The verdicts in sentences."""
        from weirdgen.report.claims import verdict_lines

        return list(verdict_lines(self.analysis.verdicts))

    @property
    def metrics(self) -> list[str]:
        """Those that have a figure."""
        return [m for m in (FORMAT_METRICS[0], *self.judged) if is_measured(self.table, m)]

    def markdown(self) -> str:
        """Everything as one Markdown text, the verdicts first."""
        import jinja2

        environment = jinja2.Environment(
            loader=jinja2.PackageLoader("weirdgen.report", "templates"),
            autoescape=False,  # noqa: S701 - Markdown, escaped as such
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters["text"] = escape_markdown
        sheets = [*([self.narrow] if self.narrow else []), *self.sheets]
        return environment.get_template("summary.md.j2").render(shown=self, sheets=sheets)
