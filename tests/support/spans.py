"""Spans of a run's timeline."""

from __future__ import annotations

from weirdgen.storage.timeline import Span, SpanDetails

T = 1.79e9


def span(
    start: float,
    end: float,
    kind: str = "responses",
    gpu: str = "0",
    engine: int | None = None,
    together: int = 1,
    ok: bool = True,
) -> Span:
    """Seconds after T."""
    return Span(
        name=f"engine {engine}" if kind == "engine" else f"{kind}/{start:g}",
        cat=kind,
        ts=round(1e6 * (T + start)),
        dur=round(1e6 * (end - start)),
        pid="host-a",
        tid=f"GPU {gpu}" if gpu else "CPU",
        args=SpanDetails(engine=engine, together=together, ok=ok),
    )
