"""The timeline of a study: what ran where and when, in all runs. The file `<study>/timeline.jsonl`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Annotated, NamedTuple

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.lease import Lease

TIMELINE = "timeline.jsonl"
ENGINE_START = "engine"
"""The kind of an engine's start; the kind of other work is its stage."""
SAVE_S = 30.0
"""At most so much of a run is lost when its driver is killed."""
PAUSE_S = 600.0
"""A longer pause separates two runs of the study."""

Lane = tuple[str, str]
"""A node and one GPU of it; the GPU "" is the node's CPUs."""
_UnixSeconds = Annotated[float, Field(ge=0, lt=1e11)]


class Span(NamedTuple):
    """One piece of work, from its submission by the driver to its end.

    Failed work has a span only where its location is known, that is on an engine.
    """

    what: str
    """The step's key, in a batch that of the first; `engine 1` for the start of an engine."""
    kind: Annotated[str, Field(pattern="^[a-z_]+$")]
    """A stage, or ENGINE_START."""
    node: str
    """The host's name."""
    gpu: str
    """As in CUDA_VISIBLE_DEVICES, with commas between several; "" without a GPU."""
    engine: int | None
    """The number of the engine that ran it, or that started."""
    started: _UnixSeconds
    ended: _UnixSeconds
    together: Annotated[int, Field(ge=1)]
    """How many steps ran in the batch."""
    ok: bool

    @property
    def lanes(self) -> list[Lane]:
        """Where it ran: the node's CPUs, or each of its GPUs."""
        gpus = dict.fromkeys(filter(None, map(str.strip, self.gpu.split(","))))
        return [(self.node, gpu) for gpu in gpus or [""]]


_SPAN = TypeAdapter(Span, config=ConfigDict(strict=True, allow_inf_nan=False))


def read_timeline(study: str, store: ArtifactStore) -> list[Span]:
    """The spans of all runs so far; lines that are no spans are skipped."""
    spans = []
    for line in (store.read(f"{study}/{TIMELINE}") or b"").splitlines():
        try:
            span = _SPAN.validate_json(line)
        except ValidationError:
            continue
        if span.started <= span.ended:
            spans.append(span)
    return spans


class Timeline:
    """The spans of a study, to which a run appends its own.

    Nothing is written once the lease is lost: the file is another run's then.
    """

    def __init__(self, store: ArtifactStore, study: str, lease: Lease) -> None:
        self._store, self._study, self._lease = store, study, lease
        self._lines = bytearray()
        """All spans as text, which takes a fifth of the memory."""
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
            self._store.write(f"{self._study}/{TIMELINE}", bytes(self._lines))
        self._n_saved, self._saved_at = len(self._lines), time.monotonic()

    def _append(self, span: Span) -> None:
        self._lines += f"{json.dumps(span._asdict())}\n".encode()


def runs(spans: Iterable[Span]) -> list[list[Span]]:
    """The spans by start, split where nothing ran for more than PAUSE_S."""
    found: list[list[Span]] = []
    reached = float("-inf")
    for span in sorted(spans, key=lambda span: (span.started, span.ended)):
        if span.started - reached > PAUSE_S:
            found.append([])
        found[-1].append(span)
        reached = max(reached, span.ended)
    return found


def idle_share(spans: Iterable[Span]) -> dict[Lane, float]:
    """GPU -> the idle share of its time from first start to last end, in the latest run with GPUs."""
    for run in reversed(runs(spans)):
        of_gpu: dict[Lane, list[Span]] = {}
        for span in run:
            for node, gpu in span.lanes:
                if gpu:
                    of_gpu.setdefault((node, gpu), []).append(span)
        if of_gpu:
            return {lane: _idle(own) for lane, own in of_gpu.items()}
    return {}


def _idle(spans: Sequence[Span]) -> float:
    """`spans`: in order of their starts."""
    idle, reached = 0.0, spans[0].started
    for span in spans:
        idle += max(span.started - reached, 0.0)
        reached = max(reached, span.ended)
    whole = reached - spans[0].started
    return idle / whole if whole else 0.0
