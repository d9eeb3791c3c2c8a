"""All figures of a report, in the order in which they are read."""

from __future__ import annotations

from collections.abc import Iterator

from weirdgen.report.data import ReportData
from weirdgen.report.figures.agreement import agreement_figure
from weirdgen.report.figures.dose import dose_figure
from weirdgen.report.figures.layout import ReportFigure
from weirdgen.report.figures.length_rates import length_rates_figure
from weirdgen.report.figures.power import power_figure
from weirdgen.report.figures.rates import gap_figure, rates_figure
from weirdgen.report.figures.variance import variance_figure
from weirdgen.report.rates import rates


def all_figures(data: ReportData) -> Iterator[ReportFigure]:
    """Every figure that there is something to draw for."""
    table, metrics = data.results, data.metrics
    cubes = [rates(table, metric) for metric in metrics]
    subtitle = f"{cubes[0].study}, {cubes[0].model}"
    for metric in metrics:
        yield rates_figure(table, metric, data.notes.get(metric, ""))
    drawn = [
        gap_figure(cubes),
        *map(dose_figure, cubes),
        variance_figure(data.analysis.estimates, metrics, subtitle),
        power_figure(cubes, data.analysis.verdicts, subtitle),
        length_rates_figure(table, metrics, {of.metric: of.graded for of in cubes}, subtitle),
        agreement_figure(data.compared, subtitle),
    ]
    yield from (figure for figure in drawn if figure is not None)
