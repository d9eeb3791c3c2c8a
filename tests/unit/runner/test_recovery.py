"""The failure policy carried out on a queue, without Ray's cluster."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from studies import small_study, study_of

from weirdgen.errors import MemoryExceeded, NodeDiskError, NodeError, StepError
from weirdgen.pipeline.plan import make_plan
from weirdgen.runner.engine_scaling import EngineScaler
from weirdgen.runner.failure_policy import MAX_LOSSES, Cause
from weirdgen.runner.queue import WorkQueue
from weirdgen.runner.recovery import Recovery
from weirdgen.runner.work_item import WorkItem


class Nodes:
    """Nodes `a` and `b`; `b` alone suffices."""

    def __init__(self) -> None:
        self.excluded: set[str] = set()

    def is_excluded(self, node: str) -> bool:
        return node in self.excluded

    def suffice_without(self, nodes: set[str]) -> bool:
        return "b" not in nodes

    def exclude(self, node: str, why: str) -> bool:
        if node == "a":
            self.excluded.add(node)
        return node == "a"


class Ground:
    """Three trainings, of which one was started, and what decides about them."""

    def __init__(self, model: Path) -> None:
        self.plan = make_plan(study_of(small_study(model, grid__seeds=[0, 1, 2])), Path())
        there = {step.fingerprint for step in self.plan.shared}
        self.nodes, self.queue = Nodes(), WorkQueue("small", there)
        self.work = self.trainings()[0]
        parts: Any = (SimpleNamespace(), self.nodes, SimpleNamespace())
        self.recovery = Recovery(*parts, self.queue)

    def trainings(self) -> list[WorkItem]:
        return [WorkItem(step, micro_batch=2) for step in self.plan.trainings.values()]

    def take(self, works: list[WorkItem]) -> WorkItem:
        """The items run together from now on."""
        for work in works:
            self.queue.remove(work)
        first, *first.batched_with = works
        return first

    def lose(self, work: WorkItem, cause: Cause, why: str, node: str = "") -> None:
        """What `on_death` does, without an error of Ray."""
        self.recovery._recover(work, cause, why, node)

    @property
    def again(self) -> WorkItem:
        (work,) = self.queue.waiting
        return work


@pytest.fixture
def ground(tiny_model: Path) -> Ground:
    return Ground(tiny_model)


def test_an_error_is_tried_elsewhere_and_one_of_the_step_itself_is_not(ground: Ground):
    ground.recovery.on_error(ground.work, RuntimeError("no CUDA driver"), "a")
    assert (ground.again.errors, ground.again.crashes, ground.again.avoids) == (1, 0, {"a"})
    ground.recovery.on_error(ground.again, StepError("a row was dropped"), "b")
    assert [failure.reason for failure in ground.queue.failures] == ["StepError: a row was dropped"]


def test_out_of_gpu_memory_halves_the_micro_batch_until_it_is_one(ground: Ground):
    full = MemoryExceeded("CUDA out of memory")
    ground.recovery.on_error(ground.work, full, "a")
    again = ground.again
    assert (again.step, again.attempt, again.micro_batch) == (ground.work.step, 2, 1)
    assert not again.avoids
    ground.queue.remove(again)
    ground.recovery.on_error(again, full, "a")
    assert not ground.queue.waiting
    assert "CUDA out of memory" in ground.queue.failures[0].reason


@pytest.mark.parametrize("node", ["b", ""])
def test_where_no_other_node_is_left_or_it_is_not_known_an_error_is_final(
    ground: Ground, node: str
):
    ground.recovery.on_error(ground.work, RuntimeError("no CUDA driver"), node)
    assert len(ground.queue.failures) == 1


def test_a_full_disk_costs_no_try_and_that_of_a_node_that_is_needed_ends_the_run(ground: Ground):
    ground.recovery.on_error(ground.work, NodeDiskError("full"), "a")
    assert ground.nodes.excluded == {"a"}
    assert (ground.again.errors, ground.again.crashes, ground.again.node_losses) == (0, 0, 1)
    work = ground.again
    ground.queue.remove(work)
    ground.recovery.on_error(work, RuntimeError("sent there before"), "a")
    assert (ground.again.errors, ground.again.crashes, ground.again.node_losses) == (0, 0, 2)
    with pytest.raises(NodeDiskError):
        ground.recovery.on_error(ground.again, NodeDiskError("full"), "b")


def test_what_a_node_does_not_see_may_be_seen_elsewhere(ground: Ground):
    ground.recovery.on_error(ground.work, NodeError("not in the storage as this node sees it"), "a")
    assert ground.again.avoids == {"a"}
    assert not ground.nodes.excluded


def test_engines_keep_off_where_none_opens_and_not_where_one_has_worked(ground: Ground):
    pool: Any = SimpleNamespace(engines=[], opening=0)
    pool.close, pool.log = pool.engines.remove, lambda _: "engine.log"
    scaler = EngineScaler(pool, ground.queue)
    store: Any = SimpleNamespace()
    recovery = Recovery(store, ground.nodes, scaler, ground.queue)  # type: ignore[arg-type]
    barred = []
    for starts, has_worked in ((True, False), (False, False), (False, True)):
        engine: Any = SimpleNamespace(has_worked=has_worked, number=1)
        pool.engines.append(engine)
        work = WorkItem(ground.work.step, engine=engine, is_engine_start=starts)
        scaler.worked_on("a")
        recovery.on_error(work, RuntimeError("broken"), "a")
        assert pool.engines == []
        barred.append(set(scaler.barred_nodes))
    assert barred == [{"a"}, set(), set()]
    engine.has_worked = False
    start = WorkItem(ground.work.step, engine=engine, is_engine_start=True)
    recovery._recover(start, Cause.CRASH, "killed", "b")
    assert scaler.barred_nodes == set(), "a first death may be chance"
    recovery._recover(start, Cause.CRASH, "killed", "b")
    assert scaler.barred_nodes == {"b"}


def test_the_second_death_on_a_node_is_not_taken_for_chance(ground: Ground):
    ground.lose(ground.work, Cause.CRASH, "killed", "a")
    assert (ground.again.crashes, ground.again.avoids) == (1, frozenset())
    work = ground.again
    ground.queue.remove(work)
    ground.lose(work, Cause.CRASH, "killed", "a")
    assert (ground.again.crashes, ground.again.avoids) == (2, {"a"})


def test_where_there_is_one_node_nothing_keeps_off_it(ground: Ground):
    ground.work.crashes = 1
    ground.lose(ground.work, Cause.CRASH, "killed", "b")
    assert (ground.again.crashes, ground.again.avoids) == (2, frozenset())


def test_what_dies_is_given_up_sooner_than_what_goes_with_its_node(ground: Ground):
    queue = ground.queue
    queue.add(ground.trainings()[:1])
    for _ in range(5):
        ground.lose(ground.take(queue.trainings.first()), Cause.NODE_LOSS, "the node has gone")
    for _ in range(3):
        assert not queue.failures
        ground.lose(ground.take(queue.trainings.first()), Cause.CRASH, "killed")
    (failure,) = queue.failures
    assert failure.reason == "killed"
    assert failure.log.endswith("-attempt-8.log")


def test_what_is_lost_together_is_counted_and_given_up_one_by_one(ground: Ground):
    works, queue = ground.trainings(), ground.queue
    works[0].node_losses = MAX_LOSSES - 1
    queue.add(works)
    ground.lose(ground.take(works), Cause.NODE_LOSS, "the node has gone")
    (failure,) = queue.failures
    assert failure.step == works[0].step.key
    assert [work.node_losses for work in queue.waiting] == [1, 1]


def test_an_error_that_may_be_its_nodes_is_tried_on_others_three_times_in_all(ground: Ground):
    first, second, _ = ground.trainings()
    queue, error = ground.queue, RuntimeError("no CUDA driver")
    ground.recovery.on_error(first, error, "")
    assert [failure.step for failure in queue.failures] == [first.step.key]
    for node in "acd":
        ground.recovery.on_error(second, error, node)
        if node != "d":
            second = ground.take(queue.trainings.first())
            assert node in second.avoids
    assert [failure.step for failure in queue.failures] == [first.step.key, second.step.key]
    assert not queue.waiting


def test_what_went_together_is_tried_elsewhere_before_it_is_split(ground: Ground):
    works, queue = ground.trainings(), ground.queue
    queue.add(works)
    group = ground.take(works)
    ground.recovery.on_error(group, RuntimeError("no CUDA driver"), "a")
    again = queue.trainings.first(8)
    assert [each.step for each in again] == [each.step for each in works]
    assert ground.take(again).avoids == {"a"}
    ground.recovery.on_error(again[0], RuntimeError("no CUDA driver"), "b")
    assert len(queue.trainings.first(8)) == 2, "the larger half"


def test_what_fails_together_goes_in_halves(ground: Ground):
    works, error = ground.trainings(), MemoryExceeded("CUDA out of memory")
    queue, sizes = ground.queue, []
    queue.add(works)
    while (group := queue.trainings.first(8)) and len(group) > 1:
        sizes.append(len(group))
        ground.recovery.on_error(ground.take(group), error, "a")
    assert sizes == [3, 2]
    ground.recovery.on_error(ground.take(group), error, "a")
    assert {work.micro_batch for work in queue.waiting} == {1, 2}
    assert not queue.failures


def test_a_batch_is_retried_whole_after_its_first_crash_and_split_after_the_second(ground: Ground):
    queue = ground.queue
    queue.add(ground.trainings())
    ground.lose(ground.take(queue.trainings.first(8)), Cause.CRASH, "killed")
    assert len(queue.trainings.first(8)) == 3
    ground.lose(ground.take(queue.trainings.first(8)), Cause.CRASH, "killed")
    assert len(queue.trainings.first(8)) == 2


def test_an_error_of_a_step_leaves_its_engine_free_for_the_next(ground: Ground):
    engine: Any = SimpleNamespace(busy=True)
    work = WorkItem(ground.work.step, engine=engine)
    ground.recovery.on_error(work, StepError("a row was dropped"), "a")
    assert not engine.busy
