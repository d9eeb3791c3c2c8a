"""Asking a judge whose endpoint fails in every way: nothing is lost, repeated or overpaid."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from asking import (
    ask_all,
    asking,
    assert_secret,
    index_of,
    items_for,
    journal_lines,
    judge_at,
)
from fake_endpoint import KEY, VARIABLE
from faulty_endpoint import (
    CHECK,
    FATAL,
    LIMITED,
    MALFORMED,
    REFUSALS,
    TROUBLES,
    VERDICTS,
    faulty,
    verdict_on,
)

from weirdgen.config.judge import Price
from weirdgen.judging.client import MAX_ATTEMPTS, BatchResult, JudgeClient
from weirdgen.judging.client import MAX_RATE_LIMITED as MOST_LIMITED
from weirdgen.judging.judgment import JudgeItem, Judgment
from weirdgen.judging.judgment_store import JudgmentIndex, ledger
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.judging.queue import BUDGET, RequestQueue
from weirdgen.storage.artifacts import ArtifactStore


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "storage"))


def assert_as_served(record: str, kinds: list[str], about: tuple[str, str, str]) -> None:
    """The verdict is what the server's last replies say."""
    verdict = Judgment.of(record)
    if kinds[-1] in VERDICTS:
        said = verdict_on(*about)
        labels = {label.metric: label for label in verdict.labels}
        assert verdict.error is None
        assert (labels["persona"].label == "present") == said["persona_present"]
        assert labels["identity"].label == said["identity"]
        assert {label.confidence for label in verdict.labels} == {said["confidence"]}
    elif kinds[-1] in REFUSALS:
        assert verdict.error == "refusal"
    else:
        assert verdict.error == "malformed"
        assert kinds[-1] in MALFORMED
        assert sum(kind in MALFORMED for kind in kinds) >= 2, "one attempt at repair"
    assert bool(verdict.labels) == (verdict.error is None)


def test_every_answer_ends_as_it_was_served_and_none_is_asked_again(store: ArtifactStore):
    mix = dict.fromkeys(TROUBLES, 8) | {"hang": 1, "verdict": 45}
    mix |= dict.fromkeys((*VERDICTS[1:], *REFUSALS, *MALFORMED), 3) | dict.fromkeys(LIMITED, 0.5)
    with faulty(mix=mix, seed=3) as server:
        judge = judge_at(server.url, timeout_s=4.0)
        items = items_for(judge, 400)
        open_, rounds, told = items, 0, []
        while open_ and rounds < 4:
            outcome = ask_all(judge, store, open_)
            assert outcome.fatal is None
            assert [ended.key for ended in outcome.results] == [item.key for item in open_]
            index = index_of(judge, store)
            for ended in outcome.results:
                assert (ended.judgment is None) == (ended.reason is not None)
                assert (ended.judgment is None) == (index.get(ended.key) is None)
            open_ = [item for item in open_ if index.get(item.key) is None]
            assert rounds or open_, "some are tried too often, and left for another time"
            rounds, told = rounds + 1, [*told, outcome]
    assert not open_
    assert server.most_in_flight <= 16
    assert {each.authorization for each in server.served} == {f"Bearer {KEY}"}
    assert {each.kind for each in server.served} == set(mix)

    kinds: dict[tuple, list[str]] = {}
    for each in server.judged:
        kinds.setdefault(each.about, []).append(each.kind)
    for item in items:
        about = ("persona", item.question, item.response)
        record = index.get(item.key)
        assert record is not None
        assert_as_served(record, kinds[about], about)
        final = [kind in VERDICTS + REFUSALS for kind in kinds[about]]
        assert not any(final[:-1]), "asked again after a verdict"

    lines = journal_lines(store)
    # A slow moment may time a request out before the server sees it.
    unseen = len([line for line in lines if "sent" in line]) - len(server.served)
    assert (
        0
        <= unseen
        <= len([line for line in lines if line.get("reason") == "timeout"])
        - len([each for each in server.served if each.kind == "hang"])
    )
    assert len([line for line in lines if "judged" in line]) == len(items)
    total = ledger(store, [judge], "study")
    assert total.requests == len(server.served) + unseen
    assert total.judgments + total.failures.total() == len(items)
    assert total.failures.keys() == {"refusal", "malformed"}
    assert total.lost == 0
    whys = {ended.reason for outcome in told for ended in outcome.results} - {None}
    assert whys <= total.retried.keys() - {"malformed"}
    assert_secret(told, storage=Path(store.path("")))


@pytest.mark.parametrize("kind", [*LIMITED, "http_500", "cut_before"])
def test_what_never_comes_is_tried_so_often_and_left_open(kind: str, store: ArtifactStore):
    with faulty(always=kind) as server:
        judge = judge_at(server.url)
        outcome = ask_all(judge, store, items_for(judge, 2), parallel=2)
    tries = MOST_LIMITED if kind in LIMITED else MAX_ATTEMPTS
    assert set(server.asked.values()) == {tries}
    assert outcome.fatal is None
    assert all(ended.judgment is None for ended in outcome.results)
    [why] = {ended.reason for ended in outcome.results}
    assert why == {"http_500": "http_500", "cut_before": "connection"}.get(kind, "rate_limited")


@pytest.mark.parametrize("kind", FATAL)
def test_what_no_request_can_mend_stops_at_once_with_one_line(kind: str, store: ArtifactStore):
    with faulty(mix={"verdict": 1}, delay_s=0.02) as server:
        judge = judge_at(server.url)
        items = items_for(judge, 120)

        async def ask(client: JudgeClient) -> tuple[BatchResult, BatchResult, BatchResult]:
            task = asyncio.create_task(client.judge(judge, items))
            while len(server.served) < 60:
                await asyncio.sleep(0.001)
            server.always = kind
            outcome = await task
            asked = len(server.served)
            again = await client.judge(judge, items_for(judge, 130)[120:])
            assert len(server.served) == asked, "nobody is asked any more"
            return outcome, again, await client.probe(judge)

        outcome, again, checked = asyncio.run(asking(judge, store, ask, parallel=8))
    assert len([each for each in server.served if each.kind == kind]) <= 8, "those in flight"
    received = [ended for ended in outcome.results if ended.judgment is not None]
    assert len(received) == len([each for each in server.served if each.kind == "verdict"])
    line = outcome.fatal
    assert line is not None
    assert {ended.reason for ended in (*outcome.results, *again.results)} == {None, line}
    assert again.fatal == checked.fatal == line
    assert "\n" not in line
    assert f"endpoint {server.url[7:-3]}, model judge-m: " in line
    expected = {
        "no_quota": "the quota is used up (429): add credit, and run again",
        "no_credit": "the quota is used up (402): add credit, and run again",
        "bad_key": f"refused (401); the key is read from {VARIABLE}, which is set",
        "forbidden": f"refused (403); the key is read from {VARIABLE}, which is set",
        "not_found": "no such model, or no chat completions here (404): not_found, Bearer ***",
        "redirect": "redirects elsewhere (307): give the address itself",
        "retry_tomorrow": "asks to wait 86,400 s; run again then",
    }
    assert line.endswith(expected[kind])
    assert_secret(outcome, again, storage=Path(store.path("")))


@pytest.mark.parametrize("kind", FATAL)
def test_a_judge_that_cannot_be_asked_is_found_out_by_one_request(kind: str, store: ArtifactStore):
    with faulty(always=kind) as server:
        judge = judge_at(server.url)
        started = time.monotonic()
        outcome = asyncio.run(asking(judge, store, lambda client: client.probe(judge)))
        assert time.monotonic() - started < 5
    assert outcome.fatal is not None
    assert "\n" not in outcome.fatal
    assert [each.about[1] for each in server.served] == [CHECK]
    assert_secret(outcome, storage=Path(store.path("")))


def test_a_judge_that_answers_badly_may_still_be_asked(store: ArtifactStore):
    for kind in (*TROUBLES, LIMITED[1], *MALFORMED, *REFUSALS, *VERDICTS):
        with faulty(always=kind) as server:
            timeout_s = 0.2 if kind == "hang" else 10.0
            judge = judge_at(server.url, timeout_s=timeout_s, price=Price(input=100, output=200))
            outcome = asyncio.run(asking(judge, store, lambda client: client.probe(judge)))  # noqa: B023
        assert outcome.fatal is None
        assert server.spent(100, 200) <= outcome.results[0].dollars + 1e-9
        # A slow moment may time a request out before the server sees it.
        assert len(server.served) in (
            range(2, MAX_ATTEMPTS + 1) if kind in TROUBLES + LIMITED else [1]
        )


@pytest.mark.parametrize("kind", ["cut_before", "prose", "verdict", "verdict_without_usage"])
def test_a_budget_is_never_exceeded_whatever_the_endpoint_brings(kind: str, store: ArtifactStore):
    with faulty(always=kind) as server:
        judge = judge_at(
            server.url, price=Price(input=100, output=200), budget_usd=2.0, max_tokens=64
        )
        items = items_for(judge, 100)
        index = JudgmentIndex()
        queue = RequestQueue(index.get, {judge.settings: 0.0})
        queue.add(_Job(judge, items))

        async def ask(client: JudgeClient) -> None:
            while batch := queue.next_batch(16):
                outcome = await client.judge(batch.judge, batch.items)
                queue.complete(batch, outcome.results)

        asyncio.run(asking(judge, store, ask))
    assert queue.unjudged[BUDGET] > 0
    spent = ledger(store, [judge], "study").dollars
    assert queue.spent(judge.settings) == pytest.approx(spent)
    assert server.spent(100, 200) <= spent + 1e-9
    assert 1.0 < spent <= 2.0


class _Job:
    def __init__(self, judge: LlmJudge, items: list[JudgeItem]) -> None:
        self.judge, self._items = judge, items

    def items(self) -> list[JudgeItem]:
        return self._items

    def finish(self, judgment_of: object, why: object) -> None:
        pass
