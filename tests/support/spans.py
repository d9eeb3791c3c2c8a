"""Shared by tests: what ran where and when: how it is kept, what of it is idle, and that a report is made of it."""

from __future__ import annotations

from typing import Any

from weirdgen.storage.timeline import Span

T = 1.79e9


def span(start: float, end: float, kind: str = "responses", gpu: str = "0", **more: Any) -> Span:
    """Seconds after T."""
    what = f"engine {more.get('engine')}" if kind == "engine" else f"{kind}/{start:g}"
    of = Span(what, kind, "host-a", gpu, None, T + start, T + end, 1, True)
    return of._replace(**more)
