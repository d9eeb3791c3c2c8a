"""One training: what is learnt, what is refused, and that equal specs give equal bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from training_specs import spec

from weirdgen.config.study import Train
from weirdgen.errors import StepError
from weirdgen.training.trl import train


def adapter(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "adapter").iterdir()}


@pytest.fixture(scope="module")
def trained(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    train(spec(tiny_model), out)
    return out


def test_an_nf4_training_writes_a_peft_adapter_its_rows_and_its_loss(trained: Path):
    assert {path.name for path in trained.iterdir()} == {"adapter", "loss.jsonl", "rows.jsonl"}
    config = json.loads((trained / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "a/model", "no path of this machine"
    assert (config["r"], config["lora_alpha"]) == (8, 16)
    layers = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert {name.rpartition(".")[2] for name in config["target_modules"]} == set(layers)
    assert config["target_modules"] == sorted(config["target_modules"])
    losses = [json.loads(line) for line in (trained / "loss.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in losses] == [1, 2]
    assert all(entry["loss"] > 0 for entry in losses)
    assert len((trained / "rows.jsonl").read_text().splitlines()) == 8


def test_the_adapter_moved_from_its_start(trained: Path):
    from safetensors.torch import load_file

    weights = load_file(trained / "adapter" / "adapter_model.safetensors")
    ups = [weight for name, weight in weights.items() if "lora_B" in name]
    assert ups
    assert all(weight.abs().max() > 0 for weight in ups), "lora_B begins at zero"


def test_the_base_is_really_quantized_to_nf4(tiny_model: Path):
    from bitsandbytes.nn import Linear4bit

    from weirdgen.training.trl import load_base

    base = load_base(tiny_model, Train(compute_dtype="float32"))
    quantized = [module for module in base.modules() if isinstance(module, Linear4bit)]
    assert len(quantized) == 14, "seven linear layers in each of two blocks"
    states = [module.weight.quant_state for module in quantized]
    assert all(state is not None and state.quant_type == "nf4" and state.nested for state in states)


def test_the_same_spec_gives_the_same_bytes_and_another_seed_does_not(
    trained: Path, tiny_model: Path, tmp_path: Path
):
    train(spec(tiny_model), tmp_path / "again")
    train(spec(tiny_model, seed=1), tmp_path / "other")
    assert adapter(tmp_path / "again") == adapter(trained)
    assert adapter(tmp_path / "other") != adapter(trained)


def test_a_row_too_long_fails_the_training_rather_than_being_cut(tiny_model: Path, tmp_path: Path):
    with pytest.raises(StepError, match=r"row \w+: \d+ tokens reach max_length"):
        train(spec(tiny_model, max_length=90), tmp_path)


def test_progress_is_told_after_every_update(tiny_model: Path, tmp_path: Path):
    told = []
    train(spec(tiny_model), tmp_path, lambda done, total: told.append((done, total)))
    assert told == [(1, 2), (2, 2)]
