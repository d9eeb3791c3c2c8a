"""Judge client: many items at once, each request within the rate limit, each reply durable."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

from weirdgen.config.judge import JudgeConfig
from weirdgen.data.chat import Messages
from weirdgen.errors import StepError
from weirdgen.judging.journal import Journal, Record
from weirdgen.judging.judgment import MAX_ATTEMPTS, PROBE_ITEM, ItemResult, JudgeItem, Judgment
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.judging.rate_limit_client import JudgingStopped, RateLimitClient, RequestPermits
from weirdgen.judging.rate_limiter import PermitUsage
from weirdgen.judging.rubric import MalformedReply
from weirdgen.models.chat_client import (
    ADAPTED,
    ChatClient,
    ChatReply,
    RequestRefused,
    TransientError,
)

MAX_RATE_LIMITED = 12
"""Requests for one item that may end in 429."""
LONGEST_BACKOFF_S = 30.0
LONGEST_WAIT_S = 600.0
"""Judging stops at an endpoint that asks to wait longer than this."""


class BatchResult(NamedTuple):
    """What became of a batch."""

    results: list[ItemResult]
    fatal: str | None
    """Why no further request makes sense."""
    warnings: tuple[str, ...] = ()
    """What else went wrong in this process since its last batch."""


class JudgeClient:
    """One process's requests to one judge's endpoint."""

    def __init__(
        self,
        settings: JudgeConfig,
        request_permits: RequestPermits,
        journal_of: Callable[[LlmJudge], Journal],
        parallel: int,
        backoff_s: float,
    ) -> None:
        """`parallel`: requests in flight at a time, of this process.

        `backoff_s`: before the second attempt at an item; doubled for each further one, up to
        `LONGEST_BACKOFF_S`, with jitter.
        """
        self.settings, self.backoff_s = settings, backoff_s
        self.chat = ChatClient(settings.base_url, settings.key_variable, settings.timeout_s)
        self.permits = RateLimitClient(request_permits)
        self._journal_of = journal_of
        self._parallel, self._slots = parallel, asyncio.Semaphore(parallel)

    async def judge(self, judge: LlmJudge, items: Sequence[JudgeItem]) -> BatchResult:
        """Judge each item; each ends in a judgment or a reason why there is none."""
        journal = self._journal_of(judge)
        results = await asyncio.gather(*(self._in_turn(judge, journal, item) for item in items))
        return BatchResult(results, self.permits.stopped)

    async def probe(self, judge: LlmJudge) -> BatchResult:
        """Send a request that does not count, to learn whether the judge can be reached at all."""
        request = JudgeRequest(self, judge, self._journal_of(judge), PROBE_ITEM)
        fatal = await self._probe(request)
        return BatchResult([ItemResult(PROBE_ITEM.key, None, fatal, request.dollars)], fatal)

    async def _probe(self, request: JudgeRequest) -> str | None:
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                reply = await request.send(None)
            except TransientError as error:
                if error.wait_s is None and error.reason != ADAPTED:
                    await request.back_off(attempt)
                continue
            except RequestRefused as refused:
                request.log_attempt("refused", None)
                return str(self.chat.error(self.settings.model, str(refused)))
            except (JudgingStopped, StepError) as fatal:
                return str(fatal)
            request.log_attempt(PROBE_ITEM.key, reply)
            break
        return self.permits.stopped

    async def complete(self, judge: LlmJudge, messages: Messages) -> ChatReply:
        """One reply to one request. Raises what `ChatClient.complete` raises."""
        settings, rubric = self.settings, judge.rubric
        schema = {"name": rubric.name, "strict": True, "schema": rubric.schema}
        try:
            # The HTTP client limits each silence, this the whole.
            async with asyncio.timeout(settings.timeout_s):
                return await self.chat.complete(
                    settings.model,
                    messages,
                    settings.max_tokens,
                    schema,
                    temperature=settings.temperature,
                )
        except TimeoutError:
            raise TransientError("timeout") from None

    def stop(self, reason: str) -> None:
        """Send no further request; those in flight are waited for."""
        self.permits.stop(reason)

    async def close(self) -> None:
        """Wait for what is in flight, and send nothing more."""
        self.stop("the judge client is closed")
        for _ in range(self._parallel):
            await self._slots.acquire()
        await self.chat.close()

    async def _in_turn(self, judge: LlmJudge, journal: Journal, item: JudgeItem) -> ItemResult:
        async with self._slots:
            return await JudgeRequest(self, judge, journal, item).run()


class JudgeRequest:
    """One item and the attempts to have it judged."""

    def __init__(
        self, client: JudgeClient, judge: LlmJudge, journal: Journal, item: JudgeItem
    ) -> None:
        self._client, self._judge, self._journal, self._item = client, judge, journal, item
        self.dollars = 0.0
        self._estimate = judge.estimated_tokens(item.question, item.response)

    async def run(self) -> ItemResult:
        """Send requests until the item has its judgment, or as often as `MAX_ATTEMPTS` allows."""
        problem: str | None = None
        failures = rate_limited = 0
        while True:
            try:
                reply = await self.send(problem)
            except (JudgingStopped, StepError) as fatal:
                self._client.stop(str(fatal))
                return self._unjudged(str(fatal))
            except RequestRefused as refused:
                return await self._keep(None, Judgment([], "refused_request", str(refused)))
            except TransientError as error:
                if error.reason == ADAPTED:
                    continue
                if error.reason == "rate_limited":
                    rate_limited += 1
                else:
                    failures += 1
                if rate_limited >= MAX_RATE_LIMITED or failures >= MAX_ATTEMPTS:
                    return self._unjudged(error.reason)
                if error.wait_s is None:
                    await self.back_off(rate_limited + failures)
                continue
            judgment, problem = self._read(reply, problem)
            if judgment is not None:
                return await self._keep(reply, judgment)
            self.log_attempt("malformed", reply)

    def _read(self, reply: ChatReply, before: str | None) -> tuple[Judgment | None, str | None]:
        """The judgment, or what to say in the one attempt at repair."""
        if reply.refusal is not None:
            return Judgment([], "refusal", self._short(reply.refusal)), None
        try:
            return Judgment(self._judge.rubric.read(reply.text)), None
        except MalformedReply as malformed:
            problem = "it was cut" if reply.finish_reason == "length" else str(malformed)
            if before is None:
                return None, problem
            return Judgment([], "malformed", f"{problem}: {self._short(reply.text)}"), None

    async def send(self, problem: str | None) -> ChatReply:
        """Send one request, with a permit, journaled before and after.

        Raises JudgingStopped, and what `ChatClient.complete` raises.
        """
        settings, permits, item = self._client.settings, self._client.permits, self._item
        estimate = sum(self._estimate)
        await permits.acquire(estimate)
        at_most = {}
        if settings.price is not None:
            at_most = {"at_most": round(settings.price.of(*self._estimate), 9)}
        self._journal.append({"sent": item.key, **at_most})
        messages = self._judge.messages(item.question, item.response, problem)
        try:
            reply = await self._client.complete(self._judge, messages)
        except TransientError as error:
            limited = error.reason == "rate_limited"
            unused = estimate if limited else 0
            permits.report(PermitUsage(unused, rate_limited=limited, wait_s=error.wait_s))
            self.log_attempt(error.reason, None)
            if error.wait_s is not None and error.wait_s > LONGEST_WAIT_S:
                wait = f"asks to wait {error.wait_s:,.0f} s; run again then"
                raise self._client.chat.error(settings.model, wait) from None
            raise
        except StepError:
            self.log_attempt("fatal", None)
            raise
        if settings.budget_usd and settings.price is None and reply.dollars is None:
            self._client.stop(
                "judge.price: is needed for a budget, since the endpoint reports no cost"
            )
        used = sum(reply.tokens) if reply.tokens else estimate
        permits.report(PermitUsage(estimate - used))
        return reply

    def log_attempt(self, reason: str, reply: ChatReply | None) -> None:
        """Journal that a request brought no judgment."""
        self._journal.append(
            {"failed": self._item.key, "reason": reason, **self._cost(reply, reason)}
        )

    async def _keep(self, reply: ChatReply | None, judgment: Judgment) -> ItemResult:
        record: Record = {"judged": self._item.key, "labels": judgment.labels}
        if judgment.error is not None:
            record |= {"error": judgment.error, "detail": judgment.detail}
        record |= self._cost(reply, "refused" if reply is None else None)
        await self._journal.commit(record)
        return ItemResult(self._item.key, json.dumps(record), None, self.dollars)

    def _unjudged(self, reason: str) -> ItemResult:
        return ItemResult(self._item.key, None, reason, self.dollars)

    def _cost(self, reply: ChatReply | None, reason: str | None) -> Record:
        """Tokens and dollars of a request, added to those of the item."""
        price = self._client.settings.price
        cost: Record = {}
        if reply is None:
            # A reply that never came may have been billed; a refused request was not.
            billed = reason in ("timeout", "connection", "no_completion")
            dollars = price.of(*self._estimate) if price and billed else 0.0
        else:
            tokens = reply.tokens or self._estimate
            cost["tokens"] = list(tokens)
            dollars = price.of(*tokens) if price else 0.0
            dollars = dollars if reply.dollars is None else reply.dollars
        self.dollars += dollars
        return cost | {"dollars": round(dollars, 9)}

    def _short(self, text: str) -> str:
        return self._client.chat.mask(text)[:200]

    async def back_off(self, attempt: int) -> None:
        longest = min(LONGEST_BACKOFF_S, self._client.backoff_s * 2 ** (attempt - 1))
        await asyncio.sleep(longest * random.uniform(0.5, 1.0))  # noqa: S311
