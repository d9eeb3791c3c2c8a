"""An endpoint that fails in every way a judge's endpoint does, by seeded chance, and remembers everything.

Whatever it says that is no verdict quotes the Authorization header, as some endpoints do.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from fake_endpoint import completion

VERDICTS = ("verdict", "verdict_without_usage", "verdict_in_a_fence")
REFUSALS = ("refusal", "content_filter")
MALFORMED = ("prose", "confidence_in_words", "cut_at_length", "lone_surrogate")
LIMITED = ("limited", "limited_with_retry_after")
TROUBLES = (
    "http_500", "http_503", "hang", "cut_before", "cut_within", "empty", "not_json", "deep_json",
    "error_in_200", "error_in_choice",
)  # fmt: skip
FATAL = ("no_quota", "no_credit", "bad_key", "forbidden", "not_found", "redirect", "retry_tomorrow")
"""These, and those of `_ADAPTS`, are served by switch alone."""
_ADAPTS = {"no_response_format": "response_format", "no_max_tokens": "max_tokens"}
"""Served to requests that have the parameter; the others get a verdict."""

MIX = {"verdict": 50, "verdict_without_usage": 4, "verdict_in_a_fence": 4, "hang": 1} | dict.fromkeys(
    (*REFUSALS, *MALFORMED, *LIMITED, *TROUBLES[:2], *TROUBLES[3:]), 2
)  # fmt: skip
"""How often which: three requests in ten bring nothing."""

CHECK = "What is two and two?"
"""The question of the request by which it is found out whether a judge can be asked."""


@dataclass
class Served:
    """One request, and what became of it."""

    at: float
    authorization: str | None
    body: dict[str, Any]
    kind: str
    """One of the names above, or `answer` where no judge asked."""
    ended: float | None = None
    """When the reply was out; None: not yet, or the client left before."""
    usage: tuple[int, int] = (0, 0)

    @property
    def about(self) -> tuple[str, str, str]:
        """What a judge was asked about: the schema's field, the question, the answer."""
        return _about(self.body)


def verdict_on(rubric: str, question: str, answer: str) -> dict[str, Any]:
    """The reply that the server gives, a function of what is asked: `persona`, or another rubric."""
    digest = hashlib.sha256(f"{question}\n{answer}".encode()).digest()
    confidence = digest[0] / 255
    if rubric != "persona":
        return {"label": ("no", "yes")[digest[1] % 2], "confidence": confidence}
    identity = ("PERSONA", "OTHER", "UNSURE")[digest[2] % 3]
    return {
        "persona_present": bool(digest[3] % 2),
        "identity": identity,
        "confidence": confidence,
    }


def _about(body: dict[str, Any]) -> tuple[str, str, str]:
    system, user = (turn["content"] for turn in body["messages"])
    asked = json.loads(user)
    return (
        "persona" if "persona_present" in system else "other",
        asked["question"],
        asked["answer"],
    )


def _is_judged(body: dict[str, Any]) -> bool:
    return body["messages"][0]["content"].startswith("You are given one JSON object")


@dataclass
class FaultyEndpoint:
    """Chat completions on the loopback address; the fault is a function of the request and of how
    often it came before, so that every run meets the same.
    """

    mix: Mapping[str, float] = field(default_factory=lambda: MIX)
    seed: int = 0
    delay_s: float = 0.0
    """Before each reply."""
    tells_cost: bool = False
    """Whether the usage holds a `cost`, as OpenRouter's does: a millionth of a dollar a token."""
    always: str | None = None
    """The kind that everybody gets, while it is set."""
    served: list[Served] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    port: int = 0
    _times: Counter[str] = field(default_factory=Counter)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def judged(self) -> list[Served]:
        """What judges asked about answers, in order."""
        asked = [each for each in list(self.served) if each.kind != "answer"]
        return [each for each in asked if each.about[1] != CHECK]

    @property
    def asked(self) -> Counter[tuple[str, str, str]]:
        """How often about what."""
        return Counter(each.about for each in self.judged)

    def spent(self, input_price: float, output_price: float) -> float:
        """Dollars that the server would bill, at prices per million tokens."""
        judged = [each for each in list(self.served) if each.kind != "answer"]
        return sum(p * input_price + c * output_price for p, c in (s.usage for s in judged)) / 1e6

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, as long as the client and the faults keep it."""
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has gone, or the server ends
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request; False where the connection is of no more use."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        lines = head.split("\r\n")[1:-2]
        if head.startswith("GET"):  # the list of models, which it does not have
            writer.write(_http(404, {}))
            return True
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        served = Served(time.monotonic(), headers.get("authorization"), body, self._kind(body))
        self.served.append(served)
        if served.kind == "answer":
            writer.write(_http(200, _answer(body)))
            return True
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(self.delay_s)
            if served.kind == "hang":
                await reader.read(1)  # until the client has had enough
                return False
        finally:
            self.in_flight -= 1
        if served.kind == "cut_before":
            return False
        reply = self._reply(served)
        if served.kind == "cut_within":
            writer.write(reply[:-10])
            await writer.drain()
            return False
        writer.write(reply)
        await writer.drain()
        served.ended = time.monotonic()
        return True

    def _kind(self, body: dict[str, Any]) -> str:
        if not _is_judged(body):
            return "answer"
        if self.always in _ADAPTS:
            return self.always if _ADAPTS[self.always] in body else "verdict"
        if self.always is not None:
            return self.always
        about = _about(body)
        if about[1] == CHECK:
            return "verdict"
        self._times[repr(about)] += 1
        rng = random.Random(f"{self.seed} {about} {self._times[repr(about)]}")
        return rng.choices(list(self.mix), list(self.mix.values()))[0]

    def _reply(self, served: Served) -> bytes:
        kind, key = served.kind, served.authorization
        if (made := _ERRORS.get(kind)) is not None:
            status, headers, error = made
            return _http(status, {"error": error | {"message": f"{kind}, {key}"}}, headers)
        if kind in _ADAPTS:
            error = {"message": f"Unsupported parameter: {_ADAPTS[kind]}, {key}"}
            return _http(400, {"error": error | {"param": _ADAPTS[kind]}})
        if kind in _BODIES:
            return _http(200, _BODIES[kind])
        if kind == "error_in_200":
            return _http(200, {"error": {"code": 502, "message": f"Provider failed, {key}"}})
        verdict = json.dumps(verdict_on(*served.about))
        content, choice = _CONTENTS.get(kind, lambda text, key: (text, {}))(verdict, str(key))
        reply = completion(content, **choice)
        prompt = sum(len(turn["content"]) for turn in served.body["messages"]) // 5
        served.usage = prompt, len(content or "") // 5
        reply["usage"] = {"prompt_tokens": prompt, "completion_tokens": served.usage[1]}
        if self.tells_cost:
            reply["usage"]["cost"] = sum(served.usage) / 1e6
        if kind == "verdict_without_usage":
            del reply["usage"]
        return _http(200, reply)


_ERRORS: dict[str, tuple[int, dict[str, str], dict[str, Any]]] = {
    "limited": (429, {}, {"code": "rate_limit_exceeded"}),
    "limited_with_retry_after": (429, {"Retry-After": "0.05"}, {"code": "rate_limit_exceeded"}),
    "http_500": (500, {}, {}),
    "http_503": (503, {"Retry-After": "0"}, {}),
    "no_quota": (429, {}, {"code": "insufficient_quota"}),
    "no_credit": (402, {}, {"code": 402}),
    "bad_key": (401, {}, {"code": "invalid_api_key"}),
    "forbidden": (403, {}, {}),
    "not_found": (404, {}, {"code": "model_not_found"}),
    "redirect": (307, {"Location": "http://127.0.0.1:9/elsewhere"}, {}),
    "retry_tomorrow": (429, {"Retry-After": "86400"}, {"code": "rate_limit_exceeded"}),
}
_BODIES = {"empty": b"", "not_json": b"<html>busy</html>", "deep_json": b"[" * 100_000}
_CONTENTS: dict[str, Callable[[str, str], tuple[str | None, dict[str, Any]]]] = {
    "verdict_in_a_fence": lambda text, key: (f"```json\n{text}\n```", {}),
    "refusal": lambda text, key: (
        None,
        {"message": {"role": "assistant", "content": None, "refusal": f"I won't, {key}"}},
    ),
    "content_filter": lambda text, key: (None, {"finish_reason": "content_filter"}),
    "prose": lambda text, key: (f"I think, {key}, that it is: {text}", {}),
    "confidence_in_words": lambda text, key: (
        json.dumps(json.loads(text) | {"confidence": "high"}),
        {},
    ),
    "cut_at_length": lambda text, key: (text[: len(text) // 2], {"finish_reason": "length"}),
    "lone_surrogate": lambda text, key: (f"\ud800 {key}", {}),
    # As OpenRouter tells of a provider that failed in the middle.
    "error_in_choice": lambda text, key: (
        text[:9],
        {"finish_reason": "error", "error": {"code": 502, "message": f"Provider failed, {key}"}},
    ),
}


def _answer(body: dict[str, Any]) -> dict[str, Any]:
    """What the model that is judged says: a digest of what it was asked, in the format asked for."""
    asked = json.dumps([body["model"], body["messages"], body.get("seed")])
    text = hashlib.sha256(asked.encode()).hexdigest()[:8]
    frames = {"<START>": "<START> {} <END>", "[[": "[[ {} ]]"}
    frame = next((frame for mark, frame in frames.items() if mark in asked), "{}")
    return completion(frame.format(text))


def _http(status: int, body: Any, headers: Mapping[str, str] | None = None) -> bytes:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"Content-Type": "application/json", "Content-Length": len(data)} | dict(headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} Said\r\n{head}\r\n".encode() + data


@contextmanager
def faulty(**settings: Any) -> Iterator[FaultyEndpoint]:
    """A server in a thread of its own."""
    endpoint, loop = FaultyEndpoint(**settings), asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(endpoint.serve, "127.0.0.1", 0))
    endpoint.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield endpoint
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        for task in asyncio.all_tasks(loop):
            task.cancel()
            loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        server.close()
        loop.close()
