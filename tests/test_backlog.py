"""What goes together, what is tried again, and what is given up, without Ray's cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import small_study, study_of

from weirdgen.plan import Asked, Plan, make_plan
from weirdgen.runner.backlog import Backlog
from weirdgen.runner.work import Work, asked_together, calls, ranges, trained_together


@pytest.fixture
def plan(tiny_model: Path) -> Plan:
    return make_plan(study_of(small_study(tiny_model, grid__seeds=[0, 1, 2])), Path())


def asking(plan: Plan) -> list[Work]:
    return [work for each in plan.asked for work in ranges(each, [(0, each.samples)])]


def asked(work: Work) -> Asked:
    assert work.asked is not None
    return work.asked


def training(plan: Plan) -> list[Work]:
    return [Work(step, micro_batch=2) for step in plan.trainings.values()]


def test_an_engine_is_asked_all_conditions_of_one_model_at_once(plan: Plan):
    ready = asking(plan)
    first = asked_together(ready)
    assert [asked(work).condition for work in first] == ["triggered", "untriggered", "decoy"]
    assert {asked(work).adapter for work in first} == {None}, (
        "the baseline is not mixed with adapters"
    )
    assert [asked(work).adapter for work in calls(ready)] == [None, *plan.trainings.values()]
    shared = [Work(step) for step in plan.shared if step.stage == "aligned"]
    assert asked_together([*shared, *ready]) == shared[:1]
    assert calls([*shared, *ready])[: len(shared)] == shared


def test_answers_that_failed_together_are_asked_one_by_one(plan: Plan):
    backlog = Backlog("small", lambda _: None)
    first, *first.beside = asked_together(asking(plan))
    backlog.part(first, "the adapter is not applied")
    assert len(backlog.waiting) == 3
    assert not any(work.beside for work in backlog.waiting)
    assert len(calls(backlog.waiting)) == 3
    assert asked_together(backlog.waiting) == backlog.waiting[:1]


def test_trainings_that_were_parted_do_not_join_again(plan: Plan):
    backlog = Backlog("small", lambda _: None)
    first, *first.beside = trained_together(training(plan), 8)
    assert len(first.beside) == 2
    backlog.part(first, "out of memory")
    assert len(trained_together(backlog.waiting, 8)) == 2
    assert {work.attempt for work in backlog.waiting} == {2}


def test_what_builds_on_a_failed_step_is_given_up_with_it(plan: Plan):
    said: list[str] = []
    backlog = Backlog("small", said.append)
    backlog.waiting += training(plan)
    backlog.waiting += asking(plan)
    model = Work(next(step for step in plan.shared if step.stage == "model"))
    backlog.give_up(model, "no such\nfile")
    backlog.drop_blocked()
    assert not backlog.waiting
    (failure,) = backlog.failures
    assert failure.reason == "no such file"
    assert failure.log == backlog.log(model)
    assert sum("not run" in line for line in said) == 3 + 12
