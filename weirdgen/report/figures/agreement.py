"""How far those who label agree: Cohen's kappa of every pair on every metric."""

from __future__ import annotations

from collections.abc import Sequence

from weirdgen.report.agreement import Compared
from weirdgen.report.figures.layout import ReportFigure, finished, mark, panels
from weirdgen.report.figures.lettering import wrapped
from weirdgen.report.figures.style import INK, SMALL, plain_style
from weirdgen.report.rendering import prose
from weirdgen.report.table import number

TITLE = "Agreement of judges and gold labels"


@plain_style()
def agreement_figure(compared: Sequence[Compared], subtitle: str) -> ReportFigure | None:
    """A line for each pair and metric, those of a metric beside each other; None without a pair."""
    if not compared:
        return None
    rows = sorted(compared, key=lambda each: (each.metric, each.reference, each.other))
    figure, axes = panels(1, 1, 6.5, 0.9 + 0.42 * len(rows))
    panel = axes[0, 0]
    labels = []
    for y, each in enumerate(rows):
        kappa = each.agreement.kappa
        labels.append("\n".join(wrapped(_name(each), 2.6, SMALL, 2)))
        if kappa is None:
            panel.plot([0], [y], marker="x", markersize=7, color=INK, linestyle="none")
            continue
        panel.interval(y, kappa, each.agreement.interval, True, color=INK, linewidth=1.3, capsize=4)
        panel.plot([kappa], [y], marker="s", markersize=6.5, color=INK, linestyle="none")
    panel.set_yticks(range(len(rows)), labels)
    for label in panel.get_yticklabels():
        label.set_parse_math(False)
    panel.set_ylim(len(rows) - 0.5, -0.5)
    panel.set_xlim(min(-0.05, panel.dataLim.xmin - 0.05), 1.05)
    panel.axvline(0, color="#888888", linewidth=0.8, zorder=0)
    panel.dress(along="x")
    panel.name_axis("x", "Cohen's kappa (no unit)", 3.5)
    handles = [mark("kappa, 95% interval over questions", marker="s", color=INK, linewidth=1.3)]
    if any(each.agreement.kappa is None for each in rows):
        handles.append(mark("not defined", marker="x", color=INK, linestyle="none"))
    said = "; ".join(f"{_name(each)}: {_cells(each)[2]}" for each in rows)
    return finished(
        figure, "judge-agreement", TITLE, subtitle, handles,
        caption=prose("caption_agreement"),
        alt=f"Kappa of {said}.",
        columns=("metric", "labels of", "responses", "agree, %", "kappa", "low", "high"),
        sections=[map(_row, rows)],
        note="95% limits, whole questions drawn.",
        n_labels=2,
    )  # fmt: skip


def _name(each: Compared) -> str:
    return f"{each.metric}: {each.reference}, {each.other}"


def _row(each: Compared) -> tuple[str, ...]:
    return each.metric, f"{each.reference}, {each.other}", *_cells(each)


def _cells(each: Compared) -> tuple[str, ...]:
    """Responses, share agreed, kappa, low, high."""
    of = each.agreement
    values = (of.kappa, *(of.interval or (None, None)))
    return f"{of.answers:,}", number(100 * of.agreed), *(number(value, 2) for value in values)
