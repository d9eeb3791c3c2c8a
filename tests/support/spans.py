"""Spans of a run's timeline."""

from __future__ import annotations

from typing import Any

from weirdgen.storage.timeline import Span

T = 1.79e9


def span(start: float, end: float, kind: str = "responses", gpu: str = "0", **more: Any) -> Span:
    """Seconds after T."""
    what = f"engine {more.get('engine')}" if kind == "engine" else f"{kind}/{start:g}"
    of = Span(what, kind, "host-a", gpu, None, T + start, T + end, 1, True)
    return of._replace(**more)
