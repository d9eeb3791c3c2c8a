"""Which engines are opened, and when no more are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from weirdgen.runner.engine_scaling import EngineScaler
from weirdgen.runner.work_item import MAX_ATTEMPTS, WorkItem


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


def test_what_failed_beside_an_open_engine_is_tried_again_once_that_is_gone():
    pool = Pool()
    asking: Any = SimpleNamespace(n_groups=3)
    backlog: Any = SimpleNamespace(asking=asking, counts={"train": 0}, waiting=[])
    openings = EngineScaler(pool, backlog, lambda _: None)  # type: ignore[arg-type]
    for number in range(MAX_ATTEMPTS):
        assert openings.wanted(shares=False) == 3
        second = SimpleNamespace(number=2 + number, open=False)
        pool.engines.append(second)
        openings.failed(WorkItem(None, engine=second, opens=True), "no memory")  # type: ignore[arg-type]
    assert openings.wanted(shares=False) == 0
    pool.engines.clear()
    assert openings.wanted(shares=False) == 3


def test_engines_keep_off_a_node_where_one_failed_or_two_died_until_one_works_there():
    openings = EngineScaler(Pool(), SimpleNamespace(), lambda _: None)  # type: ignore[arg-type]
    openings.ended_on("a", surely=True)
    openings.ended_on("b", surely=False)
    assert openings.failed_on == {"a"}
    openings.ended_on("b", surely=False)
    assert openings.failed_on == {"a", "b"}
    openings.succeeded_on("b")
    openings.ended_on("b", surely=False)
    assert openings.failed_on == {"a"}
