"""How trainings and engines share the logical GPUs of a real Ray."""

from __future__ import annotations

from pathlib import Path

import echo
import fake_trainer
import pytest
from recording import Recorder, with_one_gpu
from studies import small_study, study_of

import weirdgen.runner.run as runner
from weirdgen.errors import InputError
from weirdgen.pipeline.plan import Plan, make_plan
from weirdgen.pipeline.resources.gpus import Gpus
from weirdgen.pipeline.state import scan
from weirdgen.runner.cluster import cluster_gpus
from weirdgen.runner.run import RunResult, run_plan
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.timeline import read_timeline

pytestmark = pytest.mark.usefixtures("one_ray")


def plan_of(model: Path, persona: Path, **changes) -> Plan:
    auto = {"resources__gpus_per_training": "auto", "resources__gpus_per_engine": "auto"}
    return make_plan(study_of(small_study(model, persona, **(auto | changes))), Path())


def run(plan: Plan, store: ArtifactStore, trainer=fake_trainer.train) -> tuple[Recorder, RunResult]:
    recorder, found = Recorder(), scan(plan, store)
    ran = run_plan(plan, found, store, lambda: recorder, "s", echo.EchoEngine, trainer)
    return recorder, ran


def test_where_memory_is_not_known_they_take_turns(
    tiny_model: Path, small_persona: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with_one_gpu(monkeypatch)
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
    tiny_model: Path,
    small_persona: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    with_one_gpu(monkeypatch)
    monkeypatch.setattr(runner, "cluster_gpus", lambda count: Gpus(count, 80e9, "the smallest GPU"))
    plan, meeting = (
        plan_of(tiny_model, small_persona),
        fake_trainer.Meeting(tmp_path / "meeting", 2),
    )
    recorder, ran = run(plan, ArtifactStore(str(tmp_path / "store")), meeting)
    assert not ran.failures
    assert ran.state.complete
    head, training, engine = recorder.events[:3]
    assert head == "GPU memory: the smallest GPU of 80.0 GB"
    assert training.endswith("; 0.1 of a GPU, 4 on one beside the engine")
    assert engine.endswith("; 0.55 of a GPU")
    assert "opening engine 2" not in recorder.events
    assert recorder.training_together == 2


def test_stacked_trainings_on_the_cpu_need_no_number(
    tiny_model: Path, small_persona: Path, tmp_path: Path
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
    tiny_model: Path,
    small_persona: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    with_one_gpu(monkeypatch)
    monkeypatch.setattr(runner, "cluster_gpus", lambda count: Gpus(count, 4e9, "the smallest GPU"))
    with pytest.raises(InputError, match="s: model: an engine needs 4.0 GB; the smallest GPU of"):
        run(plan_of(tiny_model, small_persona), ArtifactStore(str(tmp_path / "s")))
    assert not list((tmp_path / "s").rglob("*.*"))


def test_engines_open_on_all_gpus_before_trainings_which_then_spread(
    tiny_model: Path, small_persona: Path, tmp_path: Path
):
    shares = {"resources__gpus_per_training": 0.49, "resources__gpus_per_engine": 0.51}
    store = ArtifactStore(str(tmp_path / "store"))
    assert not run(plan_of(tiny_model, small_persona, **shares, grid__seeds=[0]), store)[1].failures
    before = len(read_timeline("small", store))
    more = plan_of(tiny_model, small_persona, **shares, grid__seeds=[0, 1, 2])
    recorder, ran = run(more, store, fake_trainer.Meeting(tmp_path / "meeting", 2))
    assert not ran.failures
    events = recorder.events
    opened = [events.index(f"opening engine {number}") for number in (1, 2)]
    assert max(opened) < min(i for i, event in enumerate(events) if "started train" in event)
    spans = read_timeline("small", store)[before:]
    for kind in ("engine", "train"):
        assert {span.tid for span in spans if span.cat == kind} == {"GPU 0", "GPU 1"}, kind
