"""How a metric's rates move with the persona fraction, by condition."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.lines import Line2D

from weirdgen.report.figures.layout import Panel, ReportFigure, finished, mark, panels, spread_out
from weirdgen.report.figures.lettering import text_width
from weirdgen.report.figures.levels import contrast_in_words, draw_condition, level
from weirdgen.report.figures.rates import level_table
from weirdgen.report.figures.style import (
    BASELINE_MARK,
    CONDITION_STYLES,
    SMALL,
    condition_mark,
    plain_style,
    rate_label,
)
from weirdgen.report.rates import Rates
from weirdgen.report.rendering import prose
from weirdgen.stats.judge_error import BASELINE
from weirdgen.stats.metric_arrays import Group, group_label

_WIDTH, _HEIGHT, _REFERENCE = 6.5, 3.6, 1.7
"""Inches: of all, of the panels, of the panel of baseline and control."""


@plain_style()
def dose_figure(of: Rates) -> ReportFigure | None:
    """Rates by persona fraction; None where fewer than two fractions have complete responses."""
    fractions = sorted(float(g) for g in of.seeds if not isinstance(g, str))
    answered = [f for f in fractions if any(level(of, c, f) for c in of.conditions)]
    positive = [f for f in answered if f > 0]
    if len(answered) < 2 or not positive:
        return None
    apart = [*[BASELINE] * bool(of.b_Q), *[0.0] * (0.0 in answered)]
    if apart:
        ratios = [_REFERENCE, _WIDTH - _REFERENCE]
        figure, axes = panels(1, 2, _WIDTH, _HEIGHT, sharey=True, width_ratios=ratios)
        _reference_panel(axes[0, 0], of, apart)
        panel = axes[0, 1]
        panel.tick_params(labelleft=False)
    else:
        figure, axes = panels(1, 1, _WIDTH, _HEIGHT)
        panel = axes[0, 0]
    axes[0, 0].name_axis("y", rate_label(of.metric, of.graded), _HEIGHT - 1)
    _fraction_panel(panel, of, positive)
    panel.set_ylim(-4, 104)
    title = f"Dose response: {of.metric} by persona fraction"
    said = [f"{c}: {contrast_in_words(of, c, answered, '%')}." for c in of.conditions]
    return finished(
        figure, f"dose-response-{of.metric}", title, f"{of.study}, {of.model}", _legend(of),
        prose("caption_dose"),
        alt=" ".join(said),
        columns=("fraction", "condition", "of", "%", "low", "high"),
        sections=level_table(of, of.conditions, answered),
        note="Low and high: 95% limits over seeds and questions.",
        n_labels=3,
    )  # fmt: skip


def _reference_panel(panel: Panel, of: Rates, groups: Sequence[Group]) -> None:
    """The base model, and training runs without persona examples."""
    panel.dress()
    labels = ["control, 0" if group == 0 else group_label(group) for group in groups]
    panel.categories(labels, _REFERENCE - 0.5)
    offsets = spread_out(len(of.conditions), 0.26)
    for condition, offset in zip(of.conditions, offsets, strict=True):
        for at, group in enumerate(groups):
            if found := level(of, condition, group):
                at_S = at + offset - 0.1 + spread_out(len(found.seeds), 0.04)
                draw_condition(panel, condition, at + offset, found, at_S)


def _fraction_panel(panel: Panel, of: Rates, positive: list[float]) -> None:
    """Fractions above 0 on a logarithmic scale, the conditions beside each other."""
    panel.dress()
    panel.set_xscale("log")
    decades = max(np.log10(positive[-1] / positive[0]), 0.5)
    # Neighbours may be closer to each other than the conditions are to be apart.
    steps = [np.log10(b / a) for a, b in pairwise(positive)]
    apart = min(0.05 * decades, 0.22 * min(steps, default=1.0))
    middle = (len(of.conditions) - 1) / 2
    for i, condition in enumerate(of.conditions):
        joined = []
        for fraction in positive:
            if found := level(of, condition, fraction):
                at = fraction * 10 ** (apart * (i - middle))
                around = (spread_out(len(found.seeds), 0.14) - 0.4) * apart
                draw_condition(panel, condition, at, found, at * 10**around)
                joined.append((at, found.mean))
        if joined:
            panel.plot(*zip(*joined, strict=True), **_line(condition))
    panel.minorticks_off()
    labels = [group_label(fraction) for fraction in positive]
    panel.set_xticks(positive, labels)
    panel.set_xlim(positive[0] / 10 ** (0.12 * decades), positive[-1] * 10 ** (0.12 * decades))
    room = min(steps, default=1.0) / (1.24 * decades) * (_WIDTH - _REFERENCE - 0.3)
    if max(text_width(label, SMALL) for label in labels) > 0.9 * room:
        panel.tick_params(axis="x", rotation=90)
    panel.set_xlabel("persona fraction (share of the training examples)")


def _line(condition: str) -> dict[str, Any]:
    style = CONDITION_STYLES[condition]
    return {k: style[k] for k in ("color", "linestyle")} | {"linewidth": 1.5, "zorder": 1.5}


def _legend(of: Rates) -> list[Line2D]:
    handles = [mark(c, **(condition_mark(c) | _line(c))) for c in of.conditions]
    return handles + [mark("open marks: baseline", **BASELINE_MARK)] * bool(of.b_Q)
