"""Where the bars of a timeline stand: a lane for each GPU, rows in it for what ran at once, no long pauses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from weirdgen.pipeline.stages import STAGES
from weirdgen.storage.timeline import ENGINE_START, Lane, Span, idle_share, runs

_GROUPS = ("cpu", "engine", "training")
"""Executors, in the order of their rows where they run side by side."""
NARROW = 6
"""Pixels: bars of a kind that touch, and are narrower on average, are drawn as one."""


class Bar(NamedTuple):
    """One piece of work, or several of a kind that follow each other without a visible gap."""

    run: int
    kind: str
    what: str
    """The first step's key."""
    engine: int | None
    steps: int
    failed: int
    """How many pieces of work failed."""
    start: float
    end: float
    """Minutes since the first start, pauses between runs left out."""


class LaneRows(NamedTuple):
    """A GPU, or a node's CPUs."""

    name: str
    """Tells no host's name."""
    rows: list[list[Bar]]
    """In order; the bars of a row do not overlap."""
    idle: float | None
    """Share of its time; None for CPUs, and for a GPU of earlier runs alone."""


class Chart(NamedTuple):
    """A timeline ready to be drawn."""

    lanes: list[LaneRows]
    seams: list[float]
    """Minutes at which a pause was cut out."""
    minutes: float


def arrange(spans: Sequence[Span], pixels: int) -> Chart:
    """`spans`, at least one, on an axis of so many pixels."""
    own: dict[Lane, list[Bar]] = {}
    seams, passed = [], 0.0
    for i, run in enumerate(runs(spans)):
        first = run[0].started
        for span in run:
            start, end = (passed + (at - first) / 60 for at in (span.started, span.ended))
            failed = int(not span.ok)
            bar = Bar(i, span.kind, span.what, span.engine, span.together, failed, start, end)
            for lane in span.lanes:
                own.setdefault(lane, []).append(bar)
        passed += (max(span.ended for span in run) - first) / 60
        seams.append(passed)
    minutes = seams.pop() or 1.0
    pixel = minutes / pixels
    idle = idle_share(spans)
    lanes = [
        LaneRows(name, [_merged(row, pixel) for row in _rows(own[lane], pixel)], idle.get(lane))
        for lane, name in _names(own).items()
    ]
    return Chart(lanes, seams, minutes)


def _names(lanes: Iterable[Lane]) -> dict[Lane, str]:
    """What to call them, in the order in which they are drawn: GPUs of a node, then its CPUs."""
    of_node: dict[str, list[str]] = {}
    for node, gpu in lanes:
        of_node.setdefault(node, []).append(gpu)
    names = {}
    for number, (node, found) in enumerate(of_node.items(), 1):
        gpus = sorted(filter(None, found), key=lambda gpu: (not _is_index(gpu), len(gpu), gpu))
        by_index = all(map(_is_index, gpus))  # else they are hardware ids
        where = f"node {number} " if len(of_node) > 1 else ""
        for i, gpu in enumerate(gpus):
            names[node, gpu] = f"{where}GPU {gpu if by_index else i}"
        if "" in found:
            names[node, ""] = f"{where}CPU"
    return names


def _is_index(gpu: str) -> bool:
    return re.fullmatch(r"[0-9]{1,3}", gpu) is not None


def _rows(bars: list[Bar], pixel: float) -> list[list[Bar]]:
    """One row if nothing overlaps; else the groups' own rows, an engine's bars on one."""
    if not _overlap(bars, pixel):
        return [bars]
    rows = []
    for group in _GROUPS:
        own: list[list[Bar]] = []
        units = _units([bar for bar in bars if _group(bar.kind) == group], pixel)
        for unit in sorted(units, key=lambda unit: unit[0].start):
            row = next((row for row in own if not _overlap([row[-1], unit[0]], pixel)), None)
            if row is None:
                own.append(unit)
            else:
                row += unit
        rows += own
    return rows


def _group(kind: str) -> str:
    """The executor of a kind of work."""
    if kind == ENGINE_START:
        return "engine"
    executor = STAGES[kind].executor if kind in STAGES else "cpu"
    return executor if executor in _GROUPS else "cpu"


def _units(bars: Iterable[Bar], pixel: float) -> Iterator[list[Bar]]:
    """What stays on one row: all bars of an engine that do not overlap, and each other bar alone."""
    of_engine: dict[tuple[int, int | None], list[Bar]] = {}
    for bar in bars:
        of_engine.setdefault((bar.run, bar.engine), []).append(bar)
    for (_, engine), own in of_engine.items():
        if engine is None or _overlap(own, pixel):
            yield from ([bar] for bar in own)
        else:
            yield own


def _overlap(bars: Sequence[Bar], pixel: float) -> bool:
    """Whether any do by more than a pixel, as clocks are not exact; `bars`: in order of their starts."""
    return any(bar.end - following.start > pixel for bar, following in pairwise(bars))


def _merged(bars: Iterable[Bar], pixel: float) -> list[Bar]:
    """Bars of a kind with less than a pixel between neighbours are one bar if they are narrow.

    What overlaps by less than a pixel no longer does.
    """
    chains: list[list[Bar]] = []
    for given in bars:
        last = chains[-1][-1] if chains else None
        start = max(given.start, last.end) if last else given.start
        bar = given._replace(start=start, end=max(given.end, start))
        if last and _alike(last, bar) and bar.start - last.end < pixel:
            chains[-1].append(bar)
        else:
            chains.append([bar])
    merged = []
    for chain in chains:
        first, end = chain[0], chain[-1].end
        if end - first.start >= NARROW * pixel * len(chain):
            merged += chain
        else:
            steps, failed = sum(bar.steps for bar in chain), sum(bar.failed for bar in chain)
            merged.append(first._replace(steps=steps, failed=failed, end=end))
    return merged


def _alike(one: Bar, other: Bar) -> bool:
    ran = (one.run, one.kind) == (other.run, other.kind)
    return ran and bool(one.failed) == bool(other.failed)
