"""What ran where and when: a lane for each GPU, a bar for each piece of work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.patches import Patch

from weirdgen.report.figures.lanes import NARROW, Bar, Chart, LaneRows, arrange
from weirdgen.report.figures.layout import ReportFigure, dress, finished, mark, panels
from weirdgen.report.figures.lettering import text_width
from weirdgen.report.figures.style import GRID, INK, NOTE, SMALL, TINY, styled
from weirdgen.report.table import MISSING
from weirdgen.storage.timeline import ENGINE_START, PAUSE_S, Span
from weirdgen.text import single_line

_WIDTH, _AXIS = 6.5, 5.0
"""Inches: of all, and about what the axis of minutes has of them."""
_PIXELS = 1000
"""Of that axis."""
_ROW, _LEAST_ROW, _HEIGHT = 0.24, 0.05, 6.0
"""Inches of a row, which shrinks where all of them would be higher than that."""
_LANE = 0.16
"""Inches that a lane's name needs."""
_BAR, _BETWEEN = 0.84, 0.5
"""In rows: a bar's height, and what lies between lanes."""
_HATCHED = 10
"""Pixels below which a hatch cannot be made out, and hides the bar's colour."""
_MOST_NAMED = 8
"""GPUs whose idle share is read out."""
TITLE = "What ran where and when"


class _Look(NamedTuple):
    """How a kind of work is drawn, with and without colour."""

    word: str
    color: str
    hatch: str
    ink: str
    """Of the hatch, and of what is written on it."""


_LOOKS = {
    "model": _Look("model", "#777777", "\\\\\\\\", "white"),
    "offline_judge": _Look("offline judge", "#6b3f75", "xxxx", "white"),
    "train": _Look("training", INK, "", "white"),
    ENGINE_START: _Look("engine start", "#cf6a1e", "////", "white"),
    "aligned": _Look("aligned examples", "#d9b23a", "....", "black"),
    "responses": _Look("responses", "#7fb8a4", "", "black"),
}
"""In the order of the legend. A stage without a look of its own comes last, in grey."""

_FAILED: dict[str, Any] = {
    "marker": "X", "markersize": 6.5, "markerfacecolor": "white", "markeredgecolor": "black",
    "markeredgewidth": 0.9,
}  # fmt: skip


@styled
def timeline_figure(spans: Sequence[Span], subtitle: str) -> ReportFigure | None:
    """None without a span."""
    if not spans:
        return None
    chart = arrange(spans, _PIXELS)
    heights = [len(lane.rows) + _BETWEEN for lane in chart.lanes]
    row_in = max(_LEAST_ROW, _LANE / max(heights), min(_ROW, _HEIGHT / sum(heights)))
    edges = [*accumulate((max(height, _LANE / row_in) for height in heights), initial=0.0)]
    figure, axes = panels(1, 1, _WIDTH, 0.5 + row_in * edges[-1])
    panel = axes[0, 0]
    middles = [(top + bottom) / 2 for top, bottom in pairwise(edges)]
    _dress(panel, chart, edges, middles)
    for lane, middle in zip(chart.lanes, middles, strict=True):
        for i, row in enumerate(lane.rows):
            _draw_row(panel, row, middle + i - (len(lane.rows) - 1) / 2, chart.minutes, row_in)
    bars = [bar for lane in chart.lanes for row in lane.rows for bar in row]
    handles: list[Artist] = [_patch(_look(kind)) for kind in _in_order(bar.kind for bar in bars)]
    if any(bar.failed for bar in bars):
        handles.append(mark("failed", linestyle="none", **_FAILED))
    return finished(
        figure, "run-timeline", TITLE, subtitle, handles, " ".join(_caption(chart)), _alt(chart, spans),
        columns=("where", "row", "kind", "first step", "steps", "failed", "start, min",
                 "end, min", "idle there, %"),
        sections=map(_rows, chart.lanes),
        note="Minutes since the first start, pauses left out. The first step of each bar; failed: pieces of work.",
        n_labels=4,
    )  # fmt: skip


def _dress(panel: Axes, chart: Chart, edges: Sequence[float], middles: Sequence[float]) -> None:
    """Names at the left, idle shares at the right, lines between lanes and at seams.

    `edges`: where lanes begin, and the last one ends; `middles`: of the lanes; in rows.
    """
    panel.set_yticks(middles, [lane.name for lane in chart.lanes])
    panel.tick_params(axis="y", length=0)
    panel.set_ylim(edges[-1], 0)
    panel.set_xlim(-4 * chart.minutes / _PIXELS, chart.minutes)  # what starts at 0 is seen
    since = "first start, pauses left out" if chart.seams else "start"
    panel.set_xlabel(f"minutes since the {since}")
    dress(panel, along="x")
    for edge in edges[1:-1]:
        panel.axhline(edge, color=GRID, linewidth=0.6)
    for seam in chart.seams:
        panel.axvline(seam, color=NOTE, linewidth=0.9, linestyle=(0, (3, 2)), zorder=0.9)
    for lane, middle in zip(chart.lanes, middles, strict=True):
        if lane.idle is not None:
            panel.text(1.01, middle, f"{_percent(lane.idle)} idle", fontsize=SMALL, color=NOTE,
                       va="center_baseline", transform=panel.get_yaxis_transform())  # fmt: skip


def _draw_row(panel: Axes, row: Sequence[Bar], y: float, minutes: float, row_in: float) -> None:
    """A row's bars, at least a pixel wide where there is room, a thin line where two touch."""
    pixel = minutes / _PIXELS
    ends = [
        min(max(bar.end, bar.start + pixel), limit)
        for bar, limit in zip(row, [*(bar.start for bar in row[1:]), minutes], strict=True)
    ]
    low, high = y - _BAR / 2, y + _BAR / 2
    shapes: dict[tuple[str, bool], list[list[tuple[float, float]]]] = {}
    for bar, end in zip(row, ends, strict=True):
        corners = [(bar.start, low), (bar.start, high), (end, high), (end, low)]
        shapes.setdefault((bar.kind, end - bar.start >= _HATCHED * pixel), []).append(corners)
    for (kind, hatched), corners in shapes.items():
        look = _look(kind)
        hatch = look.hatch if hatched else ""
        bars = PolyCollection(
            corners, facecolor=look.color, edgecolor=look.ink, linewidth=0, hatch=hatch
        )
        panel.add_collection(bars, autolim=False)
    touching = [
        [(bar.start, low), (bar.start, high)]
        for before, bar in pairwise(row)
        if bar.start - before.end < pixel
        and min(before.end - before.start, bar.end - bar.start) >= NARROW / 2 * pixel
    ]
    panel.add_collection(LineCollection(touching, color="white", linewidth=0.6), autolim=False)
    for bar in row:
        middle, look = (bar.start + bar.end) / 2, _look(bar.kind)
        inches = (bar.end - bar.start) / minutes * _AXIS
        if bar.failed:
            size = min(_FAILED["markersize"], 72 * row_in * _BAR)
            panel.plot([middle], [y], **_FAILED | {"markersize": size}, clip_on=False)
        elif text := _fitting(bar, inches, row_in):
            behind = {"facecolor": look.color, "linewidth": 0, "pad": 0.8}
            panel.text(middle, y, text, fontsize=TINY, color=look.ink, ha="center",
                       va="center_baseline", bbox=behind if look.hatch else None)  # fmt: skip


def _fitting(bar: Bar, inches: float, row_in: float) -> str:
    """What can be written on the bar."""
    texts = [_look(bar.kind).word]
    if bar.kind == "train" and bar.steps > 1:
        texts = [f"{bar.steps:,} training runs", f"{bar.steps:,}"]
    if row_in * _BAR < 1.3 * TINY / 72:
        return ""
    return next((text for text in texts if text_width(text, TINY) + 0.1 <= inches), "")


def _look(kind: str) -> _Look:
    return _LOOKS.get(kind) or _Look(kind.replace("_", " "), "#aaaaaa", "", "black")


def _in_order(kinds: Iterable[str]) -> list[str]:
    """Each kind once, in the order of the legend."""
    order = [*_LOOKS]
    return sorted(
        {*kinds}, key=lambda kind: (order.index(kind) if kind in order else len(order), kind)
    )


def _patch(look: _Look) -> Patch:
    return Patch(
        facecolor=look.color, edgecolor=look.ink, linewidth=0, hatch=look.hatch, label=look.word
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}%"


def _caption(chart: Chart) -> Iterator[str]:
    yield "A bar is one piece of work; those too narrow to tell apart are drawn as one."
    bars = [bar for lane in chart.lanes for row in lane.rows for bar in row]
    if any(bar.kind == "train" and bar.steps > 1 for bar in bars):
        yield "A number: so many training runs."
    if any(bar.kind == "offline_judge" for bar in bars):
        yield "Judge: the offline one, while it learns."
    if any(len(lane.rows) > 1 for lane in chart.lanes):
        yield "Rows of one lane: what ran there at the same time."
    if chart.seams:
        yield (
            f"Dashed lines: pauses of more than {PAUSE_S / 60:.0f} minutes, in which nothing ran at "
            "all, are cut out."
        )
    if any(lane.idle is not None for lane in chart.lanes):
        latest = " in the latest run that used one" if chart.seams else ""
        yield (
            f"Idle: of a GPU's time from its first start to its last end{latest}, the share in "
            "which nothing ran on it."
        )


def _alt(chart: Chart, spans: Sequence[Span]) -> str:
    steps: Counter[str] = Counter()
    for span in spans:
        steps[span.kind] += span.together
    made = ", ".join(f"{_look(kind).word} {steps[kind]:,}" for kind in _in_order(steps))
    failed = sum(not span.ok for span in spans)
    parted = f" in {len(chart.seams) + 1} runs" if chart.seams else ""
    said = [f"{chart.minutes:.1f} minutes{parted}; how often: {made}; {failed:,} failed."]
    shares = {lane.name: lane.idle for lane in chart.lanes if lane.idle is not None}
    if len(shares) > _MOST_NAMED:
        low, high = (_percent(of(shares.values())) for of in (min, max))
        said.append(f"Idle: {low} to {high} of the time of {len(shares)} GPUs.")
    elif shares:
        said.append(f"Idle: {', '.join(f'{n} {_percent(idle)}' for n, idle in shares.items())}.")
    return " ".join(said)


def _rows(lane: LaneRows) -> Iterator[tuple[str, ...]]:
    idle = MISSING if lane.idle is None else f"{100 * lane.idle:.1f}"
    for i, row in enumerate(lane.rows, 1):
        for bar in row:
            yield (lane.name, str(i), _look(bar.kind).word, single_line(bar.what), f"{bar.steps:,}",
                   f"{bar.failed:,}", f"{bar.start:.3f}", f"{bar.end:.3f}", idle)  # fmt: skip
