"""What a failure is taken for: the step's own, its node's, or the storage's."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import small_study, study_of

from weirdgen.errors import MemoryExceeded, NodeDiskError, NodeError, StepError
from weirdgen.pipeline.plan import make_plan
from weirdgen.runner.failures import FailurePolicy
from weirdgen.runner.queue import WorkQueue
from weirdgen.runner.work_item import WorkItem


class Nodes:
    """Nodes `a` and `b`; `b` alone suffices."""

    def __init__(self) -> None:
        self.aside: set[str] = set()

    def is_aside(self, node: str) -> bool:
        return node in self.aside

    def suffice_without(self, nodes: set[str]) -> bool:
        return "b" not in nodes

    def set_aside(self, node: str, why: str) -> bool:
        if node == "a":
            self.aside.add(node)
        return node == "a"


class Ground:
    """A training that was started, and what decides about it."""

    def __init__(self, model: Path) -> None:
        plan = make_plan(study_of(small_study(model)), Path())
        self.nodes, self.backlog = Nodes(), WorkQueue("small", lambda _: None, set())
        self.work = WorkItem(next(iter(plan.trainings.values())), micro_batch=2)
        parts: Any = (SimpleNamespace(), self.nodes, SimpleNamespace(), SimpleNamespace())
        self.endings = FailurePolicy(*parts, self.backlog)

    @property
    def again(self) -> WorkItem:
        (work,) = self.backlog.waiting
        return work


@pytest.fixture
def ground(tiny_model: Path) -> Ground:
    return Ground(tiny_model)


def test_an_error_is_tried_elsewhere_and_one_of_the_step_itself_is_not(ground: Ground):
    ground.endings.failed(ground.work, RuntimeError("no CUDA driver"), "a")
    assert (ground.again.errors, ground.again.deaths, ground.again.avoids) == (1, 0, {"a"})
    ground.endings.failed(ground.again, StepError("a row was dropped"), "b")
    assert [failure.reason for failure in ground.backlog.failures] == [
        "StepError: a row was dropped"
    ]


def test_out_of_gpu_memory_halves_the_micro_batch_until_it_is_one(ground: Ground):
    full = MemoryExceeded("CUDA out of memory")
    ground.endings.failed(ground.work, full, "a")
    again = ground.again
    assert (again.step, again.attempt, again.micro_batch) == (ground.work.step, 2, 1)
    assert not again.avoids
    ground.backlog.remove(again)
    ground.endings.failed(again, full, "a")
    assert not ground.backlog.waiting
    assert "CUDA out of memory" in ground.backlog.failures[0].reason


@pytest.mark.parametrize("node", ["b", ""])
def test_where_no_other_node_is_left_or_it_is_not_known_an_error_is_final(
    ground: Ground, node: str
):
    ground.endings.failed(ground.work, RuntimeError("no CUDA driver"), node)
    assert len(ground.backlog.failures) == 1


def test_a_full_disk_costs_no_try_and_that_of_a_node_that_is_needed_ends_the_run(ground: Ground):
    ground.endings.failed(ground.work, NodeDiskError("full"), "a")
    assert ground.nodes.aside == {"a"}
    assert (ground.again.errors, ground.again.deaths, ground.again.losses) == (0, 0, 1)
    work = ground.again
    ground.backlog.remove(work)
    ground.endings.failed(work, RuntimeError("sent there before"), "a")
    assert (ground.again.errors, ground.again.deaths, ground.again.losses) == (0, 0, 2)
    with pytest.raises(NodeDiskError):
        ground.endings.failed(ground.again, NodeDiskError("full"), "b")


def test_what_a_node_does_not_see_may_be_seen_elsewhere(ground: Ground):
    ground.endings.failed(ground.work, NodeError("not in the storage as this node sees it"), "a")
    assert ground.again.avoids == {"a"}
    assert not ground.nodes.aside


def test_engines_keep_off_where_none_opens_and_not_where_one_has_worked(ground: Ground):
    closed, told = [], []
    openings = SimpleNamespace(
        ended_on=lambda node, surely: told.append((node, surely)),
        died=lambda: None,
        failed=lambda *_, **__: None,
    )
    pool = SimpleNamespace(engines=[], close=closed.append)
    endings = FailurePolicy(SimpleNamespace(), ground.nodes, pool, openings, ground.backlog)  # type: ignore[arg-type]
    for opens, has_made in ((True, False), (False, False), (False, True)):
        engine: Any = SimpleNamespace(has_made=has_made)
        pool.engines.append(engine)
        work = WorkItem(ground.work.step, engine=engine, opens=opens)
        endings.failed(work, RuntimeError("broken"), "a")
        assert closed.pop() is engine
    engine.has_made = False
    endings.died(WorkItem(ground.work.step, engine=engine, opens=True), "killed", "b")
    assert told == [("a", True), ("a", False), ("b", False)]


def test_the_second_death_on_a_node_is_not_taken_for_chance(ground: Ground):
    ground.endings.died(ground.work, "killed", "a")
    assert (ground.again.deaths, ground.again.avoids) == (1, frozenset())
    work = ground.again
    ground.backlog.remove(work)
    ground.endings.died(work, "killed", "a")
    assert (ground.again.deaths, ground.again.avoids) == (2, {"a"})


def test_where_there_is_one_node_nothing_keeps_off_it(ground: Ground):
    ground.work.deaths = 1
    ground.endings.died(ground.work, "killed", "b")
    assert (ground.again.deaths, ground.again.avoids) == (2, frozenset())
