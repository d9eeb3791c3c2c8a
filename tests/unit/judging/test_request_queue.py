"""The queue: every item gets one end, is asked for once, and never beyond the budget."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from asking import items_for, judge_at
from judge_jobs import Job, taken

from weirdgen.config.judge import Price
from weirdgen.judging.judgment import PROBE_ITEM, ItemResult, JudgeItem
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.judging.queue import BUDGET, Batch, RequestQueue
from weirdgen.judging.rubric import metric_rubric

URL = "http://127.0.0.1:9/v1"
JUDGE = judge_at(URL)
OTHER = LlmJudge(JUDGE.settings, metric_rubric("kindness", "Kind?", {"yes": 1.0, "no": 0.0}))


class Endpoint:
    """Takes batches from a queue and settles them later, in any order, at random prices."""

    def __init__(self, seed: int, **settings: Any) -> None:
        self.random = random.Random(seed)
        self.judge = judge_at(URL, **settings)
        self.verdicts: dict[str, str] = {}
        self.asked: Counter[str] = Counter()
        self.under_way: list[Batch] = []
        self.billed = 0.0
        self.queue = self.opened(0.0)

    def opened(self, spent: float) -> RequestQueue:
        self.queue = RequestQueue(self.verdicts.get, {self.judge.settings: spent})
        return self.queue

    def price(self, batch: Batch, item: JudgeItem) -> float:
        """Up to what the queue set aside for it."""
        return self.random.random() * batch.reserved / len(batch.items)

    def end(self, batch: Batch, item: JudgeItem) -> ItemResult:
        dollars = self.price(batch, item)
        self.billed += dollars
        self.asked[item.key] += 1
        if self.random.random() < 0.1:
            return ItemResult(item.key, None, "timeout", dollars)
        self.verdicts[item.key] = f"verdict on {item.response}"
        return ItemResult(item.key, self.verdicts[item.key], None, dollars)

    def settle_one(self) -> None:
        batch = self.under_way.pop(self.random.randrange(len(self.under_way)))
        self.queue.complete(batch, [self.end(batch, item) for item in batch.items])

    def work(self, most: int = 8, turns: int = 10_000) -> None:
        """Until nothing is left to do."""
        for _ in range(turns):
            if not self.queue.busy:
                return
            batch = self.queue.next_batch(most) if len(self.under_way) < 4 else None
            if batch is not None:
                assert 0 < len(batch.items) <= most
                self.under_way.append(batch)
            elif self.under_way:
                self.settle_one()
            elif self.queue.busy:
                assert self.queue.next_batch(most) is not None, (
                    "nothing under way, and nothing to do"
                )
        pytest.fail("it never ends")


@pytest.mark.parametrize("seed", range(5))
def test_every_item_of_every_job_has_one_end_and_is_asked_once(seed: int):
    endpoint = Endpoint(seed)
    items = items_for(endpoint.judge, 120)
    rng = random.Random(seed)
    jobs = [Job(endpoint.judge, rng.choices(items, k=rng.randint(0, 30))) for _ in range(30)]
    for job in jobs:
        endpoint.queue.add(job)
        if rng.random() < 0.5 and (batch := endpoint.queue.next_batch(8)):
            endpoint.under_way.append(batch)
    endpoint.work()
    for job in jobs:
        assert job.made == len(job.ends) == 1
        assert all(end is not None for end in job.ends[0].values())
        for item in job._items:
            if item.key in endpoint.verdicts:
                assert job.ends[0][item.key] in (endpoint.verdicts[item.key], "timeout")
    wanted = {item.key for job in jobs for item in job._items}
    assert endpoint.asked.keys() == wanted
    # Who came later asks again about what brought nothing, and about nothing else.
    again = sum(endpoint.asked.values()) - len(wanted)
    assert endpoint.queue.unjudged == {"timeout": again + len(wanted - endpoint.verdicts.keys())}


def test_an_item_that_several_jobs_want_is_asked_once_and_ends_all_of_them():
    verdicts: dict[str, str] = {}
    queue = RequestQueue(verdicts.get, {JUDGE.settings: 0.0})
    one, two, three = items_for(JUDGE, 3)
    first, second, third = Job(JUDGE, [one, two]), Job(JUDGE, [two, one]), Job(JUDGE, [two, three])
    for job in (first, second, third):
        queue.add(job)
    assert queue.pending_jobs == 3
    batches = [taken(queue, 1) for _ in range(3)]
    assert [batch.items for batch in batches] == [[one], [two], [three]]
    assert (queue.next_batch(1), queue.busy, queue.pending_jobs) == (None, True, 0)
    verdicts[one.key] = "1"
    queue.complete(batches[0], [ItemResult(one.key, "1", None, 0.0)])
    assert not first.ends
    queue.complete(batches[1], [ItemResult(two.key, None, "timeout", 0.0)])
    assert first.ends == second.ends == [{one.key: "1", two.key: "timeout"}]
    assert not third.ends
    late = Job(JUDGE, [three])
    queue.add(late)
    assert queue.next_batch(10) is None, "it is under way"
    verdicts[three.key] = "3"
    queue.complete(batches[2], [ItemResult(three.key, "3", None, 0.0)])
    assert late.ends == [{three.key: "3"}]
    assert third.ends == [{two.key: "timeout", three.key: "3"}]
    assert not queue.busy
    known = Job(JUDGE, [one, three])
    queue.add(known)
    assert queue.next_batch(10) is None
    assert known.ends == [{one.key: "1", three.key: "3"}]
    assert queue.unjudged == {"timeout": 1}


def test_items_are_made_when_it_is_their_turn_and_batches_hold_one_judge():
    queue = RequestQueue({}.get, {JUDGE.settings: 0.0})
    jobs = [Job(judge, items_for(judge, 5)) for judge in (JUDGE, OTHER) * 3]
    for job in jobs:
        queue.add(job)
    taken: Counter[LlmJudge] = Counter()
    batch = queue.next_batch(4)
    assert sum(job.made for job in jobs) == 1
    while batch is not None:
        assert len({item.key for item in batch.items}) == len(batch.items) <= 4
        assert all(item.key == batch.judge.key(*item[1:]) for item in batch.items)
        taken[batch.judge] += len(batch.items)
        batch = queue.next_batch(4)
    assert taken == {JUDGE: 5, OTHER: 5}, "equal items of equal judges are asked once"


PRICED = {"price": Price(input=100, output=200), "max_tokens": 64}


@pytest.mark.parametrize("settings", [PRICED, {}], ids=["priced", "as the endpoint tells"])
@pytest.mark.parametrize("seed", range(6))
def test_the_budget_is_never_exceeded_and_a_higher_one_goes_on(seed: int, settings: dict):
    endpoint = Endpoint(seed, budget_usd=3.0, **settings)
    if not settings:  # nobody knows before; then no item costs more than twice the dearest so far
        endpoint.price = lambda batch, item: endpoint.random.uniform(0.01, 0.02)
    items = items_for(endpoint.judge, 600)
    jobs = [Job(endpoint.judge, items[at : at + 50]) for at in range(0, 600, 50)]
    for job in jobs:
        endpoint.queue.add(job)
    endpoint.work()
    ends = Counter(end for job in jobs for end in job.ends[0].values())
    assert ends[BUDGET] == endpoint.queue.unjudged[BUDGET] == 600 - len(endpoint.asked) > 0
    spent = endpoint.queue.spent(endpoint.judge.settings)
    assert spent == pytest.approx(endpoint.billed)
    assert 2.5 < spent <= 3.0

    endpoint.judge = judge_at(URL, budget_usd=1000.0, **settings)
    endpoint.opened(spent)
    again = [Job(endpoint.judge, job._items) for job in jobs]
    for job in again:
        endpoint.queue.add(job)
    before = dict(endpoint.verdicts)
    endpoint.work()
    assert BUDGET not in endpoint.queue.unjudged
    assert endpoint.asked.keys() == {item.key for item in items}
    assert all(endpoint.asked[key] == 1 for key in before)
    assert endpoint.queue.spent(endpoint.judge.settings) == pytest.approx(endpoint.billed)


def test_what_is_spent_already_counts_and_each_judge_has_a_budget_of_its_own():
    poor = judge_at(URL, budget_usd=1.0, **PRICED)
    rich = judge_at(URL, budget_usd=2.0, revision="another", **PRICED)
    queue = RequestQueue({}.get, {poor.settings: 1.0, rich.settings: 1.0})
    jobs = [Job(judge, items_for(judge, 3)) for judge in (poor, rich)]
    assert queue.probe(poor) is None
    check = queue.probe(rich)
    assert check is not None
    assert check.items == [PROBE_ITEM]
    queue.complete(check, [], 0.25)
    assert queue.spent(rich.settings) == 1.25
    for job in jobs:
        queue.add(job)
    assert taken(queue, 8).judge.settings == rich.settings
    assert jobs[0].ends == [dict.fromkeys((item.key for item in jobs[0]._items), BUDGET)]
    assert not jobs[1].ends


@pytest.mark.parametrize("seed", range(20))
def test_a_budget_ends_when_nothing_is_under_way_however_sums_are_rounded(seed: int):
    judge = judge_at(URL, budget_usd=1.2, **PRICED)
    queue, rng = RequestQueue({}.get, {judge.settings: 0.0}), random.Random(seed)
    answers = ["a" * n for n in rng.sample(range(1, 4000), 100)]
    queue.add(Job(judge, [JudgeItem(judge.key("?", answer), "?", answer) for answer in answers]))
    under_way: list[Batch] = []
    while (batch := queue.next_batch(rng.randint(1, 5))) or under_way:
        if batch is None:
            batch = under_way.pop(rng.randrange(len(under_way)))
            queue.complete(
                batch, [ItemResult(item.key, None, "timeout", 0.02) for item in batch.items]
            )
        else:
            under_way.append(batch)
    assert not queue.busy
    assert BUDGET in queue.unjudged


def test_until_the_endpoint_has_told_a_price_few_are_asked_at_a_time():
    endpoint = Endpoint(0, budget_usd=100.0)
    endpoint.price = lambda batch, item: 0.5
    endpoint.queue.add(Job(endpoint.judge, items_for(endpoint.judge, 300)))
    batch = taken(endpoint.queue, 100)
    assert len(batch.items) == 8
    assert endpoint.queue.next_batch(100) is None, "the price is not known yet"
    endpoint.under_way.append(batch)
    endpoint.settle_one()
    batch = taken(endpoint.queue, 100)
    assert (len(batch.items), batch.reserved) == (96, pytest.approx(96.0))


def test_what_did_not_end_comes_first_again_and_what_it_cost_is_kept():
    judge = judge_at(URL, budget_usd=50.0, **PRICED)
    queue = RequestQueue({}.get, {judge.settings: 0.0})
    items = items_for(judge, 10)
    job = Job(judge, items)
    queue.add(job)
    batch = taken(queue, 4)
    queue.complete(batch, [ItemResult(items[0].key, None, "timeout", 0.5)], lost=1.5)
    queue.requeue(judge, items[1:4])
    assert queue.spent(judge.settings) == 2.0
    batch = taken(queue, 5)
    assert Counter(batch.items) == Counter(items[1:6])
    queue.complete(batch, [ItemResult(item.key, None, "timeout", 0.0) for item in batch.items])
    batch = taken(queue, 9)
    queue.complete(batch, [ItemResult(item.key, None, "timeout", 0.0) for item in batch.items])
    assert not queue.busy
    assert job.ends == [dict.fromkeys((item.key for item in items), "timeout")]
    assert queue.unjudged == {"timeout": 10}


def test_what_was_not_asked_before_a_stop_never_is():
    verdicts: dict[str, str] = {}
    queue = RequestQueue(verdicts.get, {JUDGE.settings: 0.0})
    items = items_for(JUDGE, 12)
    jobs = [Job(JUDGE, items[:6]), Job(JUDGE, items[6:]), Job(JUDGE, [])]
    for job in jobs:
        queue.add(job)
    batch = taken(queue, 4)
    queue.stop("no credit")
    queue.stop("something else")
    assert queue.next_batch(4) is None
    assert queue.busy, "four are under way"
    assert jobs[1].ends == [dict.fromkeys((item.key for item in items[6:]), "no credit")]
    assert jobs[2].ends == [{}]
    verdicts[items[0].key] = "heard"
    queue.requeue(JUDGE, items[1:3])
    queue.complete(
        batch,
        [
            ItemResult(items[0].key, "heard", None, 0.0),
            ItemResult(items[3].key, None, "no credit", 0.0),
        ],
    )
    assert queue.next_batch(4) is None
    assert not queue.busy
    why = dict.fromkeys((item.key for item in items[:6]), "no credit")
    assert jobs[0].ends == [why | {items[0].key: "heard"}]
    assert queue.unjudged == {"no credit": 11}
