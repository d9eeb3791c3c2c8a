"""One request to a judge, and what its endpoint makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import ask_all, assert_secret, items_for, judge_at
from fake_endpoint import KEY, VARIABLE, FakeEndpoint, completion, refusal, serving
from faulty_endpoint import faulty

from weirdgen.errors import StepError
from weirdgen.judging.client import JudgeClient
from weirdgen.judging.judgment import Judgment
from weirdgen.judging.judgment_store import ledger
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.models.chat_client import ADAPTED, RequestRefused, TransientError
from weirdgen.storage.artifacts import ArtifactStore


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "storage"))


@pytest.fixture
def endpoint() -> Iterator[FakeEndpoint]:
    with serving() as server:
        yield server


def unlimited(judge: LlmJudge) -> JudgeClient:
    """A client for single requests, which need neither permits nor journals."""
    unused: Any = None
    return JudgeClient(judge.settings, unused, unused, parallel=1, backoff_s=0)


def ask_once(judge: LlmJudge) -> Any:
    """What one request brings, or raises."""

    async def ask() -> Any:
        client = unlimited(judge)
        try:
            return await client.complete(judge, judge.messages("Why?", "Because."))
        finally:
            await client.close()

    return asyncio.run(ask())


@pytest.mark.parametrize("status", [429, 500, 503, 408, 409])
@pytest.mark.parametrize("header", [("Retry-After", "3"), ("retry-after-ms", "3000")])
def test_a_request_that_may_come_through_later_tells_when(
    status: int, header: tuple[str, str], endpoint: FakeEndpoint
):
    endpoint.reply = lambda body, n: refusal(status, KEY, dict([header]))
    with pytest.raises(TransientError) as raised:
        ask_once(judge_at(endpoint.url))
    assert raised.value.wait_s == 3
    assert raised.value.reason == ("rate_limited" if status == 429 else f"http_{status}")
    assert len(endpoint.asked) == 1, "the client's own retries are off"


@pytest.mark.parametrize("refused", [["response_format"], ["max_tokens"], ["max_tokens", "schema"]])
def test_an_endpoint_that_refuses_a_parameter_is_asked_as_it_likes(
    refused: list[str], endpoint: FakeEndpoint
):
    names = {"schema": "response_format"}

    def reply(body: dict, n: int):
        for name in refused:
            if names.get(name, name) in body:
                return refusal(400, f"Unsupported parameter: '{name}'")
        return 200, {}, completion("{}")

    endpoint.reply = reply
    judge = judge_at(endpoint.url)

    async def ask() -> list[dict]:
        client = unlimited(judge)
        for _ in refused:
            with pytest.raises(TransientError, match=ADAPTED):
                await client.complete(judge, judge.messages("Why?", "Because."))
        for _ in range(3):
            await client.complete(judge, judge.messages("Why?", "Because."))
        await client.close()
        return endpoint.asked

    asked = asyncio.run(ask())
    assert len(asked) == len(refused) + 3
    schema_taken = not {"response_format", "schema"} & {*refused}
    assert ("response_format" in asked[-1]) == schema_taken
    limit = "max_completion_tokens" if "max_tokens" in refused else "max_tokens"
    assert asked[-1][limit] == judge.settings.max_tokens
    assert {"max_tokens", "max_completion_tokens"} - {limit} - {*asked[-1]}


@pytest.mark.parametrize("kind", ["no_response_format", "no_max_tokens"])
def test_adapting_costs_no_answer_a_try(kind: str, store: ArtifactStore):
    with faulty(always=kind) as server:
        judge = judge_at(server.url)
        outcome = ask_all(judge, store, items_for(judge, 60), parallel=8)
    assert all(ended.judgment for ended in outcome.results)
    adapted = [each for each in server.served if each.kind == kind]
    assert len(adapted) <= 8, "those in flight when it was found out"
    assert ledger(store, [judge], "study").retried == {ADAPTED: len(adapted)}
    assert_secret(outcome, storage=Path(store.path("")))


@pytest.mark.parametrize(
    ("usage", "tokens", "dollars"),
    [
        (None, None, None),
        ({"prompt_tokens": 7, "completion_tokens": 3}, (7, 3), None),
        ({"prompt_tokens": 7, "completion_tokens": 3, "cost": 0.25}, (7, 3), 0.25),
        ({"prompt_tokens": 7, "completion_tokens": 3, "cost": 0}, (7, 3), 0.0),
        ({"prompt_tokens": 7, "completion_tokens": 3, "cost": -1}, (7, 3), None),
        ({"prompt_tokens": 7, "completion_tokens": 3, "cost": float("nan")}, (7, 3), None),
        ({"prompt_tokens": 7, "completion_tokens": 3, "cost": "much"}, (7, 3), None),
        ({"prompt_tokens": "7", "completion_tokens": None, "cost": 1}, None, None),
    ],
)
def test_tokens_and_cost_are_the_endpoints_own_where_it_tells(
    usage: dict | None, tokens: tuple | None, dollars: float | None, endpoint: FakeEndpoint
):
    endpoint.reply = lambda body, n: (200, {}, completion("{}") | {"usage": usage})
    reply = ask_once(judge_at(endpoint.url))
    assert (reply.tokens, reply.dollars) == (tokens, dollars)


def test_an_endpoint_that_tells_its_cost_needs_no_price(store: ArtifactStore):
    with faulty(mix={"verdict": 1}, tells_cost=True) as server:
        judge = judge_at(server.url, budget_usd=1.0)
        outcome = ask_all(judge, store, items_for(judge, 5))
    assert outcome.fatal is None
    told = sum(sum(each.usage) for each in server.served) / 1e6
    assert sum(ended.dollars for ended in outcome.results) == pytest.approx(told)
    assert ledger(store, [judge], "study").dollars == pytest.approx(told)


def test_a_budget_without_a_price_anywhere_stops(store: ArtifactStore):
    with faulty(mix={"verdict": 1}) as server:
        judge = judge_at(server.url, budget_usd=1.0)
        outcome = ask_all(judge, store, items_for(judge, 50), parallel=4)
    assert outcome.fatal is not None
    assert outcome.fatal.startswith("judge.price: is needed for a budget")
    received = [ended for ended in outcome.results if ended.judgment]
    assert len(received) == len(server.served) <= 4, "what came is kept"


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_is_refused_stands_as_a_failure(status: int, store: ArtifactStore):
    with serving() as server:
        server.reply = lambda body, n: refusal(status, f"too long, {KEY}")
        judge = judge_at(server.url)
        [ended] = ask_all(judge, store, items_for(judge, 1)).results
    assert ended.judgment is not None
    verdict = Judgment.of(ended.judgment)
    assert (verdict.error, verdict.detail) == ("refused_request", f"{status}: too long, ***")


def test_an_input_that_moderation_flags_stops_nobody_else(store: ArtifactStore):
    with serving() as server:
        server.reply = lambda body, n: refusal(
            403, "flagged", metadata={"reasons": ["violence"], "flagged_input": "Because"}
        )
        judge = judge_at(server.url)
        outcome = ask_all(judge, store, items_for(judge, 2))
    assert outcome.fatal is None
    assert [Judgment.of(str(ended.judgment)).error for ended in outcome.results] == [
        "refused_request"
    ] * 2


@pytest.mark.parametrize("status", [400, 401, 404, 200])
@pytest.mark.parametrize("before", range(270, 301, 7))
def test_a_key_is_not_even_told_in_part_where_a_line_is_cut(
    status: int, before: int, endpoint: FakeEndpoint
):
    message = f"{'.' * before} {KEY}"
    endpoint.reply = lambda body, n: (
        refusal(status, message)
        if status != 200
        else (200, {}, {"error": {"code": 403, "message": message}})
    )
    with pytest.raises((RequestRefused, StepError)) as raised:
        ask_once(judge_at(endpoint.url))
    assert "sk-" not in repr(raised.value)
