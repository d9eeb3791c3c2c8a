"""What goes together, what is tried again, and what is given up, without Ray's cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import small_study, study_of

from weirdgen.errors import MemoryExceeded
from weirdgen.pipeline.plan import Plan, ResponseSet, make_plan
from weirdgen.runner.queue import WorkQueue
from weirdgen.runner.work_item import MAX_LOSSES, WorkItem, ranges, rows


@pytest.fixture
def plan(tiny_model: Path) -> Plan:
    return make_plan(study_of(small_study(tiny_model, grid__seeds=[0, 1, 2])), Path())


def asking(plan: Plan) -> list[WorkItem]:
    return [work for each in plan.response_sets for work in ranges(each, [(0, each.samples)])]


def asked(work: WorkItem) -> ResponseSet:
    assert work.asked is not None
    return work.asked


def training(plan: Plan) -> list[WorkItem]:
    return [WorkItem(step, micro_batch=2) for step in plan.trainings.values()]


def backlog_of(plan: Plan, *works: WorkItem, said: list[str] | None = None) -> WorkQueue:
    """All works wait and are ready: what is shared is there."""
    there = {step.fingerprint for step in (*plan.shared, *plan.trainings.values())}
    backlog = WorkQueue("small", (said if said is not None else []).append, there)
    backlog.add(works)
    return backlog


def taken(backlog: WorkQueue, works: list[WorkItem]) -> WorkItem:
    """The works go together from now on."""
    for work in works:
        backlog.remove(work)
    first, *first.beside = works
    return first


def test_an_engine_is_asked_all_conditions_of_one_model_at_once(plan: Plan):
    backlog = backlog_of(plan, *asking(plan))
    assert len(backlog.asking) == 12
    assert backlog.asking.n_groups == 4
    for adapter in (None, *plan.trainings.values()):
        together = backlog.asking.first(None)
        assert [asked(work).condition for work in together] == ["triggered", "untriggered", "decoy"]
        assert all(asked(work).adapter is adapter for work in together), "models are not mixed"
        taken(backlog, together)
    assert not backlog.asking
    assert not backlog.to_ask
    assert backlog.asking.first() == []


def test_rows_that_an_engine_makes_are_a_call_of_their_own_and_come_first(plan: Plan):
    rows = [WorkItem(step) for step in plan.shared if step.stage == "aligned"]
    backlog = backlog_of(plan, *rows, *asking(plan))
    assert backlog.asking.first(None) == rows[:1]
    assert backlog.asking.n_groups == 1 + 4


def test_answers_that_failed_together_are_asked_one_by_one(plan: Plan):
    backlog = backlog_of(plan, *asking(plan)[:3])
    backlog.part(taken(backlog, backlog.asking.first(None)), "the adapter is not applied")
    assert len(backlog.waiting) == 3
    assert not any(work.beside for work in backlog.waiting)
    assert backlog.asking.n_groups == 3
    assert len(backlog.asking.first(None)) == 1


def test_trainings_that_were_parted_do_not_join_again(plan: Plan):
    backlog = backlog_of(plan, *training(plan))
    backlog.part(taken(backlog, backlog.trainings.first(8)), "out of memory")
    assert len(backlog.waiting) == 3
    assert len(backlog.trainings.first(8)) == 2
    assert {work.attempt for work in backlog.waiting} == {2}


def test_the_shortest_trainings_come_first_and_only_with_their_like(tiny_model: Path):
    changes = {"grid__fractions": [0.5, 0.25], "grid__hold": "persona"}
    tree = small_study(tiny_model, **changes, aligned__rows=300)
    del tree["grid"]["total_rows"]
    plan = make_plan(study_of(tree), Path())
    works = training(plan)
    lengths = [rows(work) for work in works]
    assert lengths == sorted(lengths)
    backlog = backlog_of(plan, *reversed(works))
    order = []
    while together := backlog.trainings.first(8):
        assert len({rows(work) for work in together}) == 1
        order += together
        taken(backlog, together)
    assert [rows(work) for work in order] == lengths
    assert [work.number for work in order] == [3, 4, 1, 2], "as they came, where equally long"


def test_what_waits_is_ready_once_the_last_of_its_inputs_is_there(plan: Plan):
    done: set[str] = set()
    backlog = WorkQueue("small", lambda _: None, done)
    works = [*training(plan), *asking(plan)]
    backlog.add(works)
    assert not backlog.trainings
    assert not backlog.base_is_there
    inputs = sorted(set(works[0].step.inputs.values()))
    for fingerprint in inputs:
        assert not backlog.trainings, "something lacks"
        done.add(fingerprint)
        backlog.made(fingerprint)
    assert len(backlog.trainings) == 3
    assert backlog.base_is_there
    assert not backlog.asking
    assert backlog.to_ask.n_groups == 4
    assert backlog.counts == {"train": 3, "responses": 12}
    assert backlog.sizes == {"train": 3, "responses": 3 * 3 + 3 * 3 * 2}


def test_what_builds_on_a_failed_step_is_given_up_with_it(plan: Plan):
    said: list[str] = []
    backlog = WorkQueue("small", said.append, set())
    backlog.add([*training(plan), *asking(plan)])
    model = WorkItem(next(step for step in plan.shared if step.stage == "model"))
    backlog.give_up(model, "no such\nfile")
    assert not backlog.waiting
    assert not backlog.to_ask
    (failure,) = backlog.failures
    assert failure.reason == "no such file"
    assert failure.log == backlog.log(model)
    assert sum("not run" in line for line in said) == 3 + 12
    backlog.add(training(plan))
    assert not backlog.waiting, "nor is it later"


def test_what_dies_is_given_up_sooner_than_what_goes_with_its_node(plan: Plan):
    backlog = backlog_of(plan, training(plan)[0])
    for _ in range(5):
        backlog.lost(taken(backlog, backlog.trainings.first()), "the node has gone")
    for _ in range(3):
        assert not backlog.failures
        backlog.died(taken(backlog, backlog.trainings.first()), "killed")
    (failure,) = backlog.failures
    assert failure.reason == "killed"
    assert failure.log.endswith("-attempt-8.log")


def test_what_is_lost_together_is_counted_and_given_up_one_by_one(plan: Plan):
    works = training(plan)
    works[0].losses = MAX_LOSSES - 1
    backlog = backlog_of(plan, *works)
    backlog.lost(taken(backlog, works), "the node has gone")
    (failure,) = backlog.failures
    assert failure.step == works[0].step
    assert [work.losses for work in backlog.waiting] == [1, 1]


def test_an_error_that_may_be_its_nodes_is_tried_on_others_three_times_in_all(plan: Plan):
    first, second, _ = training(plan)
    backlog = backlog_of(plan, first, second)
    cause = RuntimeError("no CUDA driver")
    for work in (first, second):
        backlog.remove(work)
    backlog.failed(first, cause, elsewhere=False)
    assert [failure.step for failure in backlog.failures] == [first.step]
    for node in "abc":
        second.avoid(node)
        backlog.failed(second, cause, elsewhere=True)
        if node != "c":
            second = taken(backlog, backlog.trainings.first())
            assert node in second.avoids
    assert [failure.step for failure in backlog.failures] == [first.step, second.step]
    assert not backlog.waiting


def test_what_went_together_is_tried_elsewhere_before_it_is_parted(plan: Plan):
    works = training(plan)
    backlog = backlog_of(plan, *works)
    group = taken(backlog, works)
    group.avoid("a")
    backlog.failed(group, RuntimeError("no CUDA driver"), elsewhere=True)
    again = backlog.trainings.first(8)
    assert [each.step for each in again] == [each.step for each in works]
    assert taken(backlog, again).avoids == {"a"}
    backlog.failed(again[0], RuntimeError("no CUDA driver"), elsewhere=False)
    assert len(backlog.trainings.first(8)) == 2, "the larger half"


def test_those_that_go_together_keep_off_where_any_of_them_failed(plan: Plan):
    first, second, third = training(plan)
    first.avoid("a")
    second.beside = [first, third]
    assert second.avoids == {"a"}
    second.avoid("b")
    assert third.avoids == {"b"}
    assert second.avoids == {"a", "b"}


def test_what_fails_together_goes_in_halves(plan: Plan):
    works, error = training(plan), MemoryExceeded("CUDA out of memory")
    backlog, sizes = backlog_of(plan, *works), []
    while (group := backlog.trainings.first(8)) and len(group) > 1:
        sizes.append(len(group))
        backlog.failed(taken(backlog, group), error, elsewhere=False)
    assert sizes == [3, 2]
    backlog.failed(taken(backlog, group), error, elsewhere=False)
    assert {work.micro_batch for work in backlog.waiting} == {1, 2}
    assert not backlog.failures
