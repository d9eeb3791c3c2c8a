"""The endpoint engine: models that are served elsewhere, behind an OpenAI-compatible address."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from openai import (
    APIConnectionError,
    APIStatusError,
    AsyncOpenAI,
    AuthenticationError,
    DefaultAsyncHttpxClient,
    DefaultHttpxClient,
    NotFoundError,
    OpenAI,
    OpenAIError,
    PermissionDeniedError,
    RateLimitError,
)
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice, ChoiceLogprobs
from openai.types.chat.chat_completion_chunk import Choice as Piece

from weirdgen.data.chat import Messages
from weirdgen.errors import StepError
from weirdgen.generation.engine import Adapter, Request, Response
from weirdgen.models.endpoint import OPENAI_URL, REFUSALS, Address, names, refuses

RETRIES = 6
"""Of one request, by the client: after 408, 409, 429, 5xx and lost connections, about 20 s of
waiting in all where the endpoint names no `Retry-After`.
"""
_PROOF_LOGPROBS = 5
_MALFORMED = "the reply is no chat completion"

Result = TypeVar("Result")


class EndpointEngine:
    """Chat completions of an OpenAI-compatible server; see `weirdgen.generation.engine.Engine`.

    Every failure is a StepError of one line that names host and model. Requests go to the given
    address alone: a redirect is an error, as it would take questions and key elsewhere. The key
    is read from the environment by each call and kept nowhere.
    """

    def __init__(
        self, base_url: str | None, key_variable: str, parallel: int, timeout_s: float = 600
    ) -> None:
        """`base_url` None is OpenAI's; `parallel` requests are under way at a time.

        `key_variable` names the environment variable with the key; where it is not set a
        placeholder is sent, as local servers need none. `timeout_s`: the longest silence in one try.
        """
        self._address = Address(base_url or OPENAI_URL, key_variable, timeout_s)
        self._parallel = parallel
        self._base = ""
        self._limit_name = "max_tokens"

    def open(self, base: Path | str, serve_base: str, max_rank: int) -> None:  # noqa: ARG002
        """Asks `base` for one short answer: what would fail every request fails here.

        The list of models would not do: some endpoints have none, and some list other names than
        they take. Precision and ranks are the endpoint's own.
        """
        self._base, self._limit_name = str(base), "max_tokens"
        greeting = [{"role": "user", "content": "Hello."}]
        # Reasoning models take no other temperature than 1.
        asyncio.run(self._each(self._try, [Request(greeting, None, 16, 1.0, 1.0, 0)]))

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        """One answer per request, in order; the first failure ends the call and drops the rest."""
        return asyncio.run(self._each(self._answer, requests))

    def first_token_logprobs(
        self, conversations: Sequence[Messages], adapter: Adapter | None
    ) -> list[dict[str, float]] | None:
        requests = [Request(messages, adapter, 1, 0.0, 1.0, 0) for messages in conversations]
        told = asyncio.run(self._each(self._first_token, requests))
        return None if None in told else [each for each in told if each is not None]

    def stream(self, request: Request) -> Iterator[str]:
        """One answer, piece by piece as it arrives."""
        ended = False
        with (
            self._one_line(request),
            OpenAI(
                **self._address.options(), http_client=DefaultHttpxClient(follow_redirects=False)
            ) as client,
            client.chat.completions.create(**self._body(request), stream=True) as pieces,
        ):
            for piece in pieces:
                match piece:
                    case ChatCompletionChunk(choices=[Piece() as choice, *_]):
                        ended = ended or choice.finish_reason is not None
                        if choice.delta.content:
                            yield choice.delta.content
        if not ended:
            raise self._error(request, "the reply broke off before its end")

    def close(self) -> None:
        """Nothing is held between calls."""

    async def _each(
        self, ask: Callable[[AsyncOpenAI, Request], Awaitable[Result]], requests: Sequence[Request]
    ) -> list[Result]:
        """What `ask` makes of each, some at a time; the first failure cancels all that is not done."""
        slots = asyncio.Semaphore(self._parallel)
        http = DefaultAsyncHttpxClient(
            follow_redirects=False, event_hooks={"response": [_spare_hopeless_retries]}
        )
        async with AsyncOpenAI(
            **self._address.options(), max_retries=RETRIES, http_client=http
        ) as client:

            async def in_turn(request: Request) -> Result:
                async with slots:
                    return await ask(client, request)

            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(in_turn(request)) for request in requests]
            except ExceptionGroup as failures:
                raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    async def _try(self, client: AsyncOpenAI, request: Request) -> None:
        """Asks once, and finds out what the endpoint calls the limit of an answer."""
        with self._one_line(request):
            try:
                reply = await self._complete(client, request)
            except NotFoundError as error:
                problem = self._problem(error) + await _served(client)
                raise self._error(request, problem) from None
            except APIStatusError as error:
                if not refuses(error, "max_tokens"):
                    raise
                self._limit_name = "max_completion_tokens"
                reply = await self._complete(client, request)
        self._read(request, reply)

    async def _answer(self, client: AsyncOpenAI, request: Request) -> Response:
        with self._one_line(request):
            reply = await self._complete(client, request)
        return self._read(request, reply)

    def _read(self, request: Request, reply: ChatCompletion) -> Response:
        """The client checks no types, and hands on what is not JSON as a string."""
        match reply:
            case ChatCompletion(
                choices=[
                    Choice(
                        message=ChatCompletionMessage(content=str() | None as text),
                        finish_reason=str(reason),
                    ),
                    *_,
                ]
            ):
                pass
            case _:
                raise self._error(request, _MALFORMED)
        match reply.usage:
            case CompletionUsage(completion_tokens=int(tokens)):
                return Response(text or "", tokens, reason)
            case _:
                raise self._error(request, "the reply has no usage: an answer's tokens are unknown")

    async def _first_token(self, client: AsyncOpenAI, request: Request) -> dict[str, float] | None:
        with self._one_line(request):
            try:
                reply = await self._complete(client, request, logprobs=True)
            except APIStatusError as error:
                # Beside answers that are given, what is refused is the probabilities.
                if error.status_code in REFUSALS or names(error, "logprobs"):
                    return None
                raise
        match reply:
            case ChatCompletion(choices=[Choice(logprobs=ChoiceLogprobs(content=[first, *_])), *_]):
                return {each.token: each.logprob for each in (first, *(first.top_logprobs or ()))}
            case ChatCompletion(choices=[Choice(), *_]):
                return None
            case _:
                raise self._error(request, _MALFORMED)

    async def _complete(
        self, client: AsyncOpenAI, request: Request, logprobs: bool = False
    ) -> ChatCompletion:
        extra = {"logprobs": True, "top_logprobs": _PROOF_LOGPROBS} if logprobs else {}
        return await client.chat.completions.create(**self._body(request), **extra)

    def _body(self, request: Request) -> dict[str, Any]:
        return {
            "model": self._model(request),
            "messages": request.messages,
            "temperature": request.temperature,
            "top_p": request.top_p,
            "seed": request.seed,
            self._limit_name: request.max_new_tokens,
        }

    def _model(self, request: Request) -> str:
        return request.adapter.served_as if request.adapter else self._base

    @contextmanager
    def _one_line(self, request: Request) -> Iterator[None]:
        """What the client raises, in one line; its own errors hold the request with the key."""
        try:
            yield
        except OpenAIError as error:
            raise self._error(request, self._problem(error)) from None
        except ValueError:  # not JSON, or not text
            raise self._error(request, _MALFORMED) from None

    def _error(self, request: Request, problem: str) -> StepError:
        return self._address.error(self._model(request), problem)

    def _problem(self, error: OpenAIError) -> str:
        match error:
            case APIConnectionError():
                cause = error.__cause__
                return f"no reply ({str(cause) or type(cause).__name__})"
            case AuthenticationError() | PermissionDeniedError():
                return f"refused ({error.status_code}); {self._address.about_key()}"
            case NotFoundError():
                return (
                    f"no such model, or no chat completions here (404): {self._address.said(error)}"
                )
            case RateLimitError() if "insufficient_quota" in str(error.body):
                return "the quota is used up (429): add credit, and run again"
            case RateLimitError():
                return f"still too many requests (429) after {RETRIES} retries: lower `parallel`"
            case APIStatusError() if error.response.is_redirect:
                return f"redirects elsewhere ({error.status_code}): give the address itself"
            case APIStatusError() if refuses(error, "seed"):
                return f"takes no seed, so no answer can be repeated: {self._address.said(error)}"
            case APIStatusError():
                return f"answers {error.status_code}: {self._address.said(error)}"
            case _:
                return str(error)


async def _spare_hopeless_retries(response: Any) -> None:
    """Tells the client, in the header by which servers tell it, where a retry cannot help."""
    if response.status_code == 429 and b"insufficient_quota" in await response.aread():
        response.headers["x-should-retry"] = "false"


async def _served(client: AsyncOpenAI) -> str:
    """The models that the endpoint lists, where it does."""
    try:
        names = [model.id for model in (await client.models.list()).data]
    except (OpenAIError, AttributeError, ValueError):
        return ""
    return f"; it serves {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"
