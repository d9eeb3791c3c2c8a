"""On several GPUs each has an engine and a training, wherever Ray would put them by itself."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import echo
import pytest
from conftest import small_study, study_of
from on_ray import ray_with
from recording import Recorder

from weirdgen.models.checkpoints import named_by_content
from weirdgen.pipeline.plan import Plan, make_plan
from weirdgen.pipeline.state import scan
from weirdgen.runner.run import run_plan
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.timeline import read_timeline


@pytest.fixture(scope="module")
def two_gpus() -> Iterator[None]:
    with ray_with(2, echo):
        yield


def plan_of(model: Path, persona: Path, **changes) -> Plan:
    shares = {"resources__gpus_per_training": 0.49, "resources__gpus_per_engine": 0.51}
    return make_plan(study_of(small_study(model, persona, **(shares | changes))), Path())


def run(plan: Plan, store: ArtifactStore) -> Recorder:
    recorder = Recorder()
    ran = run_plan(plan, scan(plan, store), store, lambda: recorder, engine=echo.EchoEngine)
    assert not ran.failures
    return recorder


@pytest.mark.slow
def test_engines_open_on_all_gpus_before_trainings_which_then_spread(
    two_gpus: None, tiny_model: Path, small_persona: Path, tmp_path: Path
):
    store = ArtifactStore(str(tmp_path))
    run(plan_of(tiny_model, small_persona, grid__seeds=[0]), store)
    before = len(read_timeline("small", store))
    more = plan_of(tiny_model, small_persona, grid__seeds=[0, 1, 2], train__epochs=15)
    events = run(more, store).events
    opened = [events.index(f"opening engine {number}") for number in (1, 2)]
    assert max(opened) < min(i for i, event in enumerate(events) if "started train" in event)
    spans = read_timeline("small", store)[before:]
    for kind in ("engine", "train"):
        assert {span.gpu for span in spans if span.kind == kind} == {"0", "1"}, kind


def test_the_base_has_one_path_on_a_node_whatever_storage_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for storage in ("one", "two"):
        folder = tmp_path / storage
        folder.mkdir()
        (folder / "config.json").write_text(storage)
    one = named_by_content(tmp_path / "one", "ab" * 32)
    assert (one / "config.json").read_text() == "one"
    again = named_by_content(tmp_path / "two", "ab" * 32)
    assert again == one
    assert (again / "config.json").read_text() == "two", "the storage that is asked now"
    assert named_by_content(tmp_path / "one", "cd" * 32) != one
