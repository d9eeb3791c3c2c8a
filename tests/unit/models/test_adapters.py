"""Adapters that exist: found, checked, and planned like the study's own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from adapter_files import SPOILED, make_adapter
from studies import small_study, study_of

from weirdgen.errors import InputError
from weirdgen.pipeline.plan import Plan, make_plan


def plan_of(model: Path, adapters: list, **changes) -> Plan:
    tree = small_study(model, adapters=[str(a) if isinstance(a, Path) else a for a in adapters])
    tree["grid"] = None
    for key, value in changes.items():
        tree["evaluate"][key] = value
    return make_plan(study_of(tree), Path(), "study.yaml")


def test_adapters_take_the_place_of_a_grid(tiny_model: Path, tmp_path: Path):
    one = make_adapter(tmp_path / "one")
    two = make_adapter(tmp_path / "two" / "adapter", rank=16)
    plan = plan_of(tiny_model, [one, {"path": str(two), "name": "two"}])
    assert not plan.trainings
    assert [step.stage for step in plan.shared] == ["model", "questions", "adapter", "adapter"]
    assert [step.name for step in plan.shared[2:]] == ["one", "two"]
    assert len(plan.response_sets) == 3 * (1 + 2), (
        "three conditions of the baseline and of each adapter"
    )
    assert plan.max_rank == 16
    draws = {asked.step.record["sampling_seed"] for asked in plan.response_sets}
    assert len(draws) == 3, "the baseline and each adapter draw apart"


def test_adapters_beside_a_grid_move_none_of_its_steps(tiny_model: Path, tmp_path: Path):
    alone = make_plan(study_of(small_study(tiny_model)), Path())
    listed = small_study(tiny_model, adapters=[str(make_adapter(tmp_path / "a", rank=32))])
    both = make_plan(study_of(listed), Path())
    assert both.by_fingerprint.keys() > alone.by_fingerprint.keys()
    assert both.max_rank == 32
    assert alone.max_rank == 8


def test_an_adapter_is_known_by_its_content(tiny_model: Path, tmp_path: Path):
    def steps(folder: Path) -> list[str]:
        plan = plan_of(tiny_model, [{"path": str(folder), "name": "x"}])
        return [asked.step.fingerprint for asked in plan.response_sets]

    here, there = make_adapter(tmp_path / "a"), make_adapter(tmp_path / "b")
    assert steps(here) == steps(there)
    assert steps(here) != steps(make_adapter(tmp_path / "c", rank=2))


def test_the_payload_is_what_peft_reads(tiny_model: Path, tmp_path: Path):
    plan = plan_of(tiny_model, [make_adapter(tmp_path / "a")])
    plan.inputs[plan.shared[-1].fingerprint](tmp_path)
    names = sorted(file.name for file in (tmp_path / "adapter").iterdir())
    assert names == ["adapter_config.json", "adapter_model.safetensors"]


def test_what_an_endpoint_serves_needs_no_file(tmp_path: Path):
    at = {"engine": "endpoint", "endpoint": {"base_url": "http://127.0.0.1:1/v1"}}
    plan = plan_of(Path("org/served:free"), ["lora-1"], **at)
    assert [step.stage for step in plan.shared] == ["questions", "adapter"]
    record = plan.response_sets[0].step.record
    assert record["engine"] == {"kind": "endpoint"}
    assert record["model"]["id"] == "org/served:free"
    assert "127.0.0.1" not in json.dumps(record), "where it is served decides no answer"
    plan.inputs[plan.shared[-1].fingerprint](tmp_path)
    assert (tmp_path / "served_as").read_text() == "lora-1"


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_adapter_is_one_line(name: str, tiny_model: Path, tmp_path: Path):
    spoil, expected = SPOILED[name]
    with pytest.raises(InputError) as error:
        plan_of(tiny_model, [spoil(tmp_path / "adapter")])
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("config", [{"use_dora": True}, {"bias": "all"}, {"rank": 1024}])
def test_transformers_serves_what_vllm_does_not(tiny_model: Path, tmp_path: Path, config: dict):
    adapter = make_adapter(tmp_path / "a", **config)
    plan_of(tiny_model, [adapter], engine="transformers")
    with pytest.raises(InputError, match="vllm"):
        plan_of(tiny_model, [adapter])


def test_an_adapter_that_no_hub_has(tiny_model: Path, monkeypatch: pytest.MonkeyPatch):
    import huggingface_hub

    def offline(*_, **__):
        raise RuntimeError("no network,\nin the words of some library")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(InputError, match="'org/none' is no local folder and the hub did not"):
        plan_of(tiny_model, ["org/none"])
