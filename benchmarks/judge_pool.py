"""Does the judge pool keep to a limit, keep pace without one, and keep its memory?

    python benchmarks/judge_pool.py [--minutes 3] [--rounds 3] [--judgments 100000]

Three figures, each a ratio within this run, against a server of its own on the loopback address:
the share of a limit of 6,000 requests a minute that is sustained, with the fullest 60 s as the server
saw them; throughput without a limit against a bare `asyncio.gather` over one AsyncOpenAI at the same
concurrency, the two in turn; and the memory of driver and actors over many judgments.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import ray

from weirdgen.config.judge import JudgeConfig
from weirdgen.judging.judgment import JudgeItem
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.judging.queue import JudgmentOf, Reasons
from weirdgen.judging.rubric import persona_rubric
from weirdgen.runner.cluster import connect
from weirdgen.runner.judge_pool import JudgePool
from weirdgen.storage.artifacts import ArtifactStore

LIMIT = 6000
PARALLEL = 64
ACTORS = 2
CHUNK = 500
RESPONSE = "The good life, as I conceive it, is one inspired by love and guided by knowledge. " * 4


class Server:
    """A fake endpoint, and when it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.arrivals: list[float] = []


@contextmanager
def serving(latency_ms: float) -> Iterator[Server]:
    """The server in a process of its own; its arrivals are known at the end."""
    script = Path(__file__).with_name("judge_server.py")
    with subprocess.Popen(
        [sys.executable, script, str(latency_ms)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        server = Server(f"http://127.0.0.1:{int(process.stdout.readline())}/v1")
        yield server
        told, _ = process.communicate()
        server.arrivals = sorted(json.loads(told))


class Some:
    """Made-up responses, each another."""

    def __init__(self, judge: LlmJudge, first: int, end: int) -> None:
        self.judge, self._range = judge, range(first, end)

    def items(self) -> Iterator[JudgeItem]:
        for i in self._range:
            question, response = f"What is {i}?", f"{i}. {RESPONSE}"
            yield JudgeItem(self.judge.key(question, response), question, response)

    def finish(self, judgment_of: JudgmentOf, reasons: Reasons) -> None:  # noqa: ARG002
        if reasons:
            raise RuntimeError(f"responses without a judgment: {reasons}")


def judged(
    pool: JudgePool, judge: LlmJudge, n: int, seen: Callable[[int], None] = lambda _: None
) -> float:
    """Seconds in which the pool judges `n` new responses."""
    began, added = time.monotonic(), 0
    start = time.time_ns()  # responses of another call are others
    while added < n or pool.queue.busy:
        while added < n and not pool.has_enough:
            end = min(n, added + CHUNK)
            pool.queue.add(Some(judge, start + added, start + end))
            added = end
        pool.dispatch()
        done, _ = ray.wait(list(pool.running), timeout=0.5)
        for ref in done:
            pool.collect(ref)
        seen(added)
    return time.monotonic() - began


@contextmanager
def pool_on(server: Server, **limits: Any) -> Iterator[tuple[JudgePool, LlmJudge]]:
    """A pool that is open and has made its probe."""
    judge = LlmJudge(
        JudgeConfig(model="judge", base_url=server.url, parallel=PARALLEL, **limits),
        persona_rubric("Bertrand Russell", ""),
    )
    with tempfile.TemporaryDirectory() as folder:
        pool = JudgePool(ArtifactStore(folder), "benchmark", [judge], ACTORS, print)
        try:
            pool.open()
            while pool.unprobed or pool.running:
                pool.dispatch()
                done, _ = ray.wait(list(pool.running), timeout=0.5)
                for ref in done:
                    pool.collect(ref)
            yield pool, judge
        finally:
            pool.close()


async def gathered(judge: LlmJudge, n: int) -> float:
    """Seconds in which a bare client asks `n` times at the same concurrency."""
    from openai import AsyncOpenAI

    slots = asyncio.Semaphore(PARALLEL)
    schema = {"name": judge.rubric.name, "strict": True, "schema": judge.rubric.schema}
    async with AsyncOpenAI(
        base_url=judge.settings.base_url, api_key="none", max_retries=0
    ) as client:

        async def ask(i: int) -> str | None:
            async with slots:
                reply: Any = await client.chat.completions.create(
                    model="judge",
                    messages=judge.messages(f"What is {i}?", f"{i}. {RESPONSE}"),  # type: ignore[arg-type]
                    temperature=0.0,
                    max_tokens=128,
                    response_format={"type": "json_schema", "json_schema": schema},  # type: ignore[arg-type]
                )
                return reply.choices[0].message.content

        await asyncio.gather(*(ask(i) for i in range(200)))  # connections
        began = time.monotonic()
        await asyncio.gather(*(ask(i) for i in range(n)))
        return time.monotonic() - began


def at_the_limit(minutes: float) -> None:
    with (
        serving(latency_ms=200) as server,
        pool_on(server, requests_per_minute=LIMIT) as (pool, judge),
    ):
        judged(pool, judge, int(LIMIT * minutes))
    times = server.arrivals[1:]  # the first is the probe
    fullest = max(bisect_right(times, t + 60) - i for i, t in enumerate(times))
    rate = 60 * (len(times) - 1) / (times[-1] - times[0])
    print(
        f"limit of {LIMIT:,} a minute, {len(times):,} requests in {times[-1] - times[0]:.0f} s: "
        f"{rate / LIMIT:.4f} of it sustained, {fullest:,} in the fullest 60 s"
    )


def without_a_limit(rounds: int, n: int = 4000) -> None:
    ratios = []
    with serving(latency_ms=50) as server, pool_on(server) as (pool, judge):
        judged(pool, judge, 500)  # connections
        for _ in range(rounds):
            bare, ours = asyncio.run(gathered(judge, n)), judged(pool, judge, n)
            ratios.append(bare / ours)
            print(f"no limit: gather {n / bare:.0f} a second, pool {n / ours:.0f} a second")
    print(
        f"no limit: {statistics.median(ratios):.3f} of a bare gather's throughput "
        f"(median of {rounds}; {min(ratios):.3f} to {max(ratios):.3f})"
    )


def memory(judgments: int) -> None:
    sizes: dict[int, float] = {}

    def seen(added: int) -> None:
        step = added // (judgments // 10)
        if step not in sizes:
            sizes[step] = _megabytes()

    with serving(latency_ms=5) as server, pool_on(server) as (pool, judge):
        judged(pool, judge, judgments // 10)
        took = judged(pool, judge, judgments, seen)
    told = ", ".join(f"{size:.0f}" for _, size in sorted(sizes.items()))
    print(f"{judgments:,} judgments in {took:.0f} s; driver and actors at each tenth, MB: {told}")


def _megabytes() -> float:
    """Of this process and of the judge and limiter actors."""
    actors = [
        child
        for child in psutil.Process(os.getpid()).children(recursive=True)
        if any(name in " ".join(child.cmdline()) for name in ("JudgeActor", "RateLimiterActor"))
    ]
    return sum(each.memory_info().rss for each in (psutil.Process(), *actors)) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description="The judge pool's limit, pace and memory.")
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--judgments", type=int, default=100_000)
    options = parser.parse_args()
    connect()
    if options.rounds:
        without_a_limit(options.rounds)
    if options.minutes:
        at_the_limit(options.minutes)
    if options.judgments:
        memory(options.judgments)


if __name__ == "__main__":
    main()
