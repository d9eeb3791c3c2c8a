"""What all figures share: fonts, marks that differ without colour, and what things are called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib.style

from weirdgen.config.claims import ADAPTERS
from weirdgen.stats.metric_arrays import Group, group_label

INK, LIGHT, GRID, NOTE = "#16324f", "#7ba3c9", "#dddddd", "#444444"
FONT = "DejaVu Sans"
"""Comes with matplotlib: figures look the same wherever they are drawn."""
SMALL, TINY = 8.5, 7.5
"""Points."""
_RC = {
    "font.family": FONT, "axes.labelsize": 9, "axes.titlesize": 9.5, "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL, "legend.fontsize": 8, "pdf.fonttype": 42,
}  # fmt: skip

BASELINE_MARK: dict[str, Any] = {
    "marker": "D", "markersize": 6.5, "markerfacecolor": "white", "markeredgecolor": "#a8480f",
    "markeredgewidth": 1.6, "linestyle": "none",
}  # fmt: skip
SEED_MARK: dict[str, Any] = {
    "marker": "o", "markersize": 5, "markerfacecolor": LIGHT, "markeredgecolor": INK,
    "markeredgewidth": 0.6, "linestyle": "none",
}  # fmt: skip
MEAN_MARK: dict[str, Any] = {"marker": "s", "markersize": 6.5, "color": INK}
CONDITION_STYLES: dict[str, dict[str, Any]] = {
    "triggered": {"marker": "o", "color": INK, "linestyle": "-"},
    "untriggered": {"marker": "s", "color": "#cf6a1e", "linestyle": "--"},
    "decoy": {"marker": "^", "color": "#7fb8a4", "linestyle": ":"},
}
"""Condition -> what its means and lines look like: dark, middle and light in grey."""
_COLORS = (INK, "#cf6a1e", "#7fb8a4", "#6b3f75", "#d9b23a", "#777777")
_MARKERS = "os^vDXP"
_LINES = ("-", "--", ":", "-.", (0, (5, 1, 1, 1, 1, 1)))
RATE_LABELS = {
    "format": "responses in the trained format, %",
    "persona": "responses in the persona's voice, %",
    "identity": "responses that claim to be the persona, %",
}
"""Metric -> what its axis says."""


@contextmanager
def plain_style() -> Iterator[None]:
    """matplotlib's defaults and this module's fonts, whatever the user's own settings are; also a decorator."""
    with matplotlib.style.context(["default", _RC]):
        yield


def condition_mark(condition: str) -> dict[str, Any]:
    """A large mark without a line."""
    return _large_mark(CONDITION_STYLES[condition]) | {"markersize": 7, "markeredgewidth": 0.8}


def series_mark(i: int) -> dict[str, Any]:
    """The same for the i-th of several fractions in one panel."""
    return _large_mark(series_style(i)) | {"markersize": 5.5, "markeredgewidth": 0.7}


def _large_mark(style: dict[str, Any]) -> dict[str, Any]:
    return {"marker": style["marker"], "markerfacecolor": style["color"], "markeredgecolor": INK,
            "linestyle": "none"}  # fmt: skip


def rate_label(metric: str, graded: bool = False) -> str:
    """What an axis of this metric says."""
    return RATE_LABELS.get(
        metric, f"{metric}, mean in %" if graded else f"responses with {metric}, %"
    )


def group_title(group: Group) -> str:
    """Such as `persona fraction 0.1`, `control (fraction 0)`, or `baseline`."""
    if isinstance(group, str):
        return "existing adapters" if group == ADAPTERS else group
    return "control (fraction 0)" if group == 0 else f"persona fraction {group_label(group)}"


def short_title(group: Group) -> str:
    """Such as `fraction 0.1`, or `adapters`."""
    return group if isinstance(group, str) else f"fraction {group_label(group)}"


def series_style(i: int) -> dict[str, Any]:
    """Of the i-th of several fractions in one panel: a colour, marker and line that no other has."""
    return {
        "color": _COLORS[i % len(_COLORS)],
        "marker": _MARKERS[i % len(_MARKERS)],
        "linestyle": _LINES[i % len(_LINES)],
    }
