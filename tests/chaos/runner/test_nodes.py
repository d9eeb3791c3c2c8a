"""A study on a cluster whose nodes come and go."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import echo
import fake_trainer
import pytest
from on_ray import NODE, growing
from ray.cluster_utils import Cluster
from recording import Recorder
from studies import small_study, study_of

from weirdgen.pipeline.plan import make_plan
from weirdgen.pipeline.state import scan
from weirdgen.runner.capacity import ClusterCapacity
from weirdgen.runner.cluster import Capacity
from weirdgen.runner.nodes import Nodes
from weirdgen.runner.run import run_plan
from weirdgen.runner.scheduler import Scheduler
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.timeline import read_timeline


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with growing() as made:
        yield made


class Tide(Recorder):
    """Has a node join once the first training runs, and takes it away while two do."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__()
        self._cluster = cluster
        self._node: object = None
        self.gone = False

    def update(self, scheduler: Scheduler) -> None:
        super().update(scheduler)
        if self._node is None and self.started("train"):
            self._node = self._cluster.add_node(**NODE)
        elif self.training_together == 2 and not self.gone:
            self.gone = True
            self._cluster.remove_node(self._node, allow_graceful=False)


def test_a_node_that_joins_is_used_and_one_that_is_lost_costs_its_work_alone(
    cluster: Cluster, tiny_model: Path, small_persona: Path, tmp_path: Path
):
    shares = {"resources__gpus_per_training": 0.49, "resources__gpus_per_engine": 0.51}
    grid = {"grid__seeds": [0, 1, 2, 3, 4, 5]}
    tree = small_study(tiny_model, small_persona, **shares, **grid)
    plan, store, tide = (
        make_plan(study_of(tree), Path()),
        ArtifactStore(str(tmp_path / "store")),
        Tide(cluster),
    )
    ran = run_plan(
        plan,
        scan(plan, store),
        store,
        lambda: tide,
        engine=echo.EchoEngine,
        trainer=fake_trainer.Meeting(tmp_path / "meeting", count=1, stay_s=6),
    )
    assert tide.gone, tide.events
    assert not ran.failures, tide.events
    assert ran.state.complete
    assert "nodes: 2, with 4 CPUs and 2 GPUs" in tide.events
    again = [event for event in tide.events if event.startswith("retry train/")]
    assert len(again) == 1, "what ran on the lost node"
    trained = [span for span in read_timeline("small", store) if span.cat == "train"]
    assert len(trained) == 6


def test_nodes_that_are_the_same_are_no_news(
    cluster: Cluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    monkeypatch.setattr("weirdgen.runner.nodes.REFRESH_S", 0.0)
    capacity = ClusterCapacity(Capacity(2, 1), Capacity(1, 1), engine_gpus=1)
    nodes = Nodes(capacity, [], ArtifactStore(str(tmp_path)))
    assert not nodes.refresh()
    joined = cluster.add_node(**NODE)
    assert nodes.refresh()
    assert nodes.capacity.have == (4, 2)
    assert not nodes.refresh()
    cluster.remove_node(joined, allow_graceful=False)
    while not nodes.refresh():
        time.sleep(0.1)
    assert nodes.capacity.have == (2, 1)
    assert caplog.messages == [
        "nodes: 2, with 4 CPUs and 2 GPUs",
        "nodes: 1, with 2 CPUs and 1 GPUs",
    ]
