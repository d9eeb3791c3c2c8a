"""Which nodes get work: those that failed are avoided, and some excluded, while others suffice."""

from __future__ import annotations

from pathlib import Path

import pytest

import weirdgen.runner.nodes as looking
from weirdgen.errors import WeirdgenError
from weirdgen.runner.capacity import ClusterCapacity
from weirdgen.runner.cluster import Capacity
from weirdgen.runner.nodes import Nodes
from weirdgen.storage.artifacts import ArtifactStore


class Fleet:
    """Nodes `a`, `b` and `c` of one GPU each, without Ray; a node may be blind."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.alive = dict.fromkeys("abc", Capacity(2, 1))
        self.blind: set[str] = set()
        monkeypatch.setattr(looking, "REFRESH_S", 0.0)
        monkeypatch.setattr(looking, "node_capacities", lambda: dict(self.alive))
        monkeypatch.setattr(
            looking, "node_names", lambda: {each: f"10.0.0.{each}" for each in "abcd"}
        )
        monkeypatch.setattr(looking, "blind_nodes", lambda _, among: [*self.blind & among])
        capacity = ClusterCapacity(Capacity(6, 3), Capacity(1, 1), engine_gpus=1)
        needs = [Capacity(1, 1), Capacity(0, 1)]
        self.nodes = Nodes(capacity, needs, ArtifactStore(str(tmp_path)))


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fleet:
    return Fleet(monkeypatch, tmp_path)


def away(nodes: Nodes, avoid: str = "") -> str:
    """The nodes that are kept free of what would fail on these."""
    return nodes.scheduling_options(avoid).get("label_selector", {}).get("ray.io/node-id", "")


def test_work_is_kept_off_nodes_where_it_would_fail_again_while_there_are_others(fleet: Fleet):
    nodes = fleet.nodes
    assert away(nodes) == ""
    assert away(nodes, "ab") == "!in(a,b)"
    assert away(nodes, "abc") == "", "no other is left"
    assert nodes.exclude("b", "its disk is full")
    assert away(nodes, "a") == "!in(a,b)"
    assert away(nodes, "ac") == "!in(b)"
    del fleet.alive["c"]
    assert away(nodes, "a") == "!in(b)", "whether or not that was seen yet"


def test_an_excluded_node_is_no_capacity_and_not_waited_for_but_a_lost_one_is(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
):
    nodes = fleet.nodes
    del fleet.alive["c"]
    assert nodes.refresh()
    assert nodes.capacity.free_slots(trainings=0, engines=0) == 3, "the lost node may come back"
    assert nodes.exclude("a", "its disk is full")
    assert nodes.exclude("a", "its disk is full"), "again, for what had begun there before"
    assert nodes.is_excluded("a")
    assert nodes.capacity.have == Capacity(2, 1)
    assert nodes.capacity.free_slots(trainings=0, engines=0) == 2
    assert not nodes.refresh(), "it does not join"
    assert caplog.messages[1:] == ["node 10.0.0.a excluded: its disk is full"]
    assert nodes.excluded == {"10.0.0.a": "its disk is full"}
    del fleet.alive["a"]
    assert not nodes.refresh()
    assert (nodes.excluded, away(nodes)) == ({}, "")
    del fleet.alive["b"]
    assert nodes.refresh()
    assert nodes.capacity.have == Capacity(0, 0)


def test_the_last_nodes_that_suffice_are_kept(fleet: Fleet):
    nodes = fleet.nodes
    fleet.alive["c"] = Capacity(8, 0)
    assert nodes.refresh()
    assert nodes.exclude("a", "its disk is full")
    assert not nodes.exclude("b", "its disk is full")
    assert not nodes.exclude("", "nobody knows where")
    assert nodes.exclude("d", "its disk is full"), "it is gone"
    assert nodes.excluded.keys() == {"10.0.0.a"}
    assert nodes.suffice_without("c")
    assert not nodes.suffice_without("b"), "the only GPU"


def test_a_node_is_excluded_before_it_was_looked_at(fleet: Fleet):
    fleet.alive["d"] = Capacity(2, 1)
    assert fleet.nodes.exclude("d", "its disk is full")
    assert fleet.nodes.capacity.have == Capacity(6, 3)
    assert not fleet.nodes.refresh()


def test_a_node_that_joins_without_seeing_the_storage_is_excluded(
    fleet: Fleet, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    fleet.blind, fleet.alive["d"] = {"d"}, Capacity(2, 1)
    assert not fleet.nodes.refresh()
    told = f"--storage {tmp_path}: cannot read what this process writes; "
    told += "give a folder that all nodes share, s3:// or gs://"
    assert caplog.messages == [f"node 10.0.0.d excluded: {told}"]
    assert fleet.nodes.capacity.have == Capacity(6, 3)
    assert away(fleet.nodes) == "!in(d)"


def test_one_that_is_needed_ends_the_run(fleet: Fleet):
    fleet.alive = {"c": Capacity(8, 0), "d": Capacity(2, 1)}
    fleet.blind = {"d"}
    with pytest.raises(WeirdgenError, match=r"10\.0\.0\.d: --storage .*: cannot read"):
        fleet.nodes.refresh()
