"""Rate limiter for one endpoint, shared by all processes that send to it.

Requests are paced, not counted: each gets its own time slot, and slots lie so far apart that no
window of 60 s holds more than the limit, even if requests are sent up to `EXPIRY_S` late and travel
for up to `SLACK_S`. So there is no state to restore: a restarted limiter keeps the limit by starting
with a pause.
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
"""Permits are granted this far ahead; a pause cannot revoke them."""
EXPIRY_S = 0.5
"""A permit not used by then is void, since late requests would exceed the limit."""
_SPAN_S = WINDOW_S + EXPIRY_S + SLACK_S
"""Requests that reach the server within 60 s have slots within this span."""
CUT = 0.8
"""Factor on the rate after a 429 (as in inspect_ai)."""
GROWTH_PER_S = 0.01
"""Share of the full rate that is restored each second."""
_SLOWEST_PER_S = 1 / 30
_MEASURED = 256
_IGNORE_S = 1.0
"""After a cut, 429s answer requests sent before it."""


class PermitUsage(NamedTuple):
    """What became of an earlier permit."""

    unused_tokens: int = 0
    """Estimated minus used tokens."""
    rate_limited: bool = False
    """The endpoint replied 429."""
    wait_s: float | None = None
    """Retry-After: how long all processes must wait."""


class PermitGrant(NamedTuple):
    """Permits, in the order of the request."""

    delays_s: list[float]
    """Seconds from now until each request may be sent; fewer than requested if the limit is reached."""
    retry_s: float
    """Seconds until the others may be requested."""


class RateLimiter:
    """Grants permits to send requests; a limit of None means unlimited."""

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
        """Current requests per second."""
        self._share = 1.0
        """Current share of the token limit."""
        self._largest = 0
        now = clock()
        limited = requests_per_minute or tokens_per_minute
        # Permits of an earlier limiter may be valid this long.
        self._last = self._paid = now + (HORIZON_S + EXPIRY_S if limited else 0.0)
        self._held_until = self._cut_at = self._grown_at = now
        self._given: deque[float] = deque(maxlen=_MEASURED)

    def grant(self, wanted: Sequence[int], reports: Sequence[PermitUsage] = ()) -> PermitGrant:
        """Permits for requests of these estimated tokens; `reports` are of earlier permits."""
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
        """Seconds for which `tokens` tokens use up the limit.

        A window may begin with a request paid for before it, so room is kept for the largest.
        """
        if self._tokens_per_minute is None:
            return 0.0
        self._largest = max(self._largest, tokens)
        room = self._tokens_per_minute - self._largest
        return (_SPAN_S if room <= tokens else _SPAN_S * tokens / room) / self._share

    def _take(self, report: PermitUsage, now: float) -> None:
        if report.unused_tokens:
            sign = math.copysign(1, report.unused_tokens)
            self._paid -= sign * self._gap(abs(report.unused_tokens))
        if report.wait_s is not None:
            self._held_until = max(self._held_until, now + report.wait_s)
        # Requests sent before a cut say nothing about the rate after it.
        if report.rate_limited and now - self._cut_at >= _IGNORE_S:
            self._cut(now)

    def _cut(self, now: float) -> None:
        if math.isinf(self._rate) and self._given:
            self._rate = len(self._given) / max(now - self._given[0], _IGNORE_S / 10)
        self._rate = max(_SLOWEST_PER_S, CUT * self._rate)
        self._share = max(0.01, CUT * self._share)
        self._cut_at = now

    def _grow(self, now: float) -> None:
        """Restore part of what was cut; without a limit the rate grows without end."""
        grown = GROWTH_PER_S * (now - self._grown_at)
        self._grown_at = now
        if now - self._cut_at < _IGNORE_S or math.isinf(self._rate):
            return
        basis = self._rate if math.isinf(self._full) else self._full
        self._rate = min(self._full, self._rate + grown * basis)
        self._share = min(1.0, self._share + grown)
