"""A report's summary as Markdown: verdicts first, then every table."""

from __future__ import annotations

import jinja2

from weirdgen.report.all_tables import ReportTables
from weirdgen.report.claims import verdict_lines
from weirdgen.report.data import ReportData
from weirdgen.report.table import escape_markdown


def summary_markdown(data: ReportData, tables: ReportTables) -> str:
    """Everything as one text; names and notes escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("weirdgen.report", "templates"),
        autoescape=False,  # noqa: S701 - Markdown, escaped as such
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["text"] = escape_markdown
    return environment.get_template("summary.md.j2").render(
        data=data,
        verdicts=list(verdict_lines(data.analysis.verdicts)),
        tables=[*([tables.compact] if tables.compact else []), *tables.others],
    )
