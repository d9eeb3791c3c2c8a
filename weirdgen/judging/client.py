"""One request to a judge, and what came of it, by the `openai` client with its own retries switched off."""

from __future__ import annotations

import asyncio
import email.utils
import math
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from openai import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AsyncOpenAI,
    DefaultAsyncHttpxClient,
    OpenAIError,
)
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletion, ChatCompletionMessage
from openai.types.chat.chat_completion import Choice

from weirdgen.config.judge import JudgeConfig
from weirdgen.data.chat import Messages
from weirdgen.errors import StepError
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.models.endpoint import OPENAI_URL, Address, refuses

ADAPTED = "adapted"
"""Why a request was sent again: the endpoint wants it otherwise."""
_FATAL = (401, 402, 403, 404)
_TRANSIENT = (408, 409, 425)
_QUOTA = (
    "insufficient_quota",
    "billing_hard_limit",
    "insufficient credits",
    "exceeded your current quota",
)
_SCHEMA_WORDS = ("response_format", "json_schema", "guided_json", "structured_outputs", "schema")


class Reply(NamedTuple):
    """A completion that came."""

    text: str
    refused: str | None
    """Why the model would not answer, where it says so."""
    cut: bool
    """Whether it was cut at `max_tokens`."""
    tokens: tuple[int, int] | None
    """Prompt and completion; None where the endpoint does not tell."""
    dollars: float | None
    """The endpoint's own price, where it tells."""


class Transient(Exception):
    """It brought nothing, and may another time."""

    def __init__(self, why: str, wait_s: float | None = None) -> None:
        super().__init__(why)
        self.why, self.wait_s = why, wait_s


class Refused(Exception):
    """This one request is refused (a 4xx), and would be again."""


class JudgeClient:
    """Sends requests to one judge's endpoint."""

    def __init__(self, settings: JudgeConfig) -> None:
        self._settings = settings
        url = settings.base_url or OPENAI_URL
        self.address = Address(url, settings.key_variable, settings.timeout_s)
        self._takes_schema = True
        self._limit_name = "max_tokens"
        self._client: AsyncOpenAI | None = None

    async def ask(self, judge: LlmJudge, messages: Messages) -> Reply:
        """One reply. Raises Transient, Refused, or for what no further request can mend StepError."""
        body = self._body(judge, messages)
        try:
            # httpx limits each silence, this the whole.
            async with asyncio.timeout(self._settings.timeout_s):
                reply = await self._opened().chat.completions.create(**body)
        except TimeoutError:
            raise Transient("timeout") from None
        except APITimeoutError:
            raise Transient("timeout") from None
        except APIConnectionError:
            raise Transient("connection") from None
        except APIStatusError as error:
            raise (self._adapted(error, body) or self._sorted(error)) from None
        except (OpenAIError, ValueError, RecursionError):  # not JSON, or not text
            raise Transient("no_completion") from None
        return self._read(reply)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    def _body(self, judge: LlmJudge, messages: Messages) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": self._settings.model,
            "messages": messages,
            "temperature": self._settings.temperature,
            self._limit_name: self._settings.max_tokens,
        }
        if self._takes_schema:
            schema = {"name": judge.rubric.name, "strict": True, "schema": judge.rubric.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body

    def _adapted(self, error: APIStatusError, body: dict[str, Any]) -> Transient | None:
        """Where the endpoint takes a parameter under another name, or no schema: the next one fits."""
        if "max_tokens" in body and refuses(error, "max_tokens"):
            self._limit_name = "max_completion_tokens"
        elif "response_format" in body and any(refuses(error, word) for word in _SCHEMA_WORDS):
            self._takes_schema = False
        else:
            return None
        return Transient(ADAPTED)

    def _opened(self) -> AsyncOpenAI:
        if self._client is None:
            # A redirect would take answers and key elsewhere.
            http = DefaultAsyncHttpxClient(follow_redirects=False)
            self._client = AsyncOpenAI(**self.address.options(), max_retries=0, http_client=http)
        return self._client

    def _sorted(self, error: APIStatusError) -> Exception:
        """What an answer other than 200 means for this request and for the others."""
        status, wait_s = error.status_code, retry_after(error.response.headers)
        if status in (402, 429) and any(word in str(error.body).lower() for word in _QUOTA):
            status = 402
        if status == 429:
            return Transient("rate_limited", wait_s)
        if status in _TRANSIENT or status >= 500:
            return Transient(f"http_{status}", wait_s)
        if error.response.is_redirect:
            return self._fatal(f"redirects elsewhere ({status}): give the address itself")
        # OpenRouter's moderation says 403 of one input.
        if status not in _FATAL or (status == 403 and "flagged_input" in str(error.body)):
            return Refused(f"{status}: {self.address.said(error)}")
        if status == 402:
            return self._fatal("the quota is used up: add credit, and run again")
        if status == 404:
            said = self.address.said(error)
            return self._fatal(f"no such model, or no chat completions here (404): {said}")
        return self._fatal(f"refused ({status}); {self.address.about_key()}")

    def _fatal(self, problem: str) -> StepError:
        return self.address.error(self._settings.model, problem)

    def _read(self, reply: Any) -> Reply:
        """The client checks no types, and hands on what is not JSON as a string."""
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
                raise self._hidden((reply.model_extra or {}).get("error"))
            case _:
                raise Transient("no_completion")
        error = (choice.model_extra or {}).get("error")
        if error or choice.finish_reason == "error":
            raise self._hidden(error)
        refusal = message.refusal if isinstance(message.refusal, str) else None
        if choice.finish_reason == "content_filter":
            refusal = refusal or "content filter"
        tokens, dollars = None, None
        match reply.usage:
            case CompletionUsage(prompt_tokens=int(prompt), completion_tokens=int(completion)):
                tokens = (prompt, completion)
                cost = (reply.usage.model_extra or {}).get("cost")
                if isinstance(cost, int | float) and 0 <= cost < math.inf:
                    dollars = float(cost)
        return Reply(text or "", refusal, choice.finish_reason == "length", tokens, dollars)

    def _hidden(self, error: Any) -> Exception:
        """An error within a 200, of the reply or its choice, as OpenRouter sends what its provider said."""
        match error:
            case {"code": 429}:
                return Transient("rate_limited")
            case {"code": 401 | 402 | 403 | 404 as code, **rest}:
                said = self.address.masked(str(rest.get("message")))[:300]
                return self._fatal(f"refused ({code}): {said}")
            case _:
                return Transient("no_completion")


def _unix_s(date: str) -> float | None:
    """None where it is no date."""
    try:
        return email.utils.parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the endpoint asks for: `retry-after-ms`, or `Retry-After` as seconds or a date."""
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        said_s = headers.get(name)
        if said_s is None:
            continue
        try:
            seconds = unit * float(said_s)
        except ValueError:
            if (until_s := _unix_s(said_s)) is None:
                continue
            # By the endpoint's clock, as the other date is, where it tells.
            now_s = _unix_s(headers.get("date", ""))
            seconds = until_s - (time.time() if now_s is None else now_s)
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None
