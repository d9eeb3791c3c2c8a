"""The timeline of a study, `<study>/timeline.json`: what ran where and when, in all runs.

A file of Chrome's trace events (the Trace Event Format), which https://ui.perfetto.dev shows: a track for each GPU.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Literal

from pydantic import BaseModel, Field, NonNegativeFloat, TypeAdapter, ValidationError

from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.lease import Lease

TIMELINE = "timeline.json"
ENGINE_START = "engine"
"""The kind of an engine's start; the kind of other work is its stage."""
SAVE_S = 30.0
"""At most so much of a run is lost when its driver is killed."""


class SpanDetails(BaseModel):
    """What the Trace Event Format has no field for."""

    engine: int | None
    """The number of the engine that ran it, or that started."""
    together: int
    """How many steps ran in the batch."""
    ok: bool


class Span(BaseModel):
    """One piece of work, from its submission by the driver to its end, as a complete event of the format.

    Failed work has a span only where its location is known, that is on an engine.
    """

    name: str
    """The step's key, in a batch that of the first; `engine 1` for the start of an engine."""
    cat: str
    """A stage, or ENGINE_START."""
    ph: Literal["X"] = "X"
    ts: NonNegativeFloat = Field(allow_inf_nan=False)
    """The start, in microseconds of Unix time."""
    dur: NonNegativeFloat = Field(allow_inf_nan=False)
    """Microseconds."""
    pid: str
    """The host's name."""
    tid: str
    """`GPU 0`, with the name and commas as in CUDA_VISIBLE_DEVICES, or `CPU`."""
    args: SpanDetails


_SPANS = TypeAdapter(list[Span])


def read_timeline(study: str, store: ArtifactStore) -> list[Span]:
    """The spans of all runs so far, by when they ended; none where the file is not readable."""
    try:
        return _SPANS.validate_json(store.read(f"{study}/{TIMELINE}") or b"[]")
    except ValidationError:
        return []  # a log: no reason to end a run or a report


class Timeline:
    """The spans of a study, to which a run appends its own.

    Nothing is written once the lease is lost: the file is another run's then.
    """

    def __init__(self, store: ArtifactStore, study: str, lease: Lease) -> None:
        self._store, self._study, self._lease = store, study, lease
        self._lines = [span.model_dump_json() for span in read_timeline(study, store)]
        """An event as JSON in each, which takes a fifth of the memory."""
        self._n_saved, self._saved_at = len(self._lines), time.monotonic()

    def add(self, span: Span) -> None:
        """Adds a span that has ended; saves all if the last save was SAVE_S ago."""
        self._lines.append(span.model_dump_json())
        if time.monotonic() - self._saved_at >= SAVE_S:
            with suppress(OSError):  # no reason to end a run; it is tried again at the next span
                self.save()

    def save(self) -> None:
        """Writes the whole file if there are new spans: an object store cannot append."""
        if len(self._lines) > self._n_saved and not self._lease.lost:
            content = "[\n" + ",\n".join(self._lines) + "\n]\n"
            self._store.write(f"{self._study}/{TIMELINE}", content.encode())
        self._n_saved, self._saved_at = len(self._lines), time.monotonic()
