"""Nodes on which nothing succeeds: the run does without them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty_engines import PickyEngine
from on_ray import IMPORTS, NODE, growing
from ray.cluster_utils import Cluster
from recording import Recorder
from s3_server import S3Server
from studies import small_study, study_of

from weirdgen.pipeline.plan import make_plan
from weirdgen.pipeline.state import scan
from weirdgen.runner.run import run_plan
from weirdgen.storage.artifacts import ArtifactStore

IN_TURNS = {"resources__gpus_per_training": 1, "resources__gpus_per_engine": 1}
ON_EACH = {"resources__gpus_per_training": 0.49, "resources__gpus_per_engine": 0.51}


@pytest.fixture
def cluster(s3: S3Server) -> Iterator[Cluster]:
    """A sound node, which sees the S3 server."""
    with growing() as made:
        yield made


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
        cluster,
        sick | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{IMPORTS}"},
        gpus,
        seeds,
        tiny_model,
        small_persona,
        uri,
    )
    again = [event for event in events if event.startswith("retry train/")]
    assert len(again) == 1
    assert all(event.endswith("RuntimeError: no CUDA driver") for event in again)


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
