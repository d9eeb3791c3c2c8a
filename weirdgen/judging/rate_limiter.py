"""One endpoint's limits, shared by everybody who asks it.

Requests are paced, not counted: each gets a moment of its own, and moments lie so far apart that no
60 s, wherever they begin, hold more than the limit, even where requests are sent up to `EXPIRY_S` late
and are up to `SLACK_S` on their way, some of them and others not. So nothing has to be remembered, and a
limiter that is started again keeps to the limit by beginning with a pause.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

WINDOW_S = 60.0
SLACK_S = 1.0
HORIZON_S = 0.25
"""Permits are given so far ahead: what a pause can no longer call back."""
EXPIRY_S = 0.5
"""A permit that was not used by then is void: late requests would crowd."""
_SPAN_S = WINDOW_S + EXPIRY_S + SLACK_S
"""The moments of what reaches the server within 60 s lie within so many."""
CUT = 0.8
"""What is left of the rate after a 429 (inspect_ai cuts as much)."""
GROWTH_PER_S = 0.01
"""Share of the rate that comes back each second."""
_SLOWEST_PER_S = 1 / 30
_MEASURED = 256
_DEAF_S = 1.0
"""After a cut, further refusals are of what was sent before it."""


class PermitUsage(NamedTuple):
    """What became of permits that were given before."""

    spare_tokens: int = 0
    """Estimated tokens that were not used; negative where more were."""
    refused: bool = False
    """The endpoint said 429."""
    wait_s: float | None = None
    """How long everybody is to wait, in the endpoint's own words."""


class PermitGrant(NamedTuple):
    """Permits, by the order they were wanted in."""

    delays_s: list[float]
    """When each request may be sent, from now on; fewer than wanted where there is no room."""
    retry_s: float
    """When to ask for the others."""


class Limiter:
    """Gives permits to send requests; None for a limit means that the endpoint has none."""

    def __init__(
        self,
        requests_per_minute: int | None,
        tokens_per_minute: int | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._full = requests_per_minute / _SPAN_S if requests_per_minute else math.inf
        self._tokens_per_minute = tokens_per_minute
        self._clock = clock
        self._rate = self._full
        """Requests a second at present."""
        self._share = 1.0
        """Of the tokens' limit, at present."""
        self._largest = 0
        now = clock()
        limited = requests_per_minute or tokens_per_minute
        # Whoever sent before this limiter began may hold permits for as long as this.
        self._last = self._paid = now + (HORIZON_S + EXPIRY_S if limited else 0.0)
        self._held_until = self._cut_at = self._grown_at = now
        self._given: deque[float] = deque(maxlen=_MEASURED)

    def lease(self, wanted: Sequence[int], reports: Sequence[PermitUsage] = ()) -> PermitGrant:
        """Permits for requests of so many estimated tokens each."""
        now = self._clock()
        for report in reports:
            self._take(report, now)
        self._grow(now)
        delays: list[float] = []
        for tokens in wanted:
            gap = self._gap(tokens)
            at = max(now, self._held_until, self._last + 1 / self._rate, self._paid + gap)
            if at > now + HORIZON_S:
                return PermitGrant(delays, at - now - HORIZON_S / 2)
            delays.append(at - now)
            self._given.append(at)
            self._last = self._paid = at
        return PermitGrant(delays, 0.0)

    def _gap(self, tokens: int) -> float:
        """Seconds in which the limit makes room for so many tokens.

        The window may begin with one request that was paid before it: room is kept for the largest.
        """
        if self._tokens_per_minute is None:
            return 0.0
        self._largest = max(self._largest, tokens)
        room = self._tokens_per_minute - self._largest
        return (_SPAN_S if room <= tokens else _SPAN_S * tokens / room) / self._share

    def _take(self, report: PermitUsage, now: float) -> None:
        if report.spare_tokens:
            sign = math.copysign(1, report.spare_tokens)
            self._paid -= sign * self._gap(abs(report.spare_tokens))
        if report.wait_s is not None:
            self._held_until = max(self._held_until, now + report.wait_s)
        # What was sent before a cut says nothing about the rate after it.
        if report.refused and now - self._cut_at >= _DEAF_S:
            self._cut(now)

    def _cut(self, now: float) -> None:
        if math.isinf(self._rate) and self._given:
            self._rate = len(self._given) / max(now - self._given[0], _DEAF_S / 10)
        self._rate = max(_SLOWEST_PER_S, CUT * self._rate)
        self._share = max(0.01, CUT * self._share)
        self._cut_at = now

    def _grow(self, now: float) -> None:
        """Gives back a little of what was cut; without a limit there is no end to it."""
        grown = GROWTH_PER_S * (now - self._grown_at)
        self._grown_at = now
        if now - self._cut_at < _DEAF_S or math.isinf(self._rate):
            return
        basis = self._rate if math.isinf(self._full) else self._full
        self._rate = min(self._full, self._rate + grown * basis)
        self._share = min(1.0, self._share + grown)
