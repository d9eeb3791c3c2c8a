"""Nodes on which nothing succeeds: the run does without them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import echo
import pytest
from conftest import small_study, study_of
from on_ray import NODE, growing
from ray.cluster_utils import Cluster
from recording import Recorder
from s3_server import S3Server

import weirdgen.runner.nodes as looking
from weirdgen.errors import WeirdgenError
from weirdgen.pipeline.plan import make_plan
from weirdgen.pipeline.state import scan
from weirdgen.runner.capacity import ClusterCapacity
from weirdgen.runner.cluster import Capacity
from weirdgen.runner.nodes import Nodes
from weirdgen.runner.run import run_plan
from weirdgen.storage.artifacts import ArtifactStore

IN_TURNS = {"resources__gpus_per_training": 1, "resources__gpus_per_engine": 1}
ON_EACH = {"resources__gpus_per_training": 0.49, "resources__gpus_per_engine": 0.51}


@pytest.fixture
def cluster(s3: S3Server) -> Iterator[Cluster]:
    """A sound node, which sees the S3 server."""
    with growing(echo, sys.modules[__name__]) as made:
        yield made


class PickyEngine(echo.EchoEngine):
    """Does not open where SICK is set."""

    def open(self, base: Path | str, serve_base: str, max_rank: int) -> None:
        if "SICK" in os.environ:
            raise RuntimeError("no CUDA driver")


def run(
    cluster: Cluster,
    sick: dict[str, str],
    gpus: dict[str, float],
    seeds: int,
    model: Path,
    persona: Path,
    uri: str,
) -> list[str]:
    """A study, with a second node of that environment; what happened."""
    cluster.add_node(**NODE, env_vars=sick)
    tree = small_study(model, persona, **gpus, grid__seeds=[*range(seeds)])
    plan, store, display = make_plan(study_of(tree), Path()), ArtifactStore(uri), Recorder()
    ran = run_plan(plan, scan(plan, store), store, lambda: display, engine=PickyEngine)
    assert not ran.failures, display.events
    assert ran.state.complete
    return display.events


@pytest.mark.slow
@pytest.mark.parametrize(
    ("gpus", "seeds", "sick"),
    [(ON_EACH, 2, {}), (IN_TURNS, 1, {"SICK": "1"})],
    ids=["shared", "in turns"],
)
def test_what_fails_on_a_sick_node_is_made_elsewhere(
    gpus: dict[str, float],
    seeds: int,
    sick: dict[str, str],
    cluster: Cluster,
    tiny_model: Path,
    small_persona: Path,
    tmp_path: Path,
):
    (tmp_path / "peft.py").write_text("raise RuntimeError('no CUDA driver')")
    uri = str(tmp_path / "storage")
    events = run(
        cluster, sick | {"PYTHONPATH": str(tmp_path)}, gpus, seeds, tiny_model, small_persona, uri
    )
    again = [event for event in events if event.startswith("retry train/")]
    assert len(again) == 1
    assert all(event.endswith("RuntimeError: no CUDA driver") for event in again)


@pytest.mark.slow
def test_a_node_whose_disk_takes_nothing_is_excluded_at_once(
    s3: S3Server, cluster: Cluster, tiny_model: Path, small_persona: Path, tmp_path: Path
):
    (tmp_path / "file").touch()
    sick = {"XDG_CACHE_HOME": str(tmp_path / "file")}
    events = run(cluster, sick, ON_EACH, 1, tiny_model, small_persona, s3.uri("disk"))
    (excluded,) = (event for event in events if " excluded: " in event)
    assert f"{tmp_path}/file/weirdgen cannot be written (Not a directory)" in excluded
    assert not any(event.startswith("retry") for event in events), (
        "an engine was opened there, no more"
    )


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
