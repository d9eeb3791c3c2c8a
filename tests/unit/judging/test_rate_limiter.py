"""The limiter on a virtual clock, as the server sees it."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from rate_windows import Arrival, most_in_a_window

from weirdgen.judging.rate_limiter import (
    CUT,
    EXPIRY_S,
    HORIZON_S,
    SLACK_S,
    PermitUsage,
    RateLimiter,
)


class World:
    """Time that passes only from event to event; what reaches the server is kept."""

    def __init__(self, seed: int) -> None:
        self.now, self.random = 0.0, random.Random(seed)
        self.arrived: list[Arrival] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def clock(self) -> float:
        return self.now

    def after(self, seconds: float, do: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (self.now + seconds, self._count, do))

    def run(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            self.now, _, do = heapq.heappop(self._events)
            do()
        self.now = until


class Client:
    """Asks a limiter for permits in batches of random size, and sends with each a little too late."""

    def __init__(
        self,
        world: World,
        limiter: RateLimiter,
        late: Callable[[], float],
        most: int = 80,
        pause_s: float = 0.01,
        sizes: Sequence[tuple[int, int]] = ((400, 400),),
    ) -> None:
        """`pause_s`: between batches, on average; `sizes`: tokens estimated, and those used."""
        self._world, self.limiter, self._late, self._most = world, limiter, late, most
        self._pause_s, self._sizes = pause_s, sizes
        self._wanted: list[tuple[int, int]] = []
        self._reports: list[PermitUsage] = []
        self._ask()

    def _ask(self) -> None:
        world, rng = self._world, self._world.random
        if not self._wanted:
            self._wanted = rng.choices(self._sizes, k=rng.randint(1, self._most))
        reports, self._reports = self._reports, []
        granted = self.limiter.grant([size for size, _ in self._wanted], reports)
        for delay_s, size in zip(granted.delays_s, self._wanted, strict=False):
            assert 0 <= delay_s <= HORIZON_S
            world.after(delay_s + self._late(), lambda size=size: self._arrive(*size))
        del self._wanted[: len(granted.delays_s)]
        idle_s = rng.expovariate(1 / self._pause_s)
        world.after(max(granted.retry_s, 0.01) if self._wanted else idle_s, self._ask)

    def _arrive(self, estimated: int, used: int) -> None:
        world = self._world
        world.arrived.append((world.now, used))
        spare = PermitUsage(estimated - used)
        world.after(world.random.uniform(0.3, 3), lambda: self._reports.append(spare))


def at_random(world: World) -> Callable[[], float]:
    return lambda: world.random.uniform(0, EXPIRY_S) + world.random.uniform(0, SLACK_S)


def in_stretches(world: World) -> Callable[[], float]:
    """Now all are in time, now all as late as can be: a process or a network that stands still."""
    return lambda: (EXPIRY_S + SLACK_S) * (int(world.now / 7) % 2 == 0)


LATE = pytest.mark.parametrize("late", [at_random, in_stretches])


@LATE
@pytest.mark.parametrize(("limit", "seed"), [(1, 0), (7, 1), (60, 2), (500, 3), (6000, 4)])
def test_no_minute_holds_more_requests_than_the_limit_yet_it_is_used(limit, seed, late):
    world = World(seed)
    limiter = RateLimiter(limit, None, world.clock)
    for _ in range(3):
        Client(world, limiter, late(world))
    seconds = max(300.0, 6000 / limit)
    world.run(seconds)
    assert most_in_a_window(world.arrived)[0] <= limit
    # The first comes after a pause; and what is on its way at the end is not there yet.
    assert len(world.arrived) + 1 >= 0.97 * limit * (seconds - 3) / 60


@LATE
@pytest.mark.parametrize("seed", range(4))
def test_nor_where_requests_come_in_bursts(seed: int, late):
    world = World(seed)
    limiter = RateLimiter(120, None, world.clock)
    for pause_s in (5.0, 20.0, 70.0):
        Client(world, limiter, late(world), most=200, pause_s=pause_s)
    world.run(1200)
    assert len(world.arrived) > 1000
    assert most_in_a_window(world.arrived)[0] <= 120


SIZES = {
    "alike": ([(300, 300)], 0.97),
    "far apart": ([(20, 20), (200, 200), (1500, 1500)], 0.97),
    "estimated too high": ([(400, 150), (500, 300), (600, 590)], 0.9),
    # What is above the estimates is not known before the replies are there.
    "estimated too low": ([(200, 300), (300, 310)], 0.97),
}
"""Tokens estimated, and used; and how much of the limit is used at least."""


@LATE
@pytest.mark.parametrize("sizes", SIZES)
def test_no_minute_holds_more_tokens_than_the_limit_yet_it_is_used(sizes: str, late):
    limit, world, (pairs, least) = 100_000, World(5), SIZES[sizes]
    limiter = RateLimiter(None, limit, world.clock)
    for _ in range(2):
        Client(world, limiter, late(world), sizes=pairs)
    world.run(600)
    unknown = 0.02 * limit if sizes == "estimated too low" else 0
    assert most_in_a_window(world.arrived)[1] <= limit + unknown
    used = sum(tokens for _, tokens in world.arrived)
    room = limit - max(estimated for estimated, _ in pairs)
    assert used >= least * room * (600 - 3) / 60


def test_the_tighter_of_two_limits_holds():
    for requests, tokens in ((100, 10**6), (10**4, 30_000)):
        world = World(6)
        Client(
            world, RateLimiter(requests, tokens, world.clock), at_random(world), sizes=[(300, 300)]
        )
        world.run(300)
        most, most_tokens = most_in_a_window(world.arrived)
        assert 95 <= most <= 100
        assert most_tokens <= tokens


@LATE
@pytest.mark.parametrize("seed", range(3))
def test_a_limiter_that_is_started_again_keeps_the_limit_with_what_was_given_before(seed, late):
    world = World(seed)
    clients = [Client(world, RateLimiter(600, None, world.clock), late(world)) for _ in range(1)]
    clients.append(Client(world, clients[0].limiter, late(world)))
    for at in (100.0, 100.9, 130.0, 131.0):
        world.run(at)
        new = RateLimiter(600, None, world.clock)
        assert new.grant([1]).delays_s == [], "it begins with a pause"
        for client in clients:
            client.limiter = new
    world.run(300)
    assert most_in_a_window(world.arrived)[0] <= 600


def rate(world: World, limiter: RateLimiter, seconds: float = 10.0) -> float:
    """Requests a second for the next `seconds`."""
    moments: list[float] = []
    for _ in range(round(seconds / 0.01)):
        moments += [world.now + delay_s for delay_s in limiter.grant([1] * 50).delays_s]
        world.now += 0.01
    return (len(moments) - 1) / (moments[-1] - moments[0])


@pytest.mark.parametrize(("requests", "tokens"), [(6000, None), (None, 6000)])
def test_a_refusal_cuts_by_a_fifth_and_further_ones_within_a_second_do_not(requests, tokens):
    world = World(0)
    limiter = RateLimiter(requests, tokens, world.clock)
    world.now = 5.0
    full = rate(world, limiter)
    for _ in range(5):
        limiter.grant([], [PermitUsage(rate_limited=True)] * 20)
        world.now += 0.15
    assert rate(world, limiter, 0.2) == pytest.approx(CUT * full, rel=0.01)
    world.now += 0.1
    limiter.grant([], [PermitUsage(rate_limited=True)])
    assert rate(world, limiter, 0.9) == pytest.approx(CUT**2 * full, rel=0.01)


def test_what_was_cut_grows_back_slowly_and_to_the_full_alone():
    world = World(0)
    limiter = RateLimiter(6000, None, world.clock)
    world.now = 5.0
    full = rate(world, limiter)
    for _ in range(3):
        limiter.grant([], [PermitUsage(rate_limited=True)])
        world.now += 1.01
    low = CUT**3 * full
    rates = [rate(world, limiter, 5.0) for _ in range(14)]
    assert low < rates[0] < low + 0.06 * full
    assert all(after - before < 0.06 * full for before, after in pairwise(rates))
    assert rates[4] < 0.8 * full
    assert rates[-1] == pytest.approx(full, rel=0.001) == max(rates)


def test_an_endpoint_without_a_stated_limit_is_found_out():
    world = World(0)
    limiter = RateLimiter(None, None, world.clock)
    assert limiter.grant([500] * 1000) == ([0.0] * 1000, 0.0)
    for _ in range(300):
        world.now += 0.01
        limiter.grant([1])
    limiter.grant([], [PermitUsage(rate_limited=True)])
    assert rate(world, limiter, 0.9) == pytest.approx(CUT * 100, rel=0.02)
    for _ in range(100):
        world.now += 1.0
        limiter.grant([], [PermitUsage(rate_limited=True)])
    assert limiter.grant([1]).retry_s < 31, "it never stands still"


def test_an_endpoint_that_asks_to_wait_halts_everybody_for_so_long():
    world = World(8)
    limiter = RateLimiter(6000, None, world.clock)
    for _ in range(3):
        Client(world, limiter, lambda: 0.0)
    world.run(10)
    limiter.grant([], [PermitUsage(wait_s=20.0)])
    limiter.grant([], [PermitUsage(wait_s=1.0)])
    world.run(60)
    after = sorted(at for at, _ in world.arrived if at > 10 + HORIZON_S)
    assert 30 <= after[0] < 30.5
    assert len(after) > 0.9 * 100 * 30
