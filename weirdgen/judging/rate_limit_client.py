"""One process's permits to send requests, fetched from the shared rate limiter in batches."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from weirdgen.judging.rate_limiter import EXPIRY_S, PermitGrant, PermitUsage

RequestPermits = Callable[[Sequence[int], Sequence[PermitUsage]], Awaitable[PermitGrant]]
"""`RateLimiter.grant`, wherever the limiter runs."""
_AHEAD = 16
"""Permits fetched in advance for queued items."""


class JudgingStopped(Exception):
    """No further request may be sent."""


class RateLimitClient:
    """Permits of one process; each is void `EXPIRY_S` after its time."""

    def __init__(self, request_permits: RequestPermits, queued: Callable[[], int]) -> None:
        """`queued` counts the items that wait for a slot."""
        self._request_permits, self._queued = request_permits, queued
        self._held: deque[tuple[float, int]] = deque()
        """(event loop time from which it is valid, tokens)."""
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        self._reports: list[PermitUsage] = []
        self._fetching: asyncio.Task[None] | None = None
        self._paused_until = 0.0
        self.stopped: str | None = None

    async def acquire(self, tokens: int) -> None:
        """Return when a request of about `tokens` tokens may be sent. Raises JudgingStopped."""
        loop = asyncio.get_running_loop()
        while True:
            if self.stopped is not None:
                raise JudgingStopped(self.stopped)
            if not self._held:
                await self._wait(tokens)
                continue
            due, reserved = self._held.popleft()
            # The event loop may wake a little early.
            while (early := due - loop.time()) > 0:
                await asyncio.sleep(early)
            late = loop.time() - due
            if late <= EXPIRY_S and due >= self._paused_until and self.stopped is None:
                if reserved != tokens:
                    self._reports.append(PermitUsage(unused_tokens=reserved - tokens))
                return
            self._reports.append(PermitUsage(unused_tokens=reserved))

    def report(self, usage: PermitUsage) -> None:
        """Report what became of a permit; sent with the next batch."""
        self._reports.append(usage)
        if usage.wait_s is not None:
            until = asyncio.get_running_loop().time() + usage.wait_s
            self._paused_until = max(self._paused_until, until)

    def stop(self, reason: str) -> None:
        """Grant nothing more; what waits raises JudgingStopped."""
        self.stopped = self.stopped or reason
        for waiter, _ in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()

    async def _wait(self, tokens: int) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append((waiter, tokens))
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch())
        await waiter

    async def _fetch(self) -> None:
        """Fetch permits as long as requests wait."""
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                wanted = [tokens for _, tokens in self._waiting]
                mean = sum(wanted) // len(wanted)
                wanted += [mean] * min(_AHEAD, self._queued())
                reports, self._reports = self._reports, []
                granted = await self._request_permits(wanted, reports)
                now = loop.time()
                for delay_s, reserved in zip(granted.delays_s, wanted, strict=False):
                    self._held.append((now + delay_s, reserved))
                    if self._waiting:
                        waiter, _ = self._waiting.popleft()
                        if not waiter.done():  # the request may be cancelled
                            waiter.set_result(None)
                if len(granted.delays_s) < len(wanted) and self._waiting:
                    await asyncio.sleep(max(granted.retry_s, 0.01))
        except Exception as error:
            self.stop(f"the rate limiter is gone: {error}")
        finally:
            self._fetching = None
