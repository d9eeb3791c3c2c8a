"""One process's permits to send requests, each fetched from the shared rate limiter."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from weirdgen.judging.rate_limiter import EXPIRY_S, PermitGrant, PermitUsage

RequestPermits = Callable[[Sequence[int], Sequence[PermitUsage]], Awaitable[PermitGrant]]
"""`RateLimiter.grant`, wherever the limiter runs."""
_AT_ONCE = 8
"""Requests for a permit on their way to the limiter; the others wait, so that it is not flooded."""


class JudgingStopped(Exception):
    """No further request may be sent."""


class RateLimitClient:
    """Permits of one process; each is void `EXPIRY_S` after its time."""

    def __init__(self, request_permits: RequestPermits) -> None:
        self._request_permits = request_permits
        self._asking = asyncio.Semaphore(_AT_ONCE)
        self._reports: list[PermitUsage] = []
        self._paused_until = 0.0
        self.stopped: str | None = None
        self._stopping = asyncio.Event()

    async def acquire(self, tokens: int) -> None:
        """Return when a request of about `tokens` tokens may be sent. Raises JudgingStopped."""
        loop = asyncio.get_running_loop()
        while True:
            due = await self._next_permit(tokens)
            # The event loop may wake a little early.
            while self.stopped is None and (early := due - loop.time()) > 0:
                await self._sleep(early)
            late = loop.time() - due
            if late <= EXPIRY_S and due >= self._paused_until and self.stopped is None:
                return
            self._reports.append(PermitUsage(unused_tokens=tokens))

    async def _next_permit(self, tokens: int) -> float:
        """Event loop time from which the next permit is valid. Raises JudgingStopped."""
        async with self._asking:
            while self.stopped is None:
                reports, self._reports = self._reports, []
                try:
                    granted = await self._request_permits([tokens], reports)
                except Exception as error:
                    self.stop(f"the rate limiter is gone: {error}")
                    break
                if granted.delays_s:
                    return asyncio.get_running_loop().time() + granted.delays_s[0]
                await self._sleep(max(granted.retry_s, 0.01))
        raise JudgingStopped(self.stopped)

    async def _sleep(self, seconds: float) -> None:
        """Wait so long, or until `stop`."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def report(self, usage: PermitUsage) -> None:
        """Report what became of a permit; sent with the next request for one."""
        self._reports.append(usage)
        if usage.wait_s is not None:
            until = asyncio.get_running_loop().time() + usage.wait_s
            self._paused_until = max(self._paused_until, until)

    def stop(self, reason: str) -> None:
        """Grant nothing more; what waits raises JudgingStopped."""
        self.stopped = self.stopped or reason
        self._stopping.set()
