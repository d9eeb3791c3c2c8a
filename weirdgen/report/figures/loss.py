"""The training loss of every seed, by fraction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from weirdgen.report.data import Losses
from weirdgen.report.figures.layout import Panel, ReportFigure, finished, mark, panel_grid
from weirdgen.report.figures.style import INK, LIGHT, group_title, styled
from weirdgen.report.table import number

_WIDTH, _HEIGHT = 2.9, 2.5
"""Inches of one panel."""
_MOST_POINTS = 40
"""Of one curve: single updates scatter too much to be read."""
TITLE = "Training loss of every seed"
_CAPTION = (
    "Cross-entropy on the completions' tokens, in nats. Thin lines: one training run each, its updates averaged in at "
    "most {points} stretches of equal length{mean}. An epoch is one pass over the training examples."
)


@dataclass(frozen=True)
class _Curve:
    """One training run's loss, averaged over stretches of its updates."""

    seed: int
    steps: int
    epoch_P: np.ndarray
    """The last epoch of each stretch."""
    loss_P: np.ndarray
    """Nats per token."""


@styled
def loss_figure(losses: Losses, subtitle: str) -> ReportFigure | None:
    """A panel for each fraction; None without a curve."""
    by_fraction: dict[float, list[_Curve]] = {}
    for (fraction, seed), rows in sorted(losses.items()):
        if curve := _curve(seed, rows):
            by_fraction.setdefault(fraction, []).append(curve)
    if not by_fraction:
        return None
    figure, axes, left, inches = panel_grid(len(by_fraction), 5.0, _WIDTH, _HEIGHT, sharey=True)
    several = any(_mean(curves) is not None for curves in by_fraction.values())
    for panel, (fraction, curves) in zip(axes, by_fraction.items(), strict=True):
        _panel(panel, fraction, curves, inches - 0.5)
    for panel in left:
        panel.name_axis("y", "loss, nats per token", _HEIGHT - 0.9)
    highest = max(float(c.loss_P.max()) for curves in by_fraction.values() for c in curves)
    axes[0].set_ylim(0, 1.05 * highest or 1.0)
    handles = [mark("one training run (seed)", color=LIGHT, linewidth=1, marker=".")]
    if several:
        handles.append(mark("mean over seeds", color=INK, linewidth=2))
    mean = "; thick lines: their mean" if several else ""
    return finished(
        figure, "training-loss", TITLE, subtitle, handles,
        caption=_CAPTION.format(points=_MOST_POINTS, mean=mean),
        alt=" ".join(_said(f, curves) for f, curves in by_fraction.items()),
        columns=("fraction", "seed", "updates", "first", "lowest", "last"),
        sections=[[_row(f, each) for each in curves] for f, curves in by_fraction.items()],
        note=f"Nats per token: means of the first, the lowest and the last of at most {_MOST_POINTS} stretches.",
        n_labels=2,
    )  # fmt: skip


def _curve(seed: int, rows: Sequence[Mapping[str, float]]) -> _Curve | None:
    """None where no update has a finite loss."""
    finite = [row for row in rows if np.isfinite(row["loss"])]
    if not finite:
        return None
    parts = np.array_split(np.arange(len(finite)), min(len(finite), _MOST_POINTS))
    return _Curve(
        seed,
        len(rows),
        np.array([finite[part[-1]]["epoch"] for part in parts]),
        np.array([np.mean([finite[i]["loss"] for i in part]) for part in parts]),
    )


def _mean(curves: Sequence[_Curve]) -> np.ndarray | None:
    """The mean over seeds; None for one, and where training runs have not the same epochs."""
    first = curves[0].epoch_P
    if len(curves) < 2 or not all(np.array_equal(first, each.epoch_P) for each in curves):
        return None
    return np.mean([each.loss_P for each in curves], axis=0)


def _panel(panel: Panel, fraction: float, curves: Sequence[_Curve], inches: float) -> None:
    panel.dress(group_title(fraction), inches)
    for each in curves:
        panel.plot(
            each.epoch_P, each.loss_P, color=LIGHT, linewidth=0.8, marker=".", markersize=2.5
        )
    mean_P = _mean(curves)
    if mean_P is not None:
        panel.plot(curves[0].epoch_P, mean_P, color=INK, linewidth=2)
    panel.set_xlim(left=0)
    panel.set_xlabel("epoch (passes over the rows)")


def _row(fraction: float, each: _Curve) -> tuple[str, ...]:
    losses = (number(float(x), 3) for x in (each.loss_P[0], each.loss_P.min(), each.loss_P[-1]))
    return f"{fraction:g}", str(each.seed), f"{each.steps:,}", *losses


def _said(fraction: float, curves: Sequence[_Curve]) -> str:
    first, last = ([float(c.loss_P[i]) for c in curves] for i in (0, -1))
    return (
        f"At {group_title(fraction)}: from {number(min(first), 3)} to {number(max(first), 3)} nats at first, "
        f"{number(min(last), 3)} to {number(max(last), 3)} at last, over {len(curves)} seeds."
    )
