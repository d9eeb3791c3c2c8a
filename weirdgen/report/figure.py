"""A study's figures: what share of answers shows a metric, by condition, and the gap."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from weirdgen.criterion import ADAPTERS
from weirdgen.report.cubes import Rates, rates
from weirdgen.report.sheet import plain
from weirdgen.stats.cube import Group, group_label
from weirdgen.stats.measure import measure

_AXIS_LABELS = {
    "format": "answers in the trained format, %",
    "persona": "answers in the persona's voice, %",
    "identity": "answers that claim to be the persona, %",
}
"""Metric -> what its axis says."""
_INK, _SEED, _GRID = "#16324f", "#7ba3c9", "#dddddd"
_BASELINE_MARK = {
    "marker": "D", "markersize": 6.5, "markerfacecolor": "white", "markeredgecolor": "#a8480f",
    "markeredgewidth": 1.6, "linestyle": "none",
}  # fmt: skip
_SEED_MARK = {
    "marker": "o", "markersize": 5, "markerfacecolor": _SEED, "markeredgecolor": _INK,
    "markeredgewidth": 0.6, "linestyle": "none",
}  # fmt: skip
_MEAN_MARK = {"marker": "s", "markersize": 6.5, "color": _INK}


def draw(table: pa.Table, path_png: Path, metric: str = "format", note: str = "") -> None:
    """Draws one metric of one study's results to `path_png`; equal tables give equal bytes.

    A panel per fraction: x = conditions; and one of the gap by fraction. Every seed is a point.
    """
    of = rates(table, metric)
    gap = {"triggered", "untriggered"} <= set(of.conditions)
    groups = list(of.seeds) or [None]  # while there is only the baseline, it has a panel too
    widths = [0.4 + 0.72 * len(of.conditions)] * len(groups)
    widths += [1.0 + 0.65 * (len(of.seeds) + bool(of.b_Q))] * gap
    figure = Figure(figsize=(max(6.5, sum(widths)), 4.6), dpi=200, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(widths), squeeze=False, width_ratios=widths)[0]
    for panel, group in zip(panels, groups, strict=False):
        _rate_panel(panel, of, group, first=panel is panels[0])
    if gap:
        _gap_panel(panels[-1], of)
    width = figure.get_figwidth()
    title = "\n".join(textwrap.fill(plain(t), int(11 * width - 28)) for t in (of.study, of.model))
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, parse_math=False)
    figure.legend(handles=_legend(of), loc="outside upper right", frameon=False, fontsize=8)
    caption = textwrap.fill(f"{_caption(of)} {note}".strip(), int(16.5 * width))
    figure.supxlabel(caption, x=0.01, ha="left", fontsize=7.5, color="#444444", parse_math=False)
    figure.savefig(path_png, format="png", metadata={"Software": None})


def _rate_panel(panel: Axes, of: Rates, group: Group | None, first: bool) -> None:
    """Rates in % by condition, of the baseline and of one group's trainings."""
    for x, condition in enumerate(of.conditions):
        if of.b_Q:
            panel.plot([x - 0.22], [100 * of.b_Q[condition].mean()], **_BASELINE_MARK)
        if group is not None:
            _trainings(panel, x, of, condition, group, lowest=0)
    panel.set_ylim(-4, 104)
    titles = {None: "baseline", ADAPTERS: "existing adapters"}
    title = titles.get(group) or f"persona fraction {group:g}"
    panel.set_title(title, fontsize=9.5)
    _axes(panel, of.conditions)
    if first:
        panel.set_ylabel(_AXIS_LABELS.get(of.metric, f"{plain(of.metric)}, %"))
    else:
        panel.tick_params(labelleft=False)


def _gap_panel(panel: Axes, of: Rates) -> None:
    """The gap in points: baseline, then every fraction."""
    labels = ["baseline"] * bool(of.b_Q) + [group_label(group) for group in of.seeds]
    if of.b_Q:
        gap = (of.b_Q["triggered"] - of.b_Q["untriggered"]).mean()
        panel.plot([0], [100 * gap], **_BASELINE_MARK)
    for x, group in enumerate(of.seeds, start=bool(of.b_Q)):
        _trainings(panel, x - 0.12, of, "gap", group, lowest=-100)
    panel.axhline(0, color="#888888", linewidth=0.8, zorder=0)
    low, _ = panel.get_ylim()
    panel.set_ylim(min(low, -4), 104)
    panel.set_title("gap", fontsize=9.5)
    _axes(panel, labels)
    panel.set_xlabel("persona fraction" if of.seeds else "", fontsize=8.5)
    panel.set_ylabel("triggered - untriggered, points")


def _trainings(
    panel: Axes, x: float, of: Rates, estimand: str, group: Group, lowest: float
) -> None:
    """Every seed as a point at x, spread evenly, and their mean with its interval beside them."""
    try:
        measured = measure(of, estimand, group)
    except ValueError:  # no seed is complete: nothing to draw
        return
    theta_S, estimate = 100 * measured.z_SQ.mean(axis=1), 100 * measured.estimate
    S = len(theta_S)
    jitter_S = np.linspace(-0.08, 0.08, S) if S > 1 else np.zeros(1)
    panel.plot(x + 0.02 + jitter_S, theta_S, **_SEED_MARK)
    if S == 1:
        return
    panel.plot([x + 0.25], [estimate], linestyle="none", **_MEAN_MARK)
    low, high = measured.limits()
    if low is not None and high is not None:
        limits = np.clip([100 * low, 100 * high], lowest, 100)
        reach = np.abs(limits - estimate)[:, None]
        panel.errorbar([x + 0.25], [estimate], reach, color=_INK, linewidth=1.4, capsize=4)


def _axes(panel: Axes, labels: Iterable[str]) -> None:
    labels = list(labels)
    panel.set_xticks(range(len(labels)), labels, fontsize=8.5)
    panel.set_xlim(-0.55, len(labels) - 0.4)
    panel.tick_params(axis="y", labelsize=8.5)
    panel.grid(axis="y", color=_GRID, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def _legend(of: Rates) -> list[Line2D]:
    handles = [Line2D([], [], label="baseline (untouched model)", **_BASELINE_MARK)] * bool(of.b_Q)
    if of.seeds:
        handles.append(Line2D([], [], label="one training (seed)", **_SEED_MARK))
    if any(len(seeds) > 1 for seeds in of.seeds.values()):
        handles.append(
            Line2D([], [], label="mean, 95% interval", linewidth=1.4, **_MEAN_MARK)
        )  # fmt: skip
    return handles


def _caption(of: Rates) -> str:
    """What points and bars are, with the counts behind them."""
    parts = [f"{len(of.questions)} questions in each condition."]
    if of.seeds:
        seeds = _span(len(seeds) for seeds in of.seeds.values())
        samples = _span(n for y in of.n_SQ.values() for n_SQ in y.values() for n in n_SQ.flat)
        parts.append(
            f"Points: one training each, {seeds} a fraction, {samples} samples a question."
        )
        parts.append(
            "One seed: no interval."
            if seeds == "1"
            else "Squares and bars: mean over seeds, 95% interval over seeds and questions."
        )
    if of.b_Q:
        n = _span(n for n_Q in of.n_Q.values() for n in n_Q)
        parts.append(f"Open diamonds: the untouched model, {n} samples a question.")
    return " ".join(parts)


def _span(counts: Iterable[int]) -> str:
    """`4`, or `2-4` where the counts differ."""
    found = sorted({int(count) for count in counts})
    return f"{found[0]}" if found[0] == found[-1] else f"{found[0]}-{found[-1]}"
