"""Which engines are opened, and when no more are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from weirdgen.runner.engine_scaling import EngineScaler
from weirdgen.runner.failure_policy import MAX_ATTEMPTS, Cause
from weirdgen.runner.work_item import WorkItem


class Pool:
    """Engines on a GPU each, by name."""

    gpus_each = 1.0

    def __init__(self) -> None:
        self.engines: list[Any] = [SimpleNamespace(number=1, open=True)]

    @property
    def opening(self) -> int:
        return sum(not engine.open for engine in self.engines)

    def close(self, engine: Any) -> None:
        self.engines.remove(engine)

    def log(self, engine: Any) -> str:
        return f"engine-{engine.number}.log"


def engine_of(node: str) -> WorkItem:
    """What an engine on `node` was doing that has made nothing yet."""
    engine: Any = SimpleNamespace(has_worked=False, node=node)
    return WorkItem(None, engine=engine)  # type: ignore[arg-type]


def test_what_failed_beside_an_open_engine_is_tried_again_once_that_is_gone():
    pool = Pool()
    engine_ready: Any = SimpleNamespace(n_groups=3)
    counts = {"train": 0}
    queue: Any = SimpleNamespace(engine_ready=engine_ready, counts=counts, waiting=[])
    scaler = EngineScaler(pool, queue)  # type: ignore[arg-type]
    for number in range(MAX_ATTEMPTS):
        assert scaler.wanted(shares=False) == 3
        second = SimpleNamespace(number=2 + number, open=False, has_worked=False)
        pool.engines.append(second)
        start: Any = WorkItem(None, engine=second, is_engine_start=True)  # type: ignore[arg-type]
        scaler.ended(start, Cause.ENGINE_START, "")
        scaler.start_failed(start, "no memory")
        assert second not in pool.engines
    assert scaler.wanted(shares=False) == 0
    pool.engines.clear()
    assert scaler.wanted(shares=False) == 3


def test_engines_keep_off_a_node_where_one_failed_or_two_died_until_one_works_there():
    scaler = EngineScaler(Pool(), SimpleNamespace())  # type: ignore[arg-type]
    scaler.ended(engine_of("a"), Cause.ENGINE_START, "a")
    scaler.ended(engine_of("b"), Cause.CRASH, "b")
    assert scaler.barred_nodes == {"a"}
    scaler.ended(engine_of("b"), Cause.CRASH, "b")
    assert scaler.barred_nodes == {"a", "b"}
    scaler.worked_on("b")
    scaler.ended(engine_of("b"), Cause.CRASH, "b")
    assert scaler.barred_nodes == {"a"}
