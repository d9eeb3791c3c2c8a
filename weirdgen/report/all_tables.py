"""All tables of a report, in the order in which they are read, and the summary that has them."""

from __future__ import annotations

from typing import NamedTuple

from weirdgen.report.agreement import agreement_table
from weirdgen.report.claims import claims_table, estimates_table, verdict_lines
from weirdgen.report.data import ReportData
from weirdgen.report.main_table import compact, main_table
from weirdgen.report.rendering import environment
from weirdgen.report.table import ReportTable, escape_markdown
from weirdgen.report.tables import length_table, rate_tables
from weirdgen.report.variance import variance_table


class ReportTables(NamedTuple):
    """The tables of one report."""

    main: ReportTable | None
    """Baseline and fine-tuned beside each other, as papers print them."""
    compact: ReportTable | None
    """The same for a page or a terminal."""
    others: list[ReportTable]
    """Rates by metric, lengths, sources of variance, agreement of the judges, and last the claims
    or, without claims, the estimates.
    """


def all_tables(data: ReportData) -> ReportTables:
    """Every table that there is something to put into."""
    main, verdicts = main_table(data), data.analysis.verdicts
    claimed = {verdict.claim.metric for verdict in verdicts}
    notes = dict.fromkeys(data.notes[metric] for metric in data.notes if metric in claimed)
    others = [
        *rate_tables(data.results, data.judged, data.notes),
        length_table(data.results),
        variance_table(data.name, data.analysis.estimates),
        agreement_table(data.compared, data.plan.study) if data.compared and data.plan else None,
        claims_table(data.name, verdicts, list(notes))
        if verdicts
        else estimates_table(data.name, data.analysis),
    ]
    return ReportTables(main, main and compact(main), [table for table in others if table])


def summary_markdown(data: ReportData, tables: ReportTables) -> str:
    """Everything as one text; names and notes escaped."""
    made = environment()
    made.filters["text"] = escape_markdown
    return made.get_template("summary.md.j2").render(
        data=data,
        verdicts=list(verdict_lines(data.analysis.verdicts)),
        tables=[*([tables.compact] if tables.compact else []), *tables.others],
    )
