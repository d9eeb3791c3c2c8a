"""The timeline of a study, `<study>/timeline.json`: what ran where and when, in all runs.

A file of Chrome's trace events (the Trace Event Format), which https://ui.perfetto.dev shows: a track for each GPU.
"""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any, NamedTuple

from pydantic import BaseModel, Field, NonNegativeFloat, TypeAdapter, ValidationError

from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.lease import Lease

TIMELINE = "timeline.json"
ENGINE_START = "engine"
"""The kind of an engine's start; the kind of other work is its stage."""
SAVE_S = 30.0
"""At most so much of a run is lost when its driver is killed."""
_US = 1e6
"""Microseconds a second."""


class Span(NamedTuple):
    """One piece of work, from its submission by the driver to its end.

    Failed work has a span only where its location is known, that is on an engine.
    """

    what: str
    """The step's key, in a batch that of the first; `engine 1` for the start of an engine."""
    kind: str
    """A stage, or ENGINE_START."""
    node: str
    """The host's name."""
    gpu: str
    """As in CUDA_VISIBLE_DEVICES, with commas between several; "" without a GPU."""
    engine: int | None
    """The number of the engine that ran it, or that started."""
    started: float
    """Unix seconds, as `ended`."""
    ended: float
    together: int
    """How many steps ran in the batch."""
    ok: bool


class _Event(BaseModel):
    """A span as a complete event of the Trace Event Format: `ts` and `dur` in microseconds."""

    name: str
    cat: str
    ph: str = "X"
    ts: NonNegativeFloat = Field(allow_inf_nan=False)
    dur: NonNegativeFloat = Field(allow_inf_nan=False)
    pid: str
    tid: str
    args: dict[str, Any]


_EVENTS = TypeAdapter(list[_Event])


def read_timeline(study: str, store: ArtifactStore) -> list[Span]:
    """The spans of all runs so far, by when they ended; none where the file is not readable."""
    try:
        events = _EVENTS.validate_json(store.read(f"{study}/{TIMELINE}") or b"[]")
        return [
            Span(
                what=event.name,
                kind=event.cat,
                node=event.pid,
                gpu=event.tid.removeprefix("GPU ").removeprefix("CPU"),
                engine=event.args["engine"],
                started=event.ts / _US,
                ended=(event.ts + event.dur) / _US,
                together=event.args["together"],
                ok=event.args["ok"],
            )
            for event in events
        ]
    except (ValidationError, KeyError):
        return []  # a log: no reason to end a run or a report


class Timeline:
    """The spans of a study, to which a run appends its own.

    Nothing is written once the lease is lost: the file is another run's then.
    """

    def __init__(self, store: ArtifactStore, study: str, lease: Lease) -> None:
        self._store, self._study, self._lease = store, study, lease
        self._lines: list[str] = []
        """An event as JSON in each, which takes a fifth of the memory."""
        for span in read_timeline(study, store):
            self._append(span)
        self._n_saved, self._saved_at = len(self._lines), time.monotonic()

    def add(self, span: Span) -> None:
        """Adds a span that has ended; saves all if the last save was SAVE_S ago."""
        self._append(span)
        if time.monotonic() - self._saved_at >= SAVE_S:
            with suppress(OSError):  # no reason to end a run; it is tried again at the next span
                self.save()

    def save(self) -> None:
        """Writes the whole file if there are new spans: an object store cannot append."""
        if len(self._lines) > self._n_saved and not self._lease.lost:
            content = "[\n" + ",\n".join(self._lines) + "\n]\n"
            self._store.write(f"{self._study}/{TIMELINE}", content.encode())
        self._n_saved, self._saved_at = len(self._lines), time.monotonic()

    def _append(self, span: Span) -> None:
        event = _Event(
            name=span.what,
            cat=span.kind,
            ts=round(span.started * _US),
            dur=round((span.ended - span.started) * _US),
            pid=span.node,
            tid=f"GPU {span.gpu}" if span.gpu else "CPU",
            args={"engine": span.engine, "together": span.together, "ok": span.ok},
        )
        self._lines.append(json.dumps(event.model_dump()))
