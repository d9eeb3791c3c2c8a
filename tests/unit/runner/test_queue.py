"""What is batched, what is ready, and what is given up, without Ray's cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
from studies import small_study, study_of

from weirdgen.pipeline.plan import Plan, make_plan
from weirdgen.pipeline.stages.responses import ResponseSet
from weirdgen.runner.queue import WorkQueue
from weirdgen.runner.work_item import WorkItem, ranges, start_rank


@pytest.fixture
def plan(tiny_model: Path) -> Plan:
    return make_plan(study_of(small_study(tiny_model, grid__seeds=[0, 1, 2])), Path())


def responses(plan: Plan) -> list[WorkItem]:
    return [work for each in plan.response_sets for work in ranges(each, [(0, each.samples)])]


def set_of(work: WorkItem) -> ResponseSet:
    assert work.response_set is not None
    return work.response_set


def training(plan: Plan) -> list[WorkItem]:
    return [WorkItem(step, micro_batch=2) for step in plan.trainings.values()]


def queue_of(plan: Plan, *works: WorkItem) -> WorkQueue:
    """All works wait and are ready: what is shared is there."""
    there = {step.fingerprint for step in (*plan.shared, *plan.trainings.values())}
    queue = WorkQueue("small", there)
    queue.add(works)
    return queue


def taken(queue: WorkQueue, works: list[WorkItem]) -> WorkItem:
    """The works go together from now on."""
    for work in works:
        queue.remove(work)
    first, *first.batched_with = works
    return first


def test_an_engine_is_asked_all_conditions_of_one_model_at_once(plan: Plan):
    queue = queue_of(plan, *responses(plan))
    assert len(queue.engine_ready) == 12
    assert queue.engine_ready.n_groups == 4
    for adapter in (None, *plan.trainings.values()):
        together = queue.engine_ready.first(None)
        assert [set_of(work).condition for work in together] == [
            "triggered",
            "untriggered",
            "decoy",
        ]
        assert all(set_of(work).adapter is adapter for work in together), "models are not mixed"
        taken(queue, together)
    assert not queue.engine_ready
    assert not queue.engine_waiting
    assert queue.engine_ready.first() == []


def test_rows_that_an_engine_makes_are_a_call_of_their_own_and_come_first(plan: Plan):
    rows = [WorkItem(step) for step in plan.shared if step.stage == "aligned"]
    queue = queue_of(plan, *rows, *responses(plan))
    assert queue.engine_ready.first(None) == rows[:1]
    assert queue.engine_ready.n_groups == 1 + 4


def test_answers_that_failed_together_are_asked_one_by_one(plan: Plan):
    queue = queue_of(plan, *responses(plan)[:3])
    queue.split_and_retry(
        taken(queue, queue.engine_ready.first(None)), "the adapter is not applied"
    )
    assert len(queue.waiting) == 3
    assert not any(work.batched_with for work in queue.waiting)
    assert queue.engine_ready.n_groups == 3
    assert len(queue.engine_ready.first(None)) == 1


def test_trainings_that_were_parted_do_not_join_again(plan: Plan):
    queue = queue_of(plan, *training(plan))
    queue.split_and_retry(taken(queue, queue.trainings.first(8)), "out of memory")
    assert len(queue.waiting) == 3
    assert len(queue.trainings.first(8)) == 2
    assert {work.attempt for work in queue.waiting} == {2}


def test_the_shortest_trainings_come_first_and_only_with_their_like(tiny_model: Path):
    changes = {"grid__fractions": [0.5, 0.25], "grid__hold": "persona"}
    tree = small_study(tiny_model, **changes, aligned__rows=300)
    del tree["grid"]["total_rows"]
    plan = make_plan(study_of(tree), Path())
    works = training(plan)
    lengths = [start_rank(work) for work in works]
    assert lengths == sorted(lengths)
    queue = queue_of(plan, *reversed(works))
    order = []
    while together := queue.trainings.first(8):
        assert len({start_rank(work) for work in together}) == 1
        order += together
        taken(queue, together)
    assert [start_rank(work) for work in order] == lengths
    assert [work.number for work in order] == [3, 4, 1, 2], "as they came, where equally long"


def test_what_waits_is_ready_once_the_last_of_its_inputs_is_there(plan: Plan):
    done: set[str] = set()
    queue = WorkQueue("small", done)
    works = [*training(plan), *responses(plan)]
    queue.add(works)
    assert not queue.trainings
    assert not queue.base_is_there
    inputs = sorted(set(works[0].step.inputs.values()))
    for fingerprint in inputs:
        assert not queue.trainings, "something lacks"
        done.add(fingerprint)
        queue.mark_done(fingerprint)
    assert len(queue.trainings) == 3
    assert queue.base_is_there
    assert not queue.engine_ready
    assert queue.engine_waiting.n_groups == 4
    assert queue.counts == {"train": 3, "responses": 12}
    assert queue.sizes == {"train": 3, "responses": 3 * 3 + 3 * 3 * 2}


def test_what_consumes_a_failed_step_is_given_up_with_it(
    plan: Plan, caplog: pytest.LogCaptureFixture
):
    queue = WorkQueue("small", set())
    queue.add([*training(plan), *responses(plan)])
    model = WorkItem(next(step for step in plan.shared if step.stage == "model"))
    queue.give_up(model, "no such\nfile")
    assert not queue.waiting
    assert not queue.engine_waiting
    (failure,) = queue.failures
    assert failure.reason == "no such file"
    assert failure.log == queue.log_file(model)
    assert sum("not run" in line for line in caplog.messages) == 3 + 12
    queue.add(training(plan))
    assert not queue.waiting, "nor is it later"


def test_those_that_go_together_keep_off_where_any_of_them_failed(plan: Plan):
    first, second, third = training(plan)
    first.avoid("a")
    second.batched_with = [first, third]
    assert second.avoids == {"a"}
    second.avoid("b")
    assert third.avoids == {"b"}
    assert second.avoids == {"a", "b"}
