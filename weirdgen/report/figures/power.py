"""How likely a study with more or fewer seeds would settle its claims, at the variances it has seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from scipy.special import ndtr

from weirdgen.report.figures.layout import Panel, ReportFigure, finished, mark, panel_grid
from weirdgen.report.figures.style import plain_style, series_style, short_title
from weirdgen.report.rates import Rates
from weirdgen.report.rendering import prose
from weirdgen.report.table import MISSING, number
from weirdgen.stats.analysis import ClaimVerdict
from weirdgen.stats.contrast_estimate import ContrastEstimate, estimate_contrast
from weirdgen.stats.metric_arrays import Group, group_label
from weirdgen.stats.multiplicity import ERROR
from weirdgen.stats.options import AnalysisOptions
from weirdgen.stats.power import (
    LEAST_SEEDS,
    Variances,
    detectable_effect,
    observed_variances,
    sd_upper_factor,
)

EFFECT = 0.10
"""The distance from a bound that is reckoned with where a study makes no claims."""
_LEAST_EFFECT = AnalysisOptions.effect
_GOAL = 0.8
_GOAL_LINE = dict[str, Any](color="black", linewidth=0.9, linestyle=(0, (1, 2)), zorder=1)
_MOST_PANELS = 9
_WIDTH, _HEIGHT = 2.9, 2.7
"""Inches of one panel."""
_ONE = float(ndtr(1.0))
TITLE = "Power by the number of seeds"


@dataclass(frozen=True)
class _Curve:
    """Power over numbers of seeds, of one claim or gap at one group."""

    about: str
    """The claim, or the metric: the panel."""
    group: Group
    effect: float
    """The true distance from the bound that is reckoned with."""
    n_seeds: int
    seeds_N: np.ndarray
    power_N: np.ndarray
    worse_N: np.ndarray
    """With the seeds' standard deviation at its upper limit."""


@plain_style()
def power_figure(
    cubes: Sequence[Rates], verdicts: Sequence[ClaimVerdict], subtitle: str
) -> ReportFigure | None:
    """A panel for each claim, or else for each metric's gap; None where no variances can be told."""
    curves = list(_of_claims(verdicts) if verdicts else _of_gaps(cubes))
    if not curves:
        return None
    about = list(dict.fromkeys(curve.about for curve in curves))
    drawn = about[:_MOST_PANELS]
    figure, axes, left, inches = panel_grid(len(drawn), 5.0, _WIDTH, _HEIGHT, sharey=True)
    groups = sorted({curve.group for curve in curves}, key=lambda g: (isinstance(g, str), g))
    for panel, each in zip(axes, drawn, strict=True):
        panel.dress(each, inches - 0.5)
        for curve in curves:
            if curve.about == each:
                _draw(panel, curve, groups.index(curve.group))
        panel.axhline(100 * _GOAL, **_GOAL_LINE)
        panel.set_ylim(-4, 104)
        panel.set_xlim(left=LEAST_SEEDS - 0.5)
        panel.set_xlabel("seeds (training runs)")
    for panel in left:
        panel.name_axis("y", "power, %", _HEIGHT - 1)
    return finished(
        figure, "power-curve", TITLE, subtitle, _legend(groups),
        caption=prose(
            "caption_power", claimed=bool(verdicts), least=_LEAST_EFFECT, effect=EFFECT,
            n_drawn=len(drawn), n=len(about),
        ),
        alt=" ".join(map(_said, curves)),
        columns=(
            "about", "fraction", "distance, points", "seeds", "power now, %", "3 seeds, %", "5 seeds, %",
            "8 seeds, %", "12 seeds, %", "20 seeds, %", "seeds for 80%", "if seeds differ more",
        ),
        sections=[[_row(curve) for curve in curves if curve.about in drawn]],
        note="No verdict is given with fewer than three seeds.",
        n_labels=2,
    )  # fmt: skip


def _of_claims(verdicts: Sequence[ClaimVerdict]) -> Iterator[_Curve]:
    for verdict in verdicts:
        claim, bound = verdict.claim, verdict.claim.reach
        sign = ">=" if claim.at_least is not None else "<="
        about = f"{claim.metric} {claim.contrast} {sign} {bound:g}"
        error = verdict.error / len(verdicts)  # the share that Holm leaves the hardest claim
        for at in verdict.groups:
            if at.measured is not None:
                effect = max(abs(at.measured.estimate - bound), _LEAST_EFFECT)
                yield from _curve(about, at.group, at.measured, effect, error)


def _of_gaps(cubes: Sequence[Rates]) -> Iterator[_Curve]:
    for of in cubes:
        for group in of.seeds:
            try:
                measured = estimate_contrast(of, "gap", group)
            except ValueError:  # a condition was not asked, or is not answered yet
                continue
            yield from _curve(f"gap of {of.metric}", group, measured, EFFECT, ERROR)


def _curve(
    about: str, group: Group, measured: ContrastEstimate, effect: float, error: float
) -> Iterator[_Curve]:
    S, Q = measured.z_SQ.shape
    if min(S, Q) < 2:
        return
    observed = observed_variances(measured)
    factor = sd_upper_factor(S - 1) ** 2
    worse = Variances(observed.seeds * factor, observed.questions, observed.residual * factor)
    seeds_N = np.arange(LEAST_SEEDS, max(24, 2 * S) + 1)
    power_N, worse_N = (
        np.array([_power(v, int(n), Q, effect, error) for n in seeds_N]) for v in (observed, worse)
    )
    yield _Curve(about, group, effect, S, seeds_N, power_N, worse_N)


def _power(variances: Variances, S: int, Q: int, effect: float, error: float) -> float:
    """The power at which `effect` is the `detectable_effect`, which is linear in power's quantile."""
    half = detectable_effect(variances, S, Q, 0.5, error)
    se = detectable_effect(variances, S, Q, _ONE, error) - half
    return float(ndtr((effect - half) / se)) if se > 0 else 1.0


def _draw(panel: Panel, curve: _Curve, i: int) -> None:
    style = series_style(i)
    panel.fill_between(curve.seeds_N, 100 * curve.worse_N, 100 * curve.power_N, color=style["color"],
                       alpha=0.13, linewidth=0)  # fmt: skip
    panel.plot(curve.seeds_N, 100 * curve.power_N, color=style["color"], linestyle=style["linestyle"],
               linewidth=1.6)  # fmt: skip
    now = np.flatnonzero(curve.seeds_N == curve.n_seeds)
    panel.plot(curve.seeds_N[now], 100 * curve.power_N[now], marker=style["marker"], color=style["color"],
               markersize=7, markeredgecolor="black", linestyle="none")  # fmt: skip


def _legend(groups: Sequence[Group]) -> list[Line2D | Patch]:
    handles: list[Line2D | Patch] = []
    for i, group in enumerate(groups):
        style = {"linewidth": 1.6, "markersize": 7, "markeredgecolor": "black"} | series_style(i)
        handles.append(mark(short_title(group), **style))
    handles.append(Patch(color="#dddddd", label="if seeds differ more"))
    return [*handles, mark(f"{_GOAL:.0%}", **_GOAL_LINE)]


def _first(curve: _Curve, power_N: np.ndarray) -> str:
    """The fewest seeds of those drawn with the power that is wanted."""
    enough = curve.seeds_N[power_N >= _GOAL]
    return str(enough[0]) if len(enough) else f"more than {curve.seeds_N[-1]}"


def _row(curve: _Curve) -> tuple[str, ...]:
    at = np.flatnonzero(curve.seeds_N == curve.n_seeds)
    now = number(100 * float(curve.power_N[at[0]])) if len(at) else MISSING
    powers = (number(100 * float(curve.power_N[n - LEAST_SEEDS])) for n in (3, 5, 8, 12, 20))
    return (curve.about, group_label(curve.group), number(100 * curve.effect), str(curve.n_seeds), now,
            *powers, _first(curve, curve.power_N), _first(curve, curve.worse_N))  # fmt: skip


def _said(curve: _Curve) -> str:
    return (
        f"{curve.about}, {short_title(curve.group)}: 80% power for a distance of {number(100 * curve.effect)} points takes "
        f"{_first(curve, curve.power_N)} seeds."
    )
