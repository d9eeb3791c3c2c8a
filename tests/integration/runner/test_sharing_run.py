"""Trainings and an engine on one logical GPU of a real Ray."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import echo
import pytest
from conftest import small_study, study_of
from on_ray import ray_with
from recording import Recorder

import weirdgen.runner.run as runner
from weirdgen.errors import InputError
from weirdgen.pipeline.plan import Plan, make_plan
from weirdgen.pipeline.resources.gpus import Gpus
from weirdgen.pipeline.state import scan
from weirdgen.runner.cluster import cluster_gpus
from weirdgen.runner.run import RunResult, run_plan
from weirdgen.storage.artifacts import ArtifactStore

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def one_gpu() -> Iterator[None]:
    with ray_with(1, echo):
        yield


def plan_of(model: Path, persona: Path, **changes) -> Plan:
    auto = {"resources__gpus_per_training": "auto", "resources__gpus_per_engine": "auto"}
    return make_plan(study_of(small_study(model, persona, **(auto | changes))), Path())


def run(plan: Plan, store: ArtifactStore) -> tuple[Recorder, RunResult]:
    recorder = Recorder()
    state = scan(plan, store)
    return recorder, run_plan(plan, state, store, lambda: recorder, "s", echo.EchoEngine)


def test_where_memory_is_not_known_they_take_turns(
    one_gpu: None, tiny_model: Path, small_persona: Path, tmp_path: Path
):
    assert cluster_gpus(1).bytes is None, "a logical GPU"
    plan, store = plan_of(tiny_model, small_persona), ArtifactStore(str(tmp_path))
    recorder, ran = run(plan, store)
    assert not ran.failures
    assert ran.state.complete
    assert recorder.events[0] == "GPU memory: the GPU's is not known; nothing is checked"
    assert "opening engine 2" in recorder.events
    assert recorder.training_together <= 1
    kept = store.read("small/study.yaml") or b""
    assert b"gpus_per_training: auto" in kept, "as it was asked for"
    assert ran.state.plan is plan


def test_where_there_is_room_they_share_the_gpu(
    one_gpu: None,
    tiny_model: Path,
    small_persona: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(runner, "cluster_gpus", lambda count: Gpus(count, 80e9, "the smallest GPU"))
    plan = plan_of(tiny_model, small_persona, train__epochs=15)
    recorder, ran = run(plan, ArtifactStore(str(tmp_path)))
    assert not ran.failures
    assert ran.state.complete
    head, training, engine = recorder.events[:3]
    assert head == "GPU memory: the smallest GPU of 80.0 GB"
    assert training.endswith("; 0.1 of a GPU, 4 on one beside the engine")
    assert engine.endswith("; 0.55 of a GPU")
    assert "opening engine 2" not in recorder.events
    assert recorder.training_together == 2


def test_stacked_trainings_on_the_cpu_need_no_number(
    one_gpu: None, tiny_model: Path, small_persona: Path, tmp_path: Path
):
    changes = {
        "resources__gpus_per_training": 0,
        "resources__gpus_per_engine": 0,
        "train__trainer": "stacked",
    }
    recorder, ran = run(plan_of(tiny_model, small_persona, **changes), ArtifactStore(str(tmp_path)))
    assert not ran.failures
    assert not any("GPU" in event for event in recorder.events)
    together = {
        ran.state.done[s.fingerprint].notes["batched_steps"]
        for s in ran.state.plan.trainings.values()
    }
    assert together == {1}, "there are CPUs for each"


def test_what_cannot_fit_ends_before_anything_starts(
    one_gpu: None,
    tiny_model: Path,
    small_persona: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(runner, "cluster_gpus", lambda count: Gpus(count, 4e9, "the smallest GPU"))
    with pytest.raises(InputError, match="s: model: an engine needs 4.0 GB; the smallest GPU of"):
        run(plan_of(tiny_model, small_persona), ArtifactStore(str(tmp_path / "s")))
    assert not list((tmp_path / "s").rglob("*.*"))
