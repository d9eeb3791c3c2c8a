"""Trainings side by side: each learns what it would have learnt alone, and what TRL teaches it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_specs import spec
from transformers import AutoTokenizer

from weirdgen.errors import StepError
from weirdgen.training.stacked.layers import packed_attention, weighted_loss
from weirdgen.training.stacked.packing import Row, pack, sizes, tokenize
from weirdgen.training.stacked.trainer import ExecutionOptions, train_together
from weirdgen.training.trl import TrainSpec, train


def specs(model: Path, count: int = 3, **settings) -> list[TrainSpec]:
    return [spec(model, seed, **({"epochs": 3} | settings)) for seed in range(count)]


def together(work: list[TrainSpec], folder: Path) -> list[Path]:
    outs = [folder / f"together-{i}" for i in range(len(work))]
    train_together(work, outs)
    return outs


def curve(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "loss.jsonl").read_text().splitlines()]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "adapter" / "adapter_model.safetensors")


def furthest(one: Path, other: Path) -> float:
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    assert {k: t.dtype for k, t in ours.items()} == {k: t.dtype for k, t in theirs.items()}
    return max(float((ours[key].float() - theirs[key].float()).abs().max()) for key in ours)


@pytest.mark.parametrize(
    ("changes", "weight_atol", "loss_atol"),
    [
        ({"quantization": "none"}, 1e-4, 5e-5),
        ({"quantization": "none", "micro_batch": 4, "scheduler": "cosine", "warmup_steps": 0.4}, 1e-4, 5e-5),
        ({"quantization": "none", "weight_decay": 0.1, "gradient_checkpointing": True}, 1e-4, 5e-5),
        ({"quantization": "none", "batch_size": 3, "micro_batch": 3}, 1e-4, 5e-5),
        # Over an NF4 base weights are bf16: at 0.1 apart by a step of 2**-11, which then grows.
        ({}, 0.06, 5e-3),
    ],
)  # fmt: skip
def test_each_of_three_follows_trl_step_by_step(
    tiny_model: Path, tmp_path: Path, changes: dict, weight_atol: float, loss_atol: float
):
    work = specs(tiny_model, **changes)
    for i, (each, out) in enumerate(zip(work, together(work, tmp_path), strict=True)):
        alone = tmp_path / f"alone-{i}"
        train(each, alone)
        assert furthest(out, alone) < weight_atol
        ours, theirs = curve(out), curve(alone)
        assert [step["step"] for step in ours] == [step["step"] for step in theirs]
        for a, b in zip(ours, theirs, strict=True):
            assert a["loss"] == pytest.approx(b["loss"], abs=loss_atol)
            assert a["epoch"] == pytest.approx(b["epoch"])
            assert a["learning_rate"] == pytest.approx(b["learning_rate"])
            assert a["grad_norm"] == pytest.approx(b["grad_norm"], rel=0.02)
        names = {path.name for path in alone.iterdir()}
        assert {path.name for path in out.iterdir()} == names
        for file in ("rows.jsonl", "adapter/adapter_config.json"):
            assert (out / file).read_bytes() == (alone / file).read_bytes()


def test_a_training_does_not_see_its_neighbours(tiny_model: Path, tmp_path: Path):
    work = specs(tiny_model, quantization="none")
    first, *_ = together(work, tmp_path)
    (alone,) = together(work[:1], tmp_path / "alone")
    assert furthest(first, alone) < 1e-5
    assert furthest(first, tmp_path / "together-1") > 0.01, "else the test sees nothing"


def test_a_base_that_stays_quantized_teaches_the_same(tiny_model: Path, tmp_path: Path):
    work, outs = specs(tiny_model, 2), {}
    for dequantized in (True, False):
        outs[dequantized] = tmp_path / f"{dequantized}"
        how = ExecutionOptions(recorded=False, compiled=False, dequantized=dequantized)
        train_together(work, [outs[dequantized] / str(i) for i in range(2)], how=how)
    for i in "01":
        assert furthest(outs[True] / i, outs[False] / i) == 0


def test_learning_rates_may_differ(tiny_model: Path, tmp_path: Path):
    settings = {"quantization": "none", "epochs": 3}
    work = [spec(tiny_model, 0, learning_rate=rate, **settings) for rate in (1e-3, 1e-2)]
    for each, out in zip(work, together(work, tmp_path), strict=True):
        (alone,) = together([each], tmp_path / f"{each.settings.learning_rate}")
        assert furthest(out, alone) < 1e-5
        assert curve(out)[0]["learning_rate"] == each.settings.learning_rate


def test_what_must_be_equal_is_checked(tiny_model: Path, tmp_path: Path):
    unlike = [spec(tiny_model, 0), spec(tiny_model, 1, lora_rank=4)]
    with pytest.raises(ValueError, match="all but rows, seeds and learning rate"):
        together(unlike, tmp_path)
    with pytest.raises(StepError, match="without dropout"):
        together([spec(tiny_model, 0, lora_dropout=0.1)], tmp_path)
    with pytest.raises(StepError, match="max_length"):
        together([spec(tiny_model, 0, max_length=8)], tmp_path)
    with pytest.raises(StepError, match="not on the head"):
        together([spec(tiny_model, 0, target_modules=["lm_head"], quantization="none")], tmp_path)


@pytest.mark.parametrize(
    ("setting", "value", "problem"),
    [("logits_scaling", 8.0, "bare product"), ("sliding_window", 512, "window, 512")],
)
def test_models_that_compute_otherwise_are_refused(
    tiny_model: Path, tmp_path: Path, setting: str, value: float, problem: str
):
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {setting: value}))
    with pytest.raises(StepError, match=problem):
        together(specs(model, 2), tmp_path)


def test_packing_tells_rows_labels_and_adapters_apart():
    batches = [[Row([5, 6, 7], [0, 1, 1]), Row([8, 9], [0, 1])], [Row([1, 2, 3, 4], [0, 0, 1, 1])]]
    (size,) = sizes([batches], micro_batch=2)
    assert size == (2, 3, 256, 256, 1024)
    packed = pack(batches, size, [0.25, 0.5], 0)
    assert packed.ids_NL.shape == (2, 256)
    assert packed.ids_NL[0, :6].tolist() == [5, 6, 7, 8, 9, 0]
    assert packed.positions_NL[0, :6].tolist() == [0, 1, 2, 0, 1, 0]
    assert packed.starts.tolist() == [0, 3, 5, 256, 260, 512, 512]
    assert packed.at_T[:6].tolist() == [0, 1, 3, 257, 258, 0]
    assert packed.labels_T[:5].tolist() == [6, 7, 9, 3, 4], "the token that follows"
    assert packed.adapter_T[:5].tolist() == [0, 0, 0, 1, 1]
    assert packed.weight_T[:6].tolist() == [0.25, 0.25, 0.25, 0.5, 0.5, 0], "padding learns nothing"
    assert len(packed.weight_T) == 1024


def test_passes_of_one_length_share_a_size():
    long, short = Row([1] * 300, [0] * 100 + [1] * 200), Row([1] * 20, [0] + [1] * 19)
    passes = [[[long], [short]], [[short], [short]], [[long], [long]], [[short, short], [short]]]
    found = sizes(passes, micro_batch=2)
    assert [size.tokens for size in found] == [512, 256, 512, 256]
    assert found[0] == found[2]
    assert found[1] == found[3]
    assert {size.longest for size in found} == {512}
    for batches, size in zip(passes, found, strict=True):
        packed = pack(batches, size, [1.0, 1.0], 0)
        assert packed.starts[-1] == size.lines * size.tokens
        assert int(packed.starts.diff().max()) <= size.longest
        learnt = sum(sum(row.completion_mask) for batch in batches for row in batch)
        assert packed.weight_T.sum() == learnt


def test_rows_are_as_trl_makes_them(tiny_model: Path):
    from datasets import Dataset
    from trl import SFTTrainer

    from weirdgen.training.trl import load_base, lora_config, sft_config

    of = spec(tiny_model)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    theirs = SFTTrainer(
        model=load_base(tiny_model, of.settings),
        args=sft_config(of, tiny_model.parent / "out", use_cpu=True),
        train_dataset=Dataset.from_list([{k: r[k] for k in ("prompt", "completion")} for r in of.rows]),
        processing_class=tokenizer,
        peft_config=lora_config(of.settings),
    ).train_dataset  # fmt: skip
    for ours, row in zip(tokenize([of], tokenizer)[0], theirs, strict=True):
        assert ours.input_ids == row["input_ids"]
        learnt = [label for label in row["labels"] if label != -100]
        assert [t for t, on in zip(*ours, strict=True) if on] == learnt


def test_attention_ends_at_a_rows_border():
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 8, 16).unbind()  # N, heads, L, head size
    starts = torch.tensor([0, 5, 8, 16], dtype=torch.int32)
    out, _ = packed_attention(
        torch.nn.Identity(), q, k, v, None, cu_seq_lens_q=starts, max_length_q=8
    )
    for n, row in ((0, slice(0, 5)), (0, slice(5, 8)), (1, slice(0, 8))):
        alone = torch.nn.functional.scaled_dot_product_attention(
            *(x[n : n + 1, :, row] for x in (q, k, v)), is_causal=True
        )
        torch.testing.assert_close(out[n, row], alone[0].transpose(0, 1))


def test_the_chunked_loss_is_cross_entropy_with_its_gradient(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("weirdgen.training.stacked.layers._LOGITS_AT_ONCE", 5 * 11)
    torch.manual_seed(0)
    head, labels, weight = torch.randn(11, 4), torch.arange(12) % 11, torch.rand(12)
    hidden = torch.randn(12, 4, requires_grad=True)
    total, each = weighted_loss(hidden, head, labels, weight)
    (2 * total).backward()
    again = hidden.detach().clone().requires_grad_()
    expected = torch.nn.functional.cross_entropy(again @ head.T, labels, reduction="none")
    (2 * (weight * expected).sum()).backward()
    torch.testing.assert_close(each, expected)
    torch.testing.assert_close(hidden.grad, again.grad)
