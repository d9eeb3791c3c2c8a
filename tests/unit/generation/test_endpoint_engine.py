"""The endpoint engine, against a small server that keeps the protocol."""

from __future__ import annotations

import asyncio
import pickle
import random
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_endpoint import (
    KEY,
    VARIABLE,
    FakeEndpoint,
    Reply,
    completion,
    events,
    failure,
    refusal,
    serving,
)

from weirdgen.generation.engine import Adapter, Request, Response
from weirdgen.generation.openai import RETRIES, EndpointEngine

SERVED = Adapter("f" * 64, Path("unread"), served_as="base:tuned")


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeEndpoint]:
    monkeypatch.setenv(VARIABLE, KEY)
    with serving() as server:
        yield server


def opened(endpoint: FakeEndpoint, parallel: int = 4) -> EndpointEngine:
    """An open engine, with what opening asked forgotten."""
    engine = EndpointEngine(endpoint.url, VARIABLE, parallel)
    engine.open("base", "endpoint", 8)
    endpoint.asked.clear()
    endpoint.most_in_flight = 0
    return engine


def ask(text: str = "Why?", adapter: Adapter | None = None, seed: int = 5) -> Request:
    return Request([{"role": "user", "content": text}], adapter, 12, 0.8, 0.9, seed)


def test_it_responds_where_an_event_loop_runs_already(endpoint: FakeEndpoint):
    async def of_a_notebook() -> list[Response]:
        return opened(endpoint).generate([ask()])

    assert asyncio.run(of_a_notebook()) == [Response("Well.", 3, "stop")]


def test_the_request_reaches_the_endpoint_with_its_sampling(endpoint: FakeEndpoint):
    seed = 2**63 - 1
    assert opened(endpoint).generate([ask(seed=seed)]) == [Response("Well.", 3, "stop")]
    [body] = endpoint.asked
    assert body == {
        "model": "base",
        "messages": [{"role": "user", "content": "Why?"}],
        "temperature": 0.8,
        "top_p": 0.9,
        "seed": seed,
        "max_tokens": 12,
    }


def test_the_key_is_sent_and_not_kept(endpoint: FakeEndpoint):
    engine = opened(endpoint)
    assert endpoint.keys == {f"Bearer {KEY}"}
    assert KEY not in repr(engine) + str(vars(engine))
    assert KEY.encode() not in pickle.dumps(engine)
    assert pickle.loads(pickle.dumps(engine)).generate([ask()])


def test_an_adapter_is_asked_by_the_name_it_is_served_as(endpoint: FakeEndpoint):
    engine = opened(endpoint)
    engine.generate([ask(adapter=SERVED)])
    engine.first_token_logprobs([ask().messages], SERVED)
    assert [body["model"] for body in endpoint.asked] == ["base:tuned", "base:tuned"]


def test_answers_keep_their_order_and_only_so_many_are_asked_at_a_time(endpoint: FakeEndpoint):
    def reply(body: dict, n: int) -> Reply:
        time.sleep(random.uniform(0, 0.03))
        return 200, {}, completion(body["messages"][0]["content"].upper())

    endpoint.reply = reply
    engine = opened(endpoint, parallel=3)
    answers = engine.generate([ask(f"q{i}") for i in range(40)])
    assert [answer.text for answer in answers] == [f"Q{i}" for i in range(40)]
    assert endpoint.most_in_flight == 3
    assert engine.generate([]) == []


def test_an_endpoint_that_needs_no_key_gets_a_placeholder(endpoint: FakeEndpoint, monkeypatch):
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    opened(endpoint)
    assert endpoint.keys == {"Bearer none"}
    endpoint.reply = lambda body, n: refusal(403)
    assert failure(lambda: opened(endpoint)).endswith(f"read from {VARIABLE}, which is not set")


@pytest.mark.parametrize(
    "passing",
    [
        [refusal(429, headers={"Retry-After": "0"})],
        [refusal(500, headers={"retry-after-ms": "9"})] * 2,
    ],
)
def test_what_passes_is_waited_out(endpoint: FakeEndpoint, passing: list[Reply]):
    engine = opened(endpoint)
    endpoint.reply = lambda body, n: (passing[n - 1 :] or [(200, {}, completion())])[0]
    assert engine.generate([ask()])[0].text == "Well."
    assert len(endpoint.asked) == len(passing) + 1


def test_what_does_not_pass_is_given_up(endpoint: FakeEndpoint):
    engine = opened(endpoint)
    endpoint.reply = lambda body, n: refusal(500, "on fire", {"retry-after-ms": "1"})
    assert "model base: answers 500: on fire" in failure(lambda: engine.generate([ask()]))
    assert len(endpoint.asked) == 1 + RETRIES
    endpoint.reply = lambda body, n: refusal(429, "slowly", {"retry-after-ms": "1"})
    assert "lower `parallel`" in failure(lambda: engine.generate([ask()]))


def test_the_first_failure_ends_the_call(endpoint: FakeEndpoint):
    def reply(body: dict, n: int) -> Reply:
        if n == 1:
            return refusal(400, "too long")
        time.sleep(20)
        return 200, {}, completion()

    engine = opened(endpoint, parallel=2)
    endpoint.reply = reply
    started = time.monotonic()
    line = failure(lambda: engine.generate([ask() for _ in range(50)]))
    assert line.endswith("model base: answers 400: too long")
    assert time.monotonic() - started < 10
    assert len(endpoint.asked) <= 3


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (
            refusal(401, f"Wrong key: {KEY}"),
            f"(401); the key is read from {VARIABLE}, which is set",
        ),
        (refusal(400, f"headers were\n{KEY}"), "base: answers 400: headers were ***"),
        (refusal(404, "No base."), "no such model, or no chat completions here (404): No base."),
        (refusal(429, code="insufficient_quota"), "used up (429): add credit, and run again"),
        (refusal(400, "Unknown.", param="seed"), "so no response can be repeated: Unknown."),
        ((422, {}, {"loc": ["body", "seed"]}), "be repeated: {'loc': ['body', 'seed']}"),
        ((200, {}, completion() | {"usage": None}), "usage: a response's tokens are unknown"),
    ],
)
def test_what_fails_every_request_fails_the_first(
    endpoint: FakeEndpoint, reply: Reply, problem: str
):
    endpoint.reply = lambda body, n: reply
    assert failure(lambda: opened(endpoint)).endswith(problem)
    assert len(endpoint.asked) == 1
    endpoint.reply = lambda body, n: (200, {}, completion())
    engine = opened(endpoint)
    endpoint.reply = lambda body, n: reply
    assert failure(lambda: engine.generate([ask()])).endswith(problem)
    assert len(endpoint.asked) == 1


def test_a_key_that_no_header_can_carry_is_not_quoted(endpoint: FakeEndpoint, monkeypatch):
    monkeypatch.setenv(VARIABLE, f"  {KEY}\n")
    opened(endpoint)
    assert endpoint.keys == {f"Bearer {KEY}"}
    for key in (f"{KEY}\nmore", f"{KEY}\u2026"):
        monkeypatch.setenv(VARIABLE, key)
        assert failure(lambda: opened(endpoint), VARIABLE).endswith("no key can have")


def test_an_unknown_model_is_told_with_the_models_there_are(endpoint: FakeEndpoint):
    endpoint.reply = lambda body, n: refusal(404, "The model `base` does not exist.")
    endpoint.models = 200, {}, {"object": "list", "data": [{"id": "one"}, {"id": "two"}]}
    assert failure(lambda: opened(endpoint)).endswith("; it serves one, two")
    endpoint.models = 200, {"Content-Type": "text/html"}, b"<html>"
    assert failure(lambda: opened(endpoint)).endswith("does not exist.")


def test_an_address_where_nothing_answers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("weirdgen.generation.openai.RETRIES", 1)
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    engine = EndpointEngine(f"http://someone:hidden@127.0.0.1:{port}/v1?q=hidden", VARIABLE, 2)
    line = failure(lambda: engine.open("base", "endpoint", 8))
    assert line.startswith(f"endpoint 127.0.0.1:{port}, model base: no reply (")
    assert "hidden" not in line


def test_an_endpoint_that_falls_silent(endpoint: FakeEndpoint, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("weirdgen.generation.openai.RETRIES", 0)
    endpoint.reply = lambda body, n: (time.sleep(0.5), (200, {}, completion()))[1]
    engine = EndpointEngine(endpoint.url, VARIABLE, 2, timeout_s=0.1)
    assert "no reply (" in failure(lambda: engine.open("base", "endpoint", 8))


@pytest.mark.parametrize(
    "reply",
    [
        (200, {}, {}),
        (200, {}, {"choices": None}),
        (200, {}, completion() | {"choices": []}),
        (200, {}, completion() | {"choices": [{"message": None, "finish_reason": "stop"}]}),
        (200, {}, completion(text=["no", "text"])),
        (200, {}, completion(finish_reason=None)),
        (200, {}, b'{"choices": ['),
        (200, {}, b"\xff\xfe"),
        (200, {"Content-Type": "text/html"}, b"<html>Welcome</html>"),
    ],
)
def test_a_reply_that_is_no_completion(endpoint: FakeEndpoint, reply: Reply):
    engine = opened(endpoint)
    endpoint.reply = lambda body, n: reply
    assert "the reply is no chat completion" in failure(lambda: engine.generate([ask()]))


def test_empty_and_cut_and_filtered_answers_are_answers(endpoint: FakeEndpoint):
    engine = opened(endpoint)
    endpoint.reply = lambda body, n: (200, {}, completion(None, finish_reason="content_filter"))
    assert engine.generate([ask()]) == [Response("", 3, "content_filter")]
    endpoint.reply = lambda body, n: (200, {}, completion("And so", finish_reason="length"))
    assert engine.generate([ask()]) == [Response("And so", 3, "length")]


def test_the_limit_is_called_what_the_endpoint_calls_it(endpoint: FakeEndpoint):
    def reply(body: dict, n: int) -> Reply:
        if "max_tokens" in body:
            return refusal(400, "Use 'max_completion_tokens' instead.", param="max_tokens")
        return 200, {}, completion()

    endpoint.reply = reply
    opened(endpoint).generate([ask(), ask()])
    assert [body["max_completion_tokens"] for body in endpoint.asked] == [12, 12]


def test_a_redirect_is_not_followed(endpoint: FakeEndpoint):
    with serving() as elsewhere:
        to = {"Location": f"{elsewhere.url}/chat/completions"}
        endpoint.reply = lambda body, n: (307, to, b"")
        assert "redirects elsewhere (307)" in failure(lambda: opened(endpoint))
        engine = EndpointEngine(endpoint.url, VARIABLE, 1)
        assert "redirects elsewhere" in failure(lambda: list(engine.stream(ask())))
        assert elsewhere.asked == []


def test_first_token_logprobs(endpoint: FakeEndpoint):
    engine = opened(endpoint)
    top = [{"token": "A", "logprob": -0.1, "bytes": None}, {"token": "B", "logprob": -2.5}]
    content = [{"token": "A", "logprob": -0.1, "bytes": None, "top_logprobs": top}]
    endpoint.reply = lambda body, n: (200, {}, completion(logprobs={"content": content}))
    conversations = [ask().messages, ask("How?").messages]
    told = engine.first_token_logprobs(conversations, None)
    assert told == [{"A": -0.1, "B": -2.5}] * 2
    asked = endpoint.asked[0]
    assert (asked["temperature"], asked["max_tokens"]) == (0, 1)
    assert (asked["logprobs"], asked["top_logprobs"]) == (True, 5)
    endpoint.reply = lambda body, n: refusal(404, "gone")
    line = failure(lambda: engine.first_token_logprobs(conversations, SERVED))
    assert "model base:tuned: no such model" in line


@pytest.mark.parametrize(
    "reply",
    [
        refusal(400, "unsupported"),
        refusal(403, "You are not allowed to request logprobs from this model"),
        (200, {}, completion()),
        (200, {}, completion(logprobs={"content": None})),
        (200, {}, completion(logprobs={"content": []})),
    ],
)
def test_first_token_logprobs_that_are_not_to_be_had(endpoint: FakeEndpoint, reply: Reply):
    engine = opened(endpoint)
    endpoint.reply = lambda body, n: reply
    assert engine.first_token_logprobs([ask().messages] * 3, None) is None


def test_an_answer_is_streamed_piece_by_piece(endpoint: FakeEndpoint):
    engine = opened(endpoint)
    endpoint.reply = lambda body, n: events("", "Two ", None, "words.")
    assert list(engine.stream(ask(adapter=SERVED))) == ["Two ", "words."]
    [body] = endpoint.asked
    assert (body["model"], body["stream"], body["max_tokens"]) == ("base:tuned", True, 12)
    abandoned = engine.stream(ask())
    assert next(abandoned) == "Two "
    abandoned.close()


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (events("Two ", finish=None), "broke off before its end"),
        ((200, {"Content-Type": "text/html"}, b"<html>"), "broke off before its end"),
        ((200, {}, b'data: {"error": {"message": "on fire"}}\n\n'), "on fire"),
        ((200, {}, b'data: {"choi\n\n'), "no chat completion"),
        (refusal(401, KEY), f"read from {VARIABLE}"),
    ],
)
def test_a_stream_that_fails(endpoint: FakeEndpoint, reply: Reply, problem: str):
    engine = opened(endpoint)
    endpoint.reply = lambda body, n: reply
    assert problem in failure(lambda: list(engine.stream(ask())))
