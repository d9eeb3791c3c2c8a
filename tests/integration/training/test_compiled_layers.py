"""Passes of compiled layers over a base that stays quantized: what they compute, and what they keep."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from weirdgen.config.study import Train
from weirdgen.training.stacked.cuda_graphs import PassRunner
from weirdgen.training.stacked.layers import QuantizedLinear, stack
from weirdgen.training.stacked.packing import Row, pack, sizes
from weirdgen.training.trl import load_base

ROWS = [Row([*range(3, 103)], [0] * 10 + [1] * 90), Row([*range(5, 125)], [0] * 20 + [1] * 100)]
RANK = 4


def run(folder: Path, *, compiled: bool, checkpointing: bool) -> tuple[torch.Tensor, set[tuple]]:
    """The gradient of a second pass, and the shapes that were kept for it."""
    torch.manual_seed(0)
    model = load_base(folder, Train())
    linear = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not model.get_output_embeddings()
    }
    adapter = {
        name: tuple(
            0.1 * torch.randn(*shape, dtype=torch.bfloat16)
            for shape in ((RANK, layer.in_features), (layer.out_features, RANK))
        )
        for name, layer in linear.items()
    }
    model.requires_grad_(False)
    stacked = stack(model, [adapter], 2.0, torch.bfloat16, dequantized=False)
    assert all(isinstance(layer.base, QuantizedLinear) for layer in stacked.layers.values())
    passes = PassRunner(model, stacked, checkpointing, compiled)
    [size] = sizes([[ROWS]], micro_batch=2)
    packed = pack([ROWS], size, [1 / 190], pad=0)
    passes(packed, size)
    passes.clear()
    kept = set()

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.add(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        passes(packed, size)
    assert stacked.flat_NP.grad is not None
    return stacked.flat_NP.grad.float(), kept


@pytest.mark.parametrize("checkpointing", [False, True])
def test_compiled_layers_learn_the_same_and_keep_no_weight(tiny_model: Path, checkpointing: bool):
    plain, _ = run(tiny_model, compiled=False, checkpointing=checkpointing)
    compiled, kept = run(tiny_model, compiled=True, checkpointing=checkpointing)
    assert (plain - compiled).norm() < 0.03 * plain.norm()
    weights = {(64, 64), (64, 128), (128, 64)}  # its hidden size is 64, its intermediate one 128
    assert not kept & weights
    assert ((1, 256, 128) in kept) != checkpointing
