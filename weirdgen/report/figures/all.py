"""All figures of a report, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Iterator

from weirdgen.report.cubes import rates
from weirdgen.report.figures.agreement import agreement_plot
from weirdgen.report.figures.dose import dose_plot
from weirdgen.report.figures.gap import gap_plot
from weirdgen.report.figures.length import lengths_plot
from weirdgen.report.figures.length_rates import length_rates_plot
from weirdgen.report.figures.loss import loss_plot
from weirdgen.report.figures.power import power_plot
from weirdgen.report.figures.rates import rates_plot
from weirdgen.report.figures.timeline import timeline_plot
from weirdgen.report.figures.variance import variance_plot
from weirdgen.report.findings import ReportData
from weirdgen.report.plot import ReportFigure


def plots(shown: ReportData) -> Iterator[ReportFigure]:
    """Every figure that there is something to draw for."""
    table, metrics = shown.table, shown.metrics
    cubes = [rates(table, metric) for metric in metrics]
    subtitle = f"{cubes[0].study}, {cubes[0].model}"
    for metric in metrics:
        yield rates_plot(table, metric, shown.notes.get(metric, ""))
    drawn = [
        gap_plot(cubes),
        *map(dose_plot, cubes),
        variance_plot(shown.analysis.estimates, metrics, subtitle),
        power_plot(cubes, shown.analysis.verdicts, subtitle),
        lengths_plot(table, subtitle),
        length_rates_plot(table, metrics, {of.metric: of.graded for of in cubes}, subtitle),
        agreement_plot(shown.compared, subtitle),
        loss_plot(shown.losses, subtitle),
        timeline_plot(shown.timeline, subtitle),
    ]
    yield from (plot for plot in drawn if plot is not None)
