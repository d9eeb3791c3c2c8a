"""Nodes on which nothing succeeds: the run does without them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import echo
import pytest
from conftest import small_study, study_of
from on_ray import NODE, growing
from ray.cluster_utils import Cluster
from s3_server import S3Server
from test_runner import Recorder

import weirdgen.runner.nodes as looking
from weirdgen.plan import make_plan
from weirdgen.run_record import read_record
from weirdgen.runner.cluster import Capacity
from weirdgen.runner.nodes import MAX_BLAMED, Nodes
from weirdgen.runner.place import Trouble
from weirdgen.runner.room import Room
from weirdgen.runner.run import run_plan
from weirdgen.store import Store
from weirdgen.survey import survey

ON_EACH = {"resources__gpus_per_training": 0.49, "resources__gpus_per_engine": 0.51}


@pytest.fixture
def cluster(s3: S3Server) -> Iterator[Cluster]:
    """A sound node, which sees the S3 server."""
    with growing(echo) as made:
        yield made


def run(cluster: Cluster, sick: dict[str, str], seeds: int, model: Path, persona: Path, uri: str):
    """A study, with a second node of that environment; what happened."""
    cluster.add_node(**NODE, env_vars=sick)
    tree = small_study(model, persona, **ON_EACH, grid__seeds=[*range(seeds)])
    plan, store, display = make_plan(study_of(tree), Path()), Store(uri), Recorder()
    ran = run_plan(plan, survey(plan, store), store, lambda: display, engine=echo.EchoEngine)
    assert not ran.failures, display.events
    assert ran.found.complete
    return display.events


@pytest.mark.slow
def test_what_fails_on_a_sick_node_is_made_elsewhere_and_the_node_set_aside(
    cluster: Cluster, tiny_model: Path, small_persona: Path, tmp_path: Path
):
    (tmp_path / "peft.py").write_text("raise RuntimeError('no CUDA driver')")
    sick = {"PYTHONPATH": str(tmp_path)}
    events = run(cluster, sick, 4, tiny_model, small_persona, str(tmp_path / "storage"))
    again = [event for event in events if event.startswith("again train/")]
    assert len(again) >= MAX_BLAMED
    assert all(event.endswith("RuntimeError: no CUDA driver") for event in again)
    (aside,) = (at for at, event in enumerate(events) if " set aside: " in event)
    assert events.index(again[-1]) < aside
    record = read_record("small", Store(str(tmp_path / "storage")))
    assert record is not None
    assert [*record.aside.values()] == ["what failed there, again and again, was made elsewhere"]


@pytest.mark.slow
def test_a_node_whose_disk_takes_nothing_is_set_aside_at_once(
    s3: S3Server, cluster: Cluster, tiny_model: Path, small_persona: Path, tmp_path: Path
):
    (tmp_path / "file").touch()
    sick = {"XDG_CACHE_HOME": str(tmp_path / "file")}
    events = run(cluster, sick, 1, tiny_model, small_persona, s3.uri("disk"))
    (aside,) = (event for event in events if " set aside: " in event)
    assert f"{tmp_path}/file/weirdgen cannot be written (Not a directory)" in aside
    assert not any(event.startswith("again") for event in events), (
        "an engine was opened there, no more"
    )


class Fleet:
    """Nodes `a`, `b` and `c` of one GPU each, without Ray; a node may be blind."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.alive = dict.fromkeys("abc", Capacity(2, 1))
        self.blind: set[str] = set()
        self.said: list[str] = []
        monkeypatch.setattr(looking, "LOOK_S", 0.0)
        monkeypatch.setattr(looking, "node_capacities", lambda: dict(self.alive))
        monkeypatch.setattr(
            looking, "node_names", lambda: {each: f"10.0.0.{each}" for each in "abcd"}
        )
        monkeypatch.setattr(looking, "blind_nodes", lambda _, among: [*self.blind & among])
        room = Room(Capacity(6, 3), Capacity(1, 1), engine_gpus=1)
        needs = [Capacity(1, 1), Capacity(0, 1)]
        self.nodes = Nodes(room, needs, Store(str(tmp_path)), self.said.append)


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fleet:
    return Fleet(monkeypatch, tmp_path)


def away(nodes: Nodes, *troubles: Trouble) -> str:
    """The nodes that are kept free of what had these."""
    return nodes.placing(troubles).get("label_selector", {}).get("ray.io/node-id", "")


def test_a_node_is_set_aside_for_failures_of_what_was_made_elsewhere(fleet: Fleet):
    nodes, first, second = fleet.nodes, Trouble("a"), Trouble("a")
    nodes.succeeded("b", [first])
    nodes.succeeded("c", [first])
    assert not nodes.is_aside("a"), "one failure, of two steps that were together"
    nodes.succeeded("a", [])
    nodes.succeeded("b", [second])
    assert not nodes.is_aside("a"), "it made something in between"
    nodes.succeeded("a", [first, second])
    assert not nodes.is_aside("a"), "in the end it was made there"
    nodes.succeeded("b", [first])
    nodes.succeeded("b", [second])
    assert nodes.is_aside("a")
    assert nodes.room.have == Capacity(4, 2)
    assert away(nodes) == "!in(a)"
    assert fleet.said == [
        "node 10.0.0.a set aside: what failed there, again and again, was made elsewhere"
    ]
    assert not nodes.look(), "a node that was set aside does not join"
    assert nodes.room.free_slots(trainings=0, engines=0) == 2, "nor is it waited for"


def test_the_last_nodes_that_suffice_are_kept(fleet: Fleet):
    nodes = fleet.nodes
    fleet.alive["c"] = Capacity(8, 0)
    assert nodes.look()
    assert nodes.set_aside("a", "its disk is full")
    assert nodes.set_aside("a", "its disk is full"), "again, for what had begun there before"
    assert not nodes.set_aside("b", "its disk is full")
    assert not nodes.set_aside("", "nobody knows where")
    assert nodes.aside == {"10.0.0.a": "its disk is full"}
    assert nodes.suffice_without("c")
    assert not nodes.suffice_without("b"), "the only GPU"


def test_work_is_kept_off_nodes_where_it_would_fail_again(fleet: Fleet):
    nodes = fleet.nodes
    assert away(nodes, Trouble("a")) == "", "a death may be chance"
    assert away(nodes, Trouble("a"), Trouble("b")) == ""
    assert away(nodes, Trouble("a"), Trouble("a")) == "!in(a)"
    assert away(nodes, Trouble("a", is_error=True), Trouble("b", is_error=True)) == "!in(a,b)"
    assert away(nodes, *(Trouble(each, is_error=True) for each in "abc")) == "", "no other is left"
    assert away(nodes, Trouble("gone", is_error=True)) == ""
    assert nodes.set_aside("b", "its disk is full")
    assert away(nodes, Trouble("a", is_error=True)) == "!in(a,b)"
    assert away(nodes, *(Trouble(each, is_error=True) for each in "ac")) == "!in(b)"


def test_a_node_that_joins_without_seeing_the_storage_is_set_aside(fleet: Fleet, tmp_path: Path):
    fleet.blind, fleet.alive["d"] = {"d"}, Capacity(2, 1)
    assert not fleet.nodes.look()
    told = f"--storage {tmp_path}: cannot read what this process writes; "
    told += "give a folder that all nodes share, s3:// or gs://"
    assert fleet.said == [f"node 10.0.0.d set aside: {told}"]
    assert fleet.nodes.room.have == Capacity(6, 3)
    fleet.blind = set()
    assert not fleet.nodes.look()
    assert away(fleet.nodes) == "!in(d)"
    del fleet.alive["d"]
    assert not fleet.nodes.look()
    assert away(fleet.nodes) == "", "there is nothing to keep off"
