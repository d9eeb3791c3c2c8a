"""The permits of one process that asks: taken from the limiter in batches, void soon after their time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from weirdgen.judging.rate_limiter import EXPIRY_S, PermitGrant, PermitUsage

LeaseOut = Callable[[Sequence[int], Sequence[PermitUsage]], Awaitable[PermitGrant]]
"""How permits are had: `Limiter.lease`, wherever the limiter lives."""
_AHEAD = 16
"""Permits taken for answers that have no place yet."""


class Stopped(Exception):
    """Nobody is asked any more."""


class RateLimitClient:
    """The permits of one process: taken from the limiter in batches, and void soon after their time."""

    def __init__(self, lease: LeaseOut, queued: Callable[[], int]) -> None:
        """`queued` tells how many items wait for a place."""
        self._lease, self._queued = lease, queued
        self._held: deque[tuple[float, int]] = deque()
        """(when it may be used, tokens)."""
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        self._reports: list[PermitUsage] = []
        self._filling: asyncio.Task[None] | None = None
        self._paused_until = 0.0
        self.stopped: str | None = None

    async def take(self, tokens: int) -> None:
        """Returns when a request of about so many tokens may be sent. Raises Stopped."""
        loop = asyncio.get_running_loop()
        while True:
            if self.stopped is not None:
                raise Stopped(self.stopped)
            if not self._held:
                await self._wait(tokens)
                continue
            due, reserved = self._held.popleft()
            # The event loop's clock may wake a little early.
            while (early := due - loop.time()) > 0:
                await asyncio.sleep(early)
            late = loop.time() - due
            if late <= EXPIRY_S and due >= self._paused_until and self.stopped is None:
                if reserved != tokens:
                    self._reports.append(PermitUsage(spare_tokens=reserved - tokens))
                return
            self._reports.append(PermitUsage(spare_tokens=reserved))

    def report(self, report: PermitUsage) -> None:
        """Tells the limiter, with the next batch at the latest, what became of a permit."""
        self._reports.append(report)
        if report.wait_s is not None:
            until = asyncio.get_running_loop().time() + report.wait_s
            self._paused_until = max(self._paused_until, until)

    def stop(self, why: str) -> None:
        self.stopped = self.stopped or why
        for waiter, _ in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()

    async def _wait(self, tokens: int) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append((waiter, tokens))
        if self._filling is None:
            self._filling = asyncio.create_task(self._fill())
        await waiter

    async def _fill(self) -> None:
        """Leases as long as anybody waits."""
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                wanted = [tokens for _, tokens in self._waiting]
                mean = sum(wanted) // len(wanted)
                wanted += [mean] * min(_AHEAD, self._queued())
                reports, self._reports = self._reports, []
                lease = await self._lease(wanted, reports)
                now = loop.time()
                for delay_s, reserved in zip(lease.delays_s, wanted, strict=False):
                    self._held.append((now + delay_s, reserved))
                    if self._waiting:
                        waiter, _ = self._waiting.popleft()
                        if not waiter.done():  # who asked may have gone
                            waiter.set_result(None)
                if len(lease.delays_s) < len(wanted) and self._waiting:
                    await asyncio.sleep(max(lease.retry_s, 0.01))
        except Exception as error:
            self.stop(f"the limiter is gone: {error}")
        finally:
            self._filling = None
