"""The permits of processes that share a limiter, on an event loop that never waits."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest
from rate_windows import most_in_a_window

from weirdgen.judging.rate_limit_client import JudgingStopped, RateLimitClient
from weirdgen.judging.rate_limiter import EXPIRY_S, SLACK_S, PermitUsage, RateLimiter


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that jumps to what is next instead of waiting for it."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:
            self.now = max(self.now, self._scheduled[0].when())
        super()._run_once()


class Held:
    """The permits of a process, on a loop of its own, and what it has told the limiter."""

    def __init__(self, requests_per_minute: int | None, transit_s: float = 0.0) -> None:
        self.loop = VirtualLoop()
        self.limiter = RateLimiter(requests_per_minute, None, self.loop.time)
        self.told: list[PermitUsage] = []
        self.broken = False
        self._transit_s = transit_s
        self.permits = self.another()

    def another(self) -> RateLimitClient:
        async def grant(wanted: Sequence[int], reports: Sequence[PermitUsage]):
            await asyncio.sleep(self._transit_s)
            if self.broken:
                raise RuntimeError("no such actor")
            self.told += reports
            return self.limiter.grant(wanted, reports)

        return RateLimitClient(grant)

    def run(self, main: Coroutine[Any, Any, Any]) -> Any:
        try:
            return self.loop.run_until_complete(main)
        finally:
            self.loop.close()


@pytest.mark.parametrize("stalls", [False, True])
def test_processes_together_keep_the_limit_and_use_it(stalls: bool):
    held, arrived, rng = Held(3000, transit_s=0.005), [], random.Random(0)

    async def ask(permits: RateLimitClient) -> None:
        while True:
            await permits.acquire(1)
            arrived.append((held.loop.time() + rng.uniform(0, SLACK_S), 1))
            await asyncio.sleep(rng.uniform(0.2, 1.0))

    async def main() -> None:
        processes = [held.permits, held.another(), held.another()]
        asking = [asyncio.create_task(ask(each)) for each in processes for _ in range(40)]
        while held.loop.now < 200:
            await asyncio.sleep(rng.uniform(0, 4))
            held.loop.now += stalls * rng.uniform(0, 2)  # the process is kept from its work
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)

    held.run(main())
    assert most_in_a_window(arrived)[0] <= 3000
    assert len(arrived) > (0.4 if stalls else 0.97) * 3000 * (200 - 1) / 60


def test_a_permit_whose_time_has_gone_is_void_and_given_back():
    held = Held(60)

    async def main() -> float:
        taken = asyncio.create_task(held.permits.acquire(7))
        await asyncio.sleep(0)
        while not held.told and held.loop.now < 10:
            await asyncio.sleep(0.1)
            if 1.66 < held.loop.now < 2.0:
                held.loop.now += EXPIRY_S + 0.2
        await taken
        return held.loop.now

    at = held.run(main())
    assert held.told == [PermitUsage(unused_tokens=7)]
    assert at > 2.5


def test_when_all_are_to_wait_what_a_process_holds_is_void():
    held = Held(600)

    async def main() -> float:
        taking = [asyncio.create_task(held.permits.acquire(5)) for _ in range(10)]
        await taking[0]
        began = held.loop.now
        held.permits.report(PermitUsage(wait_s=30.0, rate_limited=True))
        await asyncio.gather(*taking)
        return began

    began = held.run(main())
    assert held.loop.now >= began + 30
    assert sum(each.unused_tokens for each in held.told) >= 5, "those that were not due yet"


@pytest.mark.parametrize("broken", [False, True])
def test_whoever_waits_is_told_that_nobody_is_asked_any_more(broken: bool):
    held = Held(1)
    held.broken = broken

    async def main() -> list[Any]:
        taking = [asyncio.create_task(held.permits.acquire(1)) for _ in range(5)]
        await asyncio.sleep(10)
        if not broken:
            held.permits.stop("no credit")
            held.permits.stop("another reason")
        taking.append(asyncio.create_task(held.permits.acquire(1)))
        return await asyncio.gather(*taking, return_exceptions=True)

    ended = held.run(main())
    assert {type(each) for each in ended} == {JudgingStopped}
    assert {str(each) for each in ended} == {
        "the rate limiter is gone: no such actor" if broken else "no credit"
    }
    assert held.loop.now <= 10


def test_one_who_is_cancelled_keeps_nobody_else_from_asking():
    held = Held(600)

    async def main() -> None:
        first, second = (asyncio.create_task(held.permits.acquire(1)) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await second

    held.run(main())
    assert held.permits.stopped is None
