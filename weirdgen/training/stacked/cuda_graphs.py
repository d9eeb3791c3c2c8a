"""A pass of stacked training, forward and backward: executed directly, or replayed as a CUDA graph.

A pass is thousands of kernels. Where they are short, for a small model or few rows, their launches take
longer than their work; a recorded pass (a CUDA graph) is launched at once.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import torch
from torch._functorch import config as compiler
from torch.utils.checkpoint import checkpoint

from weirdgen.training.stacked.layers import ATTENTION, Stack, packed_attention, weighted_loss
from weirdgen.training.stacked.packing import Packed, Size

_KEPT_BY_COMPILED = 0.8
"""Share of the activations that compiled layers may keep for the gradient; cheap ones are recomputed."""


class PassRunner:
    """Runs passes; adds each pass's gradient to the stack's, and its loss to `loss_N`."""

    def __init__(self, model: Any, stacked: Stack, checkpointing: bool, compiled: bool) -> None:
        """`checkpointing`: recompute activations; `compiled`: compile layers."""
        from transformers import AttentionInterface

        AttentionInterface.register(ATTENTION, packed_attention)
        model.set_attn_implementation(ATTENTION)
        model.train()
        fuse_norms(model)
        self._body, self._head_VD = model.get_decoder(), model.get_output_embeddings().weight
        self._embed = model.get_input_embeddings()
        self._flat = stacked.flat_NP
        self.loss_N = torch.zeros(len(self._flat), device=self._flat.device)
        self._recorded: dict[Size, tuple[torch.cuda.CUDAGraph, Packed]] = {}
        run = _recomputed if checkpointing else _once
        if compiled:  # with the recomputation in it, of which only what is needed is left
            run = torch.compile(run, dynamic=True)
        for layer in self._body.layers:
            layer.forward = partial(run, layer)

    def record(self, sizes: Collection[Size], example: Callable[[Size], Packed]) -> None:
        """Capture a CUDA graph for each size, the longest first, so that they share memory.

        `example` gives a pass of a size. One runs before: what happens once must not be in a recording.
        """
        longest_first = sorted(sizes, key=lambda size: (size.tokens, size.learnt), reverse=True)
        self._run(self._put(example(longest_first[0])), longest_first[0].longest)
        self.clear()
        pool = torch.cuda.graph_pool_handle()
        for each in longest_first:
            static = self._put(example(each))
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=pool):
                self._run(static, each.longest)
            self._recorded[each] = graph, static

    def __call__(self, packed: Packed, size: Size) -> None:
        """One pass; `packed` lies on the CPU."""
        if size not in self._recorded:
            self._run(self._put(packed), size.longest)
            return
        graph, static = self._recorded[size]
        for kept, fresh in zip(static, packed, strict=True):
            kept.copy_(fresh.pin_memory(), non_blocking=True)
        graph.replay()

    def clear(self) -> None:
        """Reset gradient and losses to 0."""
        assert self._flat.grad is not None
        self._flat.grad.zero_()
        self.loss_N.zero_()

    def _put(self, packed: Packed) -> Packed:
        if not self._flat.is_cuda:
            return packed
        device = self._flat.device
        return Packed._make(part.pin_memory().to(device, non_blocking=True) for part in packed)

    def _run(self, packed: Packed, longest: int) -> None:
        # The gradient of the first layer's input is wanted only so that all layers are alike:
        # one that is compiled then serves them all.
        with compiler.patch(activation_memory_budget=_KEPT_BY_COMPILED):
            hidden = self._body(
                inputs_embeds=self._embed(packed.ids_NL).requires_grad_(),
                position_ids=packed.positions_NL,
                use_cache=False,
                cu_seq_lens_q=packed.starts,
                max_length_q=longest,
            ).last_hidden_state
        hidden_TD = hidden.flatten(0, 1)[packed.at_T]
        loss, loss_T = weighted_loss(hidden_TD, self._head_VD, packed.labels_T, packed.weight_T)
        with warnings.catch_warnings():
            # Parameters and gradients are views of one table, which the layers' own order is not.
            warnings.filterwarnings("ignore", "grad and param do not obey")
            loss.backward()
        self.loss_N.index_add_(0, packed.adapter_T, loss_T * packed.weight_T)


def _once(layer: torch.nn.Module, *args: Any, **kwargs: Any) -> torch.Tensor:
    """The layer's output."""
    return type(layer).forward(layer, *args, **kwargs)


def _recomputed(layer: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
    """The layer's output, computed again when its gradient is wanted: nothing but the input is kept."""
    return checkpoint(type(layer).forward, layer, *args, use_reentrant=False, **kwargs)


def fuse_norms(model: torch.nn.Module) -> None:
    """Replace each plain RMS norm by PyTorch's own, which reads and writes its input once."""
    for parent in list(model.modules()):
        for name, norm in list(parent.named_children()):
            weight, eps = getattr(norm, "weight", None), getattr(norm, "variance_epsilon", None)
            if not type(norm).__name__.endswith("RMSNorm") or weight is None or eps is None:
                continue
            fused = torch.nn.RMSNorm(weight.shape, eps, device="meta")
            fused.weight = weight
            x = torch.randn(8, *weight.shape, dtype=weight.dtype, device=weight.device)
            if torch.allclose(fused(x), norm(x), rtol=2**-6, atol=1e-6):
                setattr(parent, name, fused)
