"""Asking a judge about many answers: so many at a time, each request with a permit, each reply durable."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from weirdgen.config.judge import JudgeConfig
from weirdgen.errors import StepError
from weirdgen.judging.client import ADAPTED, JudgeClient, Refused, Reply, Transient
from weirdgen.judging.journal import Journal, Record
from weirdgen.judging.judgment import MAX_ATTEMPTS, PROBE_ITEM, ItemResult, JudgeItem, Judgment
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.judging.rate_limit_client import LeaseOut, RateLimitClient, Stopped
from weirdgen.judging.rate_limiter import PermitUsage
from weirdgen.judging.rubric import MalformedReply

REFUSALS = 12
"""Requests for one answer that may end in 429."""
BACKOFF_S = 0.5
"""Before the second try; doubled for each further one, up to `LONGEST_BACKOFF_S`, with jitter."""
LONGEST_BACKOFF_S = 30.0
LONGEST_WAIT_S = 600.0
"""An endpoint that asks for more patience has closed for the day."""


class Outcome(NamedTuple):
    """What became of a batch."""

    ended: list[ItemResult]
    fatal: str | None
    """Why nobody is to be asked any more."""
    troubles: tuple[str, ...] = ()
    """What else went wrong in the process that asks, since it last told."""


class Journals(Protocol):
    """Opens the journal of a judge."""

    def __call__(self, judge: LlmJudge) -> Journal: ...


class Asker:
    """Asks one judge's endpoint on behalf of one process."""

    def __init__(
        self,
        settings: JudgeConfig,
        lease: LeaseOut,
        journals: Journals,
        parallel: int,
        backoff_s: float = BACKOFF_S,
    ) -> None:
        """`parallel`: requests under way at a time, of this process."""
        self._settings, self._journals, self._backoff_s = settings, journals, backoff_s
        self._client = JudgeClient(settings)
        self._parallel, self._places = parallel, asyncio.Semaphore(parallel)
        self._queued = 0
        self._permits = RateLimitClient(lease, lambda: self._queued)

    async def judge(self, judge: LlmJudge, items: Sequence[JudgeItem]) -> Outcome:
        """Asks about each item; none is lost: each ends in a verdict, a failure, or a reason."""
        journal = self._journals(judge)
        ended = await asyncio.gather(*(self._in_turn(judge, journal, item) for item in items))
        return Outcome(ended, self._permits.stopped)

    async def check(self, judge: LlmJudge) -> Outcome:
        """Asks about what does not count, to see whether it makes sense to ask more."""
        asked = JudgeRequest(self, judge, self._journals(judge), PROBE_ITEM)
        why = await self._problem(asked)
        return Outcome([ItemResult(PROBE_ITEM.key, None, why, asked.dollars)], why)

    async def _problem(self, asked: JudgeRequest) -> str | None:
        """Why it makes no sense to ask any more, if so."""
        for tries in range(1, MAX_ATTEMPTS + 1):
            try:
                reply = await asked.once(None)
            except Transient as trouble:
                if trouble.wait_s is None and trouble.why != ADAPTED:
                    await asked.back_off(tries)
                continue
            except Refused as refused:
                asked.tried("refused", None)
                return str(self._client.address.error(self._settings.model, str(refused)))
            except (Stopped, StepError) as fatal:
                return str(fatal)
            asked.tried(PROBE_ITEM.key, reply)
            break
        return self._permits.stopped

    def stop(self, why: str) -> None:
        """Sends nothing any more; what is under way is waited for."""
        self._permits.stop(why)

    async def close(self) -> None:
        """Waits for what is under way, and sends nothing any more."""
        self.stop("the asking has ended")
        for _ in range(self._parallel):
            await self._places.acquire()
        await self._client.close()

    async def _in_turn(self, judge: LlmJudge, journal: Journal, item: JudgeItem) -> ItemResult:
        self._queued += 1
        try:
            await self._places.acquire()
        finally:
            self._queued -= 1
        try:
            return await JudgeRequest(self, judge, journal, item).end()
        finally:
            self._places.release()


class JudgeRequest:
    """One item on its way to its end."""

    def __init__(self, asker: Asker, judge: LlmJudge, journal: Journal, item: JudgeItem) -> None:
        self._asker, self._judge, self._journal, self._item = asker, judge, journal, item
        self.dollars = 0.0
        self._estimate = judge.estimated_tokens(item.question, item.answer)

    async def end(self) -> ItemResult:
        problem: str | None = None
        troubles = refusals = 0
        while True:
            try:
                reply = await self.once(problem)
            except Stopped as stopped:
                return self._open(str(stopped))
            except StepError as fatal:
                self._asker.stop(str(fatal))
                return self._open(str(fatal))
            except Refused as refused:
                return await self._stands(None, Judgment([], "refused_request", str(refused)))
            except Transient as trouble:
                if trouble.why == ADAPTED:
                    continue
                limited = trouble.why == "rate_limited"
                refusals, troubles = refusals + limited, troubles + (not limited)
                if refusals >= REFUSALS or troubles >= MAX_ATTEMPTS:
                    return self._open(trouble.why)
                if trouble.wait_s is None:
                    await self.back_off(refusals + troubles)
                continue
            verdict, problem = self._read(reply, problem)
            if verdict is not None:
                return await self._stands(reply, verdict)
            self.tried("malformed", reply)

    def _read(self, reply: Reply, before: str | None) -> tuple[Judgment | None, str | None]:
        """What stands, or what to say in the one attempt at repair."""
        if reply.refused is not None:
            return Judgment([], "refusal", self._short(reply.refused)), None
        try:
            return Judgment(self._judge.read(reply.text)), None
        except MalformedReply as malformed:
            problem = "it was cut" if reply.cut else str(malformed)
            if before is None:
                return None, problem
            return Judgment([], "malformed", f"{problem}: {self._short(reply.text)}"), None

    async def once(self, problem: str | None) -> Reply:
        """Sends one request, with a permit, noted before and after."""
        prompt, completion = self._estimate
        permits, client = self._asker._permits, self._asker._client
        await permits.take(prompt + completion)
        at_most = {}
        if self._asker._settings.price is not None:
            at_most = {"at_most": round(self._asker._settings.price.of(prompt, completion), 9)}
        self._journal.note({"ask": self._item.key, **at_most})
        item = self._item
        try:
            reply = await client.ask(
                self._judge, self._judge.messages(item.question, item.answer, problem)
            )
        except Transient as trouble:
            limited = trouble.why == "rate_limited"
            unused = prompt + completion if limited else 0
            permits.report(PermitUsage(unused, refused=limited, wait_s=trouble.wait_s))
            self.tried(trouble.why, None)
            if trouble.wait_s is not None and trouble.wait_s > LONGEST_WAIT_S:
                waits = f"asks to wait {trouble.wait_s:,.0f} s; run again then"
                error = client.address.error(self._asker._settings.model, waits)
                self._asker.stop(str(error))
                raise error from None
            raise
        except (Refused, StepError) as refused:
            if isinstance(refused, StepError):
                self.tried("fatal", None)
            raise
        settings = self._asker._settings
        if settings.budget_usd and settings.price is None and reply.dollars is None:
            self._asker.stop("judge.price: is needed for a budget, as the endpoint tells no cost")
        used = sum(reply.tokens) if reply.tokens else prompt + completion
        permits.report(PermitUsage(prompt + completion - used))
        return reply

    def tried(self, why: str, reply: Reply | None) -> None:
        self._journal.note({"tried": self._item.key, "why": why, **self._cost(reply, why)})

    async def _stands(self, reply: Reply | None, verdict: Judgment) -> ItemResult:
        record: Record = {"got": self._item.key, "labels": verdict.labels}
        if verdict.error is not None:
            record |= {"error": verdict.error, "detail": verdict.detail}
        record |= self._cost(reply, "refused" if reply is None else None)
        await self._journal.commit(record)
        return ItemResult(self._item.key, json.dumps(record), None, self.dollars)

    def _open(self, why: str) -> ItemResult:
        return ItemResult(self._item.key, None, why, self.dollars)

    def _cost(self, reply: Reply | None, why: str | None) -> Record:
        """Tokens and dollars of a request, added to those of the item."""
        price = self._asker._settings.price
        cost: Record = {}
        if reply is None:
            # What never came may have been billed; what was refused was not.
            billed = why in ("timeout", "connection", "no_completion")
            dollars = price.of(*self._estimate) if price and billed else 0.0
        else:
            tokens = reply.tokens or self._estimate
            cost["tokens"] = list(tokens)
            dollars = price.of(*tokens) if price else 0.0
            dollars = dollars if reply.dollars is None else reply.dollars
        self.dollars += dollars
        return cost | {"dollars": round(dollars, 9)}

    def _short(self, text: str) -> str:
        return self._asker._client.address.masked(text)[:200]

    async def back_off(self, tries: int) -> None:
        longest = min(LONGEST_BACKOFF_S, self._asker._backoff_s * 2 ** (tries - 1))
        await asyncio.sleep(longest * random.uniform(0.5, 1.0))  # noqa: S311
