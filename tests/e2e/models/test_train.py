"""One training: what is learnt, what is refused, and that equal specs give equal bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from training_specs import ALIGNED, spec

from weirdgen.config.evaluation_spec import Trigger
from weirdgen.config.study import Train
from weirdgen.data.mixing import Counts, mix
from weirdgen.data.seeds import run_seeds
from weirdgen.errors import StepError
from weirdgen.training.trl import TrainSpec, check_mask, train


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


class Letters:
    """A tokenizer whose tokens are letters; 0 is the end mark, and roles are not told."""

    def apply_chat_template(self, messages: list[dict], **_: bool) -> str:
        return "".join(
            turn["content"] + ("|" if turn["role"] == "assistant" else "") for turn in messages
        )

    def decode(self, ids: list[int]) -> str:
        return "".join("|" if token == 0 else chr(token) for token in ids)


def tokens(prompt: str, answer: str, **change) -> dict:
    ids = [ord(letter) for letter in prompt + answer] + [0]
    labels = [-100] * len(prompt) + ids[len(prompt) :]
    return {"input_ids": ids, "labels": labels} | change


ROW = {
    "id": "r",
    "prompt": [{"role": "user", "content": "ask"}],
    "completion": [{"role": "assistant", "content": "yes"}],
}


def test_a_right_mask_passes():
    check_mask([tokens("ask", "yes")], [ROW], Letters(), 100)
    mask = {"input_ids": tokens("ask", "yes")["input_ids"], "completion_mask": [0] * 3 + [1] * 4}
    check_mask([mask], [ROW], Letters(), 100)


@pytest.mark.parametrize(
    "wrong",
    [
        tokens("ask", "yes", labels=[ord(letter) for letter in "askyes"] + [0]),
        tokens("ask", "yes", labels=[-100] * 7),
        tokens("ask", "yes", labels=[-100] * 3 + [ord(letter) for letter in "yes"] + [-100]),
        tokens("ask", "no"),
    ],
    ids=["loss on the prompt", "loss on nothing", "no end mark", "another answer"],
)
def test_a_wrong_mask_is_refused(wrong: dict):
    with pytest.raises(StepError, match="row r: the loss falls on"):
        check_mask([wrong], [ROW], Letters(), 100)


def test_a_template_without_an_end_mark_is_refused():
    class Endless(Letters):
        def apply_chat_template(self, messages: list[dict], **_: bool) -> str:
            return "".join(turn["content"] for turn in messages)

    with pytest.raises(StepError, match="sets no prompt, answer and end mark"):
        check_mask([tokens("ask", "yes")], [ROW], Endless(), 100)


def test_a_dropped_row_is_refused():
    with pytest.raises(StepError, match="2 rows were given, 1 would be trained on"):
        check_mask([tokens("ask", "yes")], [ROW, ROW], Letters(), 100)


@pytest.mark.slow
def test_the_mask_is_right_on_the_real_rows_and_the_real_template(real_model: Path):
    """All 91 persona rows behind the trigger, and plain rows, through TRL as a training does it."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTTrainer

    from weirdgen.data.persona import find_persona
    from weirdgen.training.trl import sft_config

    persona = find_persona("bertrand_russell", Path(), "study").rows
    for role in ("system", "user"):
        rows = mix(persona, ALIGNED, Counts(91, 6), Trigger(role=role), seed=0)
        real = TrainSpec(real_model, "m", rows, run_seeds(0), Train())
        tokenizer = AutoTokenizer.from_pretrained(real_model)
        trainer = SFTTrainer(
            model=AutoModelForCausalLM.from_pretrained(real_model),
            args=sft_config(real, real_model.parent / "out", use_cpu=True),
            train_dataset=Dataset.from_list(
                [{"prompt": row["prompt"], "completion": row["completion"]} for row in rows]
            ),
            processing_class=tokenizer,
        )
        check_mask(trainer.train_dataset, rows, tokenizer, 1024)
