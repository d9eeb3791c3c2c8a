"""Judge actors and drivers that are killed: nothing is lost, and only what was under way is asked again."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_endpoint import (
    faulty,
)
from judged_checks import MENDABLE, asked_after_a_verdict, assert_as_told
from judged_study import Bench
from on_ray import judged_ray
from studies import make_persona


@pytest.fixture(scope="module")
def one_ray() -> Iterator[None]:
    """Ended with this file: other files of this layer start clusters of several nodes."""
    with judged_ray():
        yield


@pytest.fixture
def bench(one_ray: None, tmp_path: Path) -> Iterator[Bench]:
    make_persona(tmp_path)
    with faulty(mix=MENDABLE, seed=1) as server:
        yield Bench(tmp_path, server)


def test_kills_of_actors_and_drivers_lose_nothing_and_repeat_only_what_was_under_way(
    bench: Bench, tmp_path: Path
):
    code, printed = bench.run()
    assert code == 0, printed
    assert (asked_after_a_verdict(bench.server), bench.ledger().lost) == (0, 0)

    (tmp_path / "broken").mkdir()
    make_persona(tmp_path / "broken")
    with faulty(mix=MENDABLE, seed=2, delay_s=0.02) as server:
        broken = Bench(tmp_path / "broken", server)
        for at in (150, 350):
            run = broken.start()
            run.when_judged(server, at, run.process.kill)
            code, printed = run.end()
            assert code == -signal.SIGKILL, printed
        run = broken.start()
        run.when_judged(server, len(server.judged) + 80, lambda: run.judge_actors()[0].kill())
        code, printed = run.end()
    assert code == 0, printed
    assert "a judge actor died" in printed
    total = broken.ledger()
    assert total.judgments == 2 * 2 * 3 * 3 * 20, "persona and kindness of every answer"
    # A verdict that comes later than the judge's time-out is asked for again.
    hung = sum(each.kind == "hang" for each in server.judged)
    late = max(0, total.retried["timeout"] - hung)
    assert asked_after_a_verdict(server) <= total.lost + late, (
        "the ledger knows what was paid twice"
    )
    assert 0 < total.lost <= 3 * 16
    assert_as_told(broken)
    assert broken.bytes() == bench.bytes(), "no file says where the endpoint is"
