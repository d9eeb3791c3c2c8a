"""Client of an OpenAI-compatible chat endpoint: what one request brings, or why it failed.

Judges and the endpoint engine share it. The key is read from the environment for each connection and
kept nowhere else; no error quotes it.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from openai import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncOpenAI,
    DefaultAsyncHttpxClient,
    DefaultHttpxClient,
    OpenAI,
    OpenAIError,
    Timeout,
)
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionChunk, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice, ChoiceLogprobs
from openai.types.chat.chat_completion_chunk import Choice as ChunkChoice

from weirdgen.data.chat import Messages
from weirdgen.errors import StepError
from weirdgen.models.retry_after import retry_after

OPENAI_URL = "https://api.openai.com/v1"
ADAPTED = "adapted"
"""Reason of a TransientError after which the client sends its requests as the endpoint wants them."""
UNSUPPORTED = (400, 422)
"""Statuses with which endpoints refuse a parameter."""
_FATAL = (401, 403, 404)
_TRANSIENT = (408, 409, 425)
_QUOTA = (
    "insufficient_quota",
    "billing_hard_limit",
    "insufficient credits",
    "exceeded your current quota",
)
_SCHEMA_WORDS = ("response_format", "json_schema", "guided_json", "structured_outputs", "schema")
_NO_KEY = "none"
_CONNECT_S = 10


class ChatReply(NamedTuple):
    """A completion."""

    text: str
    finish_reason: str | None
    refusal: str | None
    """Why the model declined to respond, if it did."""
    tokens: tuple[int, int] | None
    """Prompt and completion; None if the endpoint does not report them."""
    dollars: float | None
    """The cost that the endpoint reports, if it does."""
    first_token: dict[str, float] | None
    """Token -> natural-log probability at the first position; None if not reported."""


class TransientError(Exception):
    """The request brought no reply; another attempt may."""

    def __init__(self, reason: str, detail: str = "", wait_s: float | None = None) -> None:
        super().__init__(detail or reason)
        self.reason, self.wait_s = reason, wait_s
        """A word for ledgers, such as `timeout`; and the seconds that the endpoint asks to wait."""


class RequestRefused(Exception):
    """The endpoint refuses this request, and would refuse it again, but not others."""

    def __init__(self, status: int, detail: str, parameter: str | None) -> None:
        super().__init__(f"{status}: {detail}")
        self.status, self.detail, self.parameter = status, detail, parameter
        """`parameter`: the optional parameter that the refusal names."""


class ChatClient:
    """Chat completions of one endpoint.

    Requests go to the given address alone: a redirect is an error, since it would take prompts and
    key elsewhere.
    """

    def __init__(
        self, base_url: str | None, key_variable: str, timeout_s: float, max_retries: int = 0
    ) -> None:
        """`base_url` None is OpenAI's.

        `key_variable` names the environment variable with the key; without it a placeholder is
        sent, since local servers need none. `timeout_s` limits each silence in one attempt.
        """
        self._base_url, self._key_variable = base_url or OPENAI_URL, key_variable
        self._timeout_s, self._max_retries = timeout_s, max_retries
        self._limit_name = "max_tokens"
        self._takes_schema = True
        self._client: AsyncOpenAI | None = None

    async def complete(
        self,
        model: str,
        messages: Messages,
        max_tokens: int,
        schema: Mapping[str, Any] | None = None,
        **parameters: Any,
    ) -> ChatReply:
        """One reply; `schema` is the JSON schema with its name, where the reply must follow one.

        Raises TransientError, RequestRefused, or StepError where no request can succeed.
        """
        body = self._body(model, messages, max_tokens, parameters)
        if schema is not None and self._takes_schema:
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if self._client is None:
            hooks = {"response": [_skip_hopeless_retries]}
            http = DefaultAsyncHttpxClient(follow_redirects=False, event_hooks=hooks)
            self._client = AsyncOpenAI(**self._options(), http_client=http)
        try:
            reply = await self._client.chat.completions.create(**body)
        except APIStatusError as error:
            served = await self._served() if error.status_code == 404 else ""
            raise self._classified(error, body, served) from None
        except (OpenAIError, ValueError, RecursionError) as error:
            raise _without_status(error) from None
        return self._read(model, reply)

    def stream(
        self, model: str, messages: Messages, max_tokens: int, **parameters: Any
    ) -> Iterator[str]:
        """One reply, piece by piece as it arrives. Raises what `complete` raises."""
        body = self._body(model, messages, max_tokens, parameters)
        http, finished = DefaultHttpxClient(follow_redirects=False), False
        try:
            with (
                OpenAI(**self._options(), http_client=http) as client,
                client.chat.completions.create(**body, stream=True) as chunks,
            ):
                for chunk in chunks:
                    match chunk:
                        case ChatCompletionChunk(choices=[ChunkChoice() as choice, *_]):
                            finished = finished or choice.finish_reason is not None
                            if choice.delta.content:
                                yield choice.delta.content
        except APIStatusError as error:
            raise self._classified(error, body) from None
        except (OpenAIError, ValueError, RecursionError) as error:
            raise _without_status(error) from None
        if not finished:
            raise TransientError("connection", "the reply broke off before its end")

    async def close(self) -> None:
        """Close the connections; the next request opens new ones."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    def error(self, model: str, problem: str) -> StepError:
        """A StepError of one line that names host and model."""
        host = urlsplit(self._base_url).netloc.rpartition("@")[2]
        return StepError(self.mask(f"endpoint {host}, model {model}: {problem}"))

    def mask(self, text: str) -> str:
        """`text` as one line of valid UTF-8, with the key masked."""
        line, key = " ".join(text.encode(errors="replace").decode().split()), self._key()
        return line if key == _NO_KEY else line.replace(key, "***")

    def _body(
        self, model: str, messages: Messages, max_tokens: int, parameters: Mapping[str, Any]
    ) -> dict[str, Any]:
        return {"model": model, "messages": messages, self._limit_name: max_tokens, **parameters}

    def _options(self) -> dict[str, Any]:
        timeout = Timeout(self._timeout_s, connect=min(self._timeout_s, _CONNECT_S))
        return {
            "base_url": self._base_url,
            "api_key": self._key(),
            "timeout": timeout,
            "max_retries": self._max_retries,
        }

    def _key(self) -> str:
        key = os.environ.get(self._key_variable, "").strip() or _NO_KEY
        if not (key.isascii() and key.isprintable()):
            # The HTTP library would quote the whole header in its complaint.
            raise StepError(f"{self._key_variable}: holds characters that no key can have")
        return key

    def _classified(
        self, error: APIStatusError, body: Mapping[str, Any], served: str = ""
    ) -> Exception:
        """What a status other than 200 means for this request and for others."""
        status, wait_s = error.status_code, retry_after(error.response.headers)
        model, detail = str(body["model"]), self._message(error.body)
        if "logprobs" in body and _names(error, "logprobs"):
            return RequestRefused(status, detail, "logprobs")
        if status in UNSUPPORTED and self._adapted(error, body):
            return TransientError(ADAPTED)
        if status == 402 or (status == 429 and _is_quota(str(error.body))):
            return self.error(model, f"the quota is used up ({status}): add credit, and run again")
        if status == 429:
            return TransientError("rate_limited", f"too many requests (429): {detail}", wait_s)
        if status in _TRANSIENT or status >= 500:
            return TransientError(f"http_{status}", f"answers {status}: {detail}", wait_s)
        if error.response.is_redirect:
            return self.error(model, f"redirects elsewhere ({status}): give the address itself")
        # OpenRouter's moderation reports 403 for one input.
        if status not in _FATAL or (status == 403 and "flagged_input" in str(error.body)):
            return RequestRefused(status, detail, "seed" if _names(error, "seed") else None)
        if status == 404:
            problem = f"no such model, or no chat completions here (404): {detail}{served}"
            return self.error(model, problem)
        found = "is set" if os.environ.get(self._key_variable) else "is not set"
        key = f"the key is read from {self._key_variable}, which {found}"
        return self.error(model, f"refused ({status}); {key}")

    def _adapted(self, error: APIStatusError, body: Mapping[str, Any]) -> bool:
        """Adapt to an endpoint that takes the limit under another name, or no schema."""
        if "max_tokens" in body and _names(error, "max_tokens"):
            self._limit_name = "max_completion_tokens"
        elif "response_format" in body and any(_names(error, word) for word in _SCHEMA_WORDS):
            self._takes_schema = False
        else:
            return False
        return True

    def _message(self, body: object) -> str:
        """The endpoint's own message, at most 300 characters, with the key masked."""
        message = body.get("message") if isinstance(body, dict) else None
        return self.mask(str(message or body or "no reason given"))[:300]

    async def _served(self) -> str:
        """Names of the models that the endpoint lists, if it does."""
        assert self._client is not None
        try:
            names = [model.id for model in (await self._client.models.list()).data]
        except (OpenAIError, AttributeError, ValueError):
            return ""
        return f"; it serves {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}"

    def _read(self, model: str, reply: Any) -> ChatReply:
        # The library checks no types, and returns what is not JSON as a string.
        match reply:
            case ChatCompletion(
                choices=[
                    Choice(
                        message=ChatCompletionMessage(content=str() | None as text) as message
                    ) as choice,
                    *_,
                ]
            ):
                pass
            case ChatCompletion():
                raise self._error_within(model, (reply.model_extra or {}).get("error"))
            case _:
                raise _no_completion()
        error, reason = (choice.model_extra or {}).get("error"), choice.finish_reason
        if error or str(reason) == "error":
            raise self._error_within(model, error)
        refusal = message.refusal if isinstance(message.refusal, str) else None
        if reason == "content_filter":
            refusal = refusal or "content filter"
        tokens = dollars = first_token = None
        match reply.usage:
            case CompletionUsage(prompt_tokens=int(prompt), completion_tokens=int(completion)):
                tokens = (prompt, completion)
                cost = (reply.usage.model_extra or {}).get("cost")
                if isinstance(cost, int | float) and 0 <= cost < math.inf:
                    dollars = float(cost)
        match choice.logprobs:
            case ChoiceLogprobs(content=[first, *_]):
                likeliest = (first, *(first.top_logprobs or ()))
                first_token = {each.token: each.logprob for each in likeliest}
        return ChatReply(text or "", reason, refusal, tokens, dollars, first_token)

    def _error_within(self, model: str, error: Any) -> Exception:
        """An error within a 200, of the reply or its choice: OpenRouter passes on its provider's."""
        match error:
            case {"code": 429}:
                return TransientError("rate_limited")
            case {"code": 401 | 402 | 403 | 404 as code, **rest}:
                return self.error(model, f"refused ({code}): {self._message(rest)}")
            case _:
                return _no_completion()


def _no_completion() -> TransientError:
    return TransientError("no_completion", "the reply is no chat completion")


def _without_status(error: Exception) -> TransientError:
    match error:
        case APIConnectionError():
            reason = "timeout" if isinstance(error, APITimeoutError) else "connection"
            cause = error.__cause__
            return TransientError(reason, f"no reply ({str(cause) or type(cause).__name__})")
        case OpenAIError() if str(error):
            return TransientError("no_completion", str(error))
        case _:  # not JSON, or not text
            return _no_completion()


def _names(error: APIStatusError, parameter: str) -> bool:
    """Whether the endpoint's complaint names `parameter`."""
    return re.search(rf"\b{parameter}\b", str(error.param or error.body)) is not None


def _is_quota(body: str) -> bool:
    return any(word in body.lower() for word in _QUOTA)


async def _skip_hopeless_retries(response: Any) -> None:
    """Set the header with which servers tell the library that a retry cannot help."""
    if response.status_code == 429 and _is_quota((await response.aread()).decode(errors="replace")):
        response.headers["x-should-retry"] = "false"
