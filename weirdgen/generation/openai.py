"""Endpoint engine: models served elsewhere, behind an OpenAI-compatible address."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from weirdgen.data.chat import Messages
from weirdgen.errors import StepError
from weirdgen.generation.engine import Adapter, Request, Response
from weirdgen.models.chat_client import (
    ADAPTED,
    UNSUPPORTED,
    ChatClient,
    ChatReply,
    RequestRefused,
    TransientError,
)

RETRIES = 6
"""Of one request, by the client library: after 408, 409, 429, 5xx and lost connections, about 20 s of
waiting in all where the endpoint names no `Retry-After`.
"""
_PROBE_LOGPROBS = 5

Result = TypeVar("Result")


class EndpointEngine:
    """Chat completions of an OpenAI-compatible server; see `weirdgen.generation.engine.Engine`.

    Every failure is a StepError of one line that names host and model.
    """

    def __init__(
        self, base_url: str | None, key_variable: str, parallel: int, timeout_s: float = 600
    ) -> None:
        """See `weirdgen.models.chat_client.ChatClient`; at most `parallel` requests are in flight."""
        self._chat = ChatClient(base_url, key_variable, timeout_s, RETRIES)
        self._parallel = parallel
        self._base = ""

    def open(self, base: Path | str, serve_base: str, max_rank: int) -> None:  # noqa: ARG002
        """Ask `base` for one short response: what would fail every request fails here.

        The list of models would not do: some endpoints have none, and some list other names than
        they take. Precision and ranks are the endpoint's own.
        """
        self._base = str(base)
        greeting = [{"role": "user", "content": "Hello."}]
        # Reasoning models take no temperature but 1.
        self.generate([Request(greeting, None, 16, 1.0, 1.0, 0)])

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        """One response per request, in order; the first failure ends the call and drops the rest."""
        return self._each(self._respond, requests)

    def first_token_logprobs(
        self, conversations: Sequence[Messages], adapter: Adapter | None
    ) -> list[dict[str, float]] | None:
        requests = [Request(messages, adapter, 1, 0.0, 1.0, 0) for messages in conversations]
        logprobs = self._each(self._first_token, requests)
        known = [each for each in logprobs if each is not None]
        return known if len(known) == len(logprobs) else None

    def stream(self, request: Request) -> Iterator[str]:
        """One response, piece by piece as it arrives."""
        with self._as_step_error(request):
            yield from self._chat.stream(**self._arguments(request))

    def close(self) -> None:
        """Nothing is held between calls."""

    def _each(
        self, call: Callable[[Request], Coroutine[Any, Any, Result]], requests: Sequence[Request]
    ) -> list[Result]:
        """`call` on each, at most `parallel` at a time; the first failure cancels all that is not done."""
        with ThreadPoolExecutor(1) as thread:  # the caller's may run a loop, as a notebook's does
            return thread.submit(asyncio.run, self._all(call, requests)).result()

    async def _all(
        self, call: Callable[[Request], Coroutine[Any, Any, Result]], requests: Sequence[Request]
    ) -> list[Result]:
        slots = asyncio.Semaphore(self._parallel)

        async def limited(request: Request) -> Result:
            async with slots:
                with self._as_step_error(request):
                    return await call(request)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(limited(request)) for request in requests]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None
        finally:
            await self._chat.close()
        return [task.result() for task in tasks]

    async def _respond(self, request: Request) -> Response:
        reply = await self._complete(request)
        if not isinstance(reply.finish_reason, str):
            raise self._error(request, "the reply is no chat completion")
        if reply.tokens is None:
            raise self._error(request, "the reply has no usage: a response's tokens are unknown")
        return Response(reply.text, reply.tokens[1], reply.finish_reason)

    async def _first_token(self, request: Request) -> dict[str, float] | None:
        try:
            reply = await self._complete(request, logprobs=True, top_logprobs=_PROBE_LOGPROBS)
        except RequestRefused as refused:
            # Where responses are given, only the probabilities can be what is refused.
            if refused.status in UNSUPPORTED or refused.parameter == "logprobs":
                return None
            raise
        return reply.first_token

    async def _complete(self, request: Request, **extra: Any) -> ChatReply:
        while True:
            try:
                return await self._chat.complete(**self._arguments(request), **extra)
            except TransientError as error:
                if error.reason != ADAPTED:
                    raise

    def _arguments(self, request: Request) -> dict[str, Any]:
        sampling = {name: getattr(request, name) for name in ("temperature", "top_p", "seed")}
        of = {"messages": request.messages, "max_tokens": request.max_new_tokens}
        return {"model": self._model(request), **of, **sampling}

    def _model(self, request: Request) -> str:
        return request.adapter.served_as if request.adapter else self._base

    @contextmanager
    def _as_step_error(self, request: Request) -> Iterator[None]:
        try:
            yield
        except TransientError as error:
            problem = str(error)
            if error.reason == "rate_limited":
                problem = f"still too many requests (429) after {RETRIES} retries: lower `parallel`"
            raise self._error(request, problem) from None
        except RequestRefused as refused:
            problem = f"answers {refused}"
            if refused.parameter == "seed":
                problem = f"takes no seed, so no response can be repeated: {refused.detail}"
            raise self._error(request, problem) from None

    def _error(self, request: Request, problem: str) -> StepError:
        return self._chat.error(self._model(request), problem)
