"""N LoRA adapters over one frozen base: each linear layer has N low-rank updates.

A layer's input has the shape (N, L, features). Slice n holds the rows of adapter n, concatenated, and
passes through adapter n alone. The frozen base is read once for all adapters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

ATTENTION = "weirdgen_packed"
"""Name of the attention for concatenated rows: each row attends to itself alone."""
_LOGITS_AT_ONCE = 2**27
"""Logits in memory at once: 1 GB with their gradient."""


class StackedLinear(nn.Module):
    """A frozen linear layer with N adapters: LoRA A (N x rank x inputs) and B (N x outputs x rank)."""

    def __init__(
        self,
        base: nn.Module,
        lora_NRI: nn.Parameter,
        lora_NOR: nn.Parameter,
        scaling: float,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.base = base
        self.lora_NRI, self.lora_NOR = lora_NRI, lora_NOR
        self.scaling, self.dtype = scaling, dtype

    def forward(self, x_NLI: torch.Tensor) -> torch.Tensor:
        """(N, L, inputs) to (N, L, outputs)."""
        lora_NRI, lora_NOR = self.lora_NRI.to(self.dtype), self.lora_NOR.to(self.dtype)
        if torch.compiler.is_compiling():  # sums are fused with what follows them
            down_NLR = torch.bmm(x_NLI, lora_NRI.mT) * self.scaling
            return torch.bmm(down_NLR, lora_NOR.mT) + self.base(x_NLI)
        product: Any = _StackedProduct.apply(x_NLI, lora_NRI, lora_NOR, self)
        return product


class _StackedProduct(torch.autograd.Function):
    """Add products in place, forward and backward, so that no sum needs a pass of its own."""

    @staticmethod
    def forward(ctx: Any, x_NLI, lora_NRI, lora_NOR, layer):  # noqa: ANN001, ANN205
        down_NLR = torch.bmm(x_NLI, lora_NRI.mT)
        ctx.layer = layer
        ctx.save_for_backward(x_NLI, lora_NRI, lora_NOR, down_NLR)
        out_NLO = F.linear(x_NLI, layer.base.weight, layer.base.bias)
        return out_NLO.baddbmm_(down_NLR, lora_NOR.mT, alpha=layer.scaling)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor):  # noqa: ANN205
        [out_NLO] = grads
        x_NLI, lora_NRI, lora_NOR, down_NLR = ctx.saved_tensors
        scaling = ctx.layer.scaling
        in_NLR = torch.bmm(out_NLO, lora_NOR)
        in_NLI = (out_NLO @ ctx.layer.base.weight).baddbmm_(in_NLR, lora_NRI, alpha=scaling)
        return (
            in_NLI,
            torch.bmm(in_NLR.mT, x_NLI).mul_(scaling),
            torch.bmm(out_NLO.mT, down_NLR).mul_(scaling),
            None,
        )


class QuantizedLinear(nn.Module):
    """A frozen NF4 layer: stored quantized, dequantized for each product."""

    def __init__(self, base: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        from bitsandbytes.functional import dequantize_blockwise

        weight: Any = base.weight
        state = weight.quant_state
        absmax = state.absmax
        if state.nested:
            absmax = dequantize_blockwise(absmax, state.state2) + state.offset
        how = state.blocksize, state.quant_type, list(state.shape), dtype
        self.quantized = weight.data, absmax.float(), *how
        """Arguments of the dequantization. They name no module: code compiled for one layer serves all."""
        self.bias = base.bias

    @property
    def weight(self) -> torch.Tensor:
        """(outputs, inputs), dequantized anew."""
        dequantize: Any = torch.ops.bitsandbytes.dequantize_4bit
        return dequantize(*self.quantized)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(..., inputs) to (..., outputs)."""
        product = quantized_product(x, *self.quantized, transposed=True)
        return product if self.bias is None else product + self.bias


@torch.library.custom_op("weirdgen::quantized_product", mutates_args=())
def quantized_product(
    x: torch.Tensor,
    packed: torch.Tensor,
    absmax: torch.Tensor,
    blocksize: int,
    quant_type: str,
    shape: list[int],
    dtype: torch.dtype,
    transposed: bool,
) -> torch.Tensor:
    """Multiply `x` (..., inputs) by a transposed quantized weight, or (..., outputs) by the weight.

    This is a custom operation, so that compiled layers neither see the dequantized weight nor keep it
    for the gradient.
    """
    dequantize: Any = torch.ops.bitsandbytes.dequantize_4bit
    weight = dequantize(packed, absmax, blocksize, quant_type, shape, dtype)
    return x @ (weight.T if transposed else weight)


@quantized_product.register_fake
def _(x, packed, absmax, blocksize, quant_type, shape, dtype, transposed):  # noqa: ANN001, ANN202, ARG001
    return x.new_empty(*x.shape[:-1], shape[0] if transposed else shape[1])


def _keep_weight(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:  # noqa: ARG001
    _, packed, absmax, *ctx.how, ctx.transposed = inputs
    ctx.save_for_backward(packed, absmax)


def _product_backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    packed, absmax = ctx.saved_tensors
    return quantized_product(grad, packed, absmax, *ctx.how, not ctx.transposed), *[None] * 7


quantized_product.register_autograd(_product_backward, setup_context=_keep_weight)


def packed_attention(
    _module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **borders: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention within rows; query, key, value: (N, heads, L, head size).

    `borders`: `cu_seq_lens_q`, the start of each row in the N x L tokens, and the end; and
    `max_length_q`, the tokens of the longest row. Where no kernel takes borders (on the CPU, in
    fp32), it applies a mask of (N, 1, L, L).
    """
    if attention_mask is not None or dropout or borders.get("softcap") or borders.get("s_aux"):
        raise ValueError(
            "packed rows take causal attention without mask, dropout, softcap, or sinks"
        )
    N, H, L, D = query.shape
    starts = borders["cu_seq_lens_q"]
    if not query.is_cuda or query.dtype == torch.float32:
        row_NL = torch.bucketize(torch.arange(N * L), starts[1:-1].cpu(), right=True).view(N, L)
        same = (row_NL[:, :, None] == row_NL[:, None, :]).tril()[:, None].to(query.device)
        out = F.scaled_dot_product_attention(
            query, key, value, same, scale=scaling, enable_gqa=key.shape[1] != H
        )
        return out.transpose(1, 2), None
    from torch.nn.attention.varlen import varlen_attn

    if scaling is not None and scaling != D**-0.5:
        query = query * (scaling * D**0.5)
    if key.shape[1] != H:
        key, value = (x.repeat_interleave(H // key.shape[1], dim=1) for x in (key, value))
    q, k, v = (x.transpose(1, 2).reshape(N * L, H, D) for x in (query, key, value))
    longest = borders["max_length_q"]
    out = varlen_attn(q, k, v, starts, starts, longest, longest, window_size=(-1, 0))
    assert isinstance(out, torch.Tensor)
    return out.view(N, L, H, D), None


class Stack(NamedTuple):
    """N adapters in a model."""

    layers: dict[str, StackedLinear]
    """By the names of the layers that they replace."""
    flat_NP: nn.Parameter
    """All P numbers of each adapter, a row each, with their gradient; the layers hold views of both."""


def stack(
    model: nn.Module,
    adapters: Sequence[Mapping[str, tuple[torch.Tensor, torch.Tensor]]],
    scaling: float,
    dtype: torch.dtype,
    dequantized: bool,
) -> Stack:
    """Put N adapters (layer name -> LoRA A and B) into `model`, in place.

    `dequantized`: dequantize quantized layers once, to the numbers that every pass would see.
    """
    flat_NP = torch.stack(
        [torch.cat([x.flatten() for pair in each.values() for x in pair]) for each in adapters]
    )
    flat = nn.Parameter(flat_NP)
    flat.grad = torch.zeros_like(flat)
    at, layers = 0, {}
    for name, pair in adapters[0].items():
        views = []
        for x in pair:
            part = slice(at, at := at + x.numel())
            view = nn.Parameter(flat.data[:, part].view(len(adapters), *x.shape))
            view.grad = flat.grad[:, part].view_as(view)
            views.append(view)
        down, up = views
        parent, _, child = name.rpartition(".")
        holder = model.get_submodule(parent)
        base = getattr(holder, child)
        layer = StackedLinear(_frozen(base, dtype, dequantized), down, up, scaling, dtype)
        layers[name] = layer
        setattr(holder, child, layer)
    return Stack(layers, flat)


def _frozen(base: nn.Module, dtype: torch.dtype, dequantized: bool) -> nn.Module:
    """The base layer as passes use it."""
    if not hasattr(base.weight, "quant_state"):
        return base
    quantized = QuantizedLinear(base, dtype)
    if not dequantized:
        return quantized
    plain = nn.Linear(base.in_features, base.out_features, base.bias is not None, "meta")  # type: ignore[arg-type]
    plain.weight = nn.Parameter(quantized.weight, requires_grad=False)
    plain.bias = base.bias  # type: ignore[assignment]
    return plain


class _ChunkedLoss(torch.autograd.Function):
    """Compute the gradient chunk by chunk in the forward pass: all logits at once would fill a GPU."""

    @staticmethod
    def forward(ctx: Any, hidden_TD, head_VD, labels_T, weights_T):  # noqa: ANN001, ANN205
        grad_TD = torch.empty_like(hidden_TD)
        loss_T = torch.empty(len(labels_T), dtype=torch.float32, device=hidden_TD.device)
        chunk = max(1, _LOGITS_AT_ONCE // len(head_VD))
        for at in range(0, len(labels_T), chunk):
            part = slice(at, at + chunk)
            grad_TD[part], loss_T[part] = _chunk_loss(hidden_TD[part], head_VD, labels_T[part])
        ctx.save_for_backward(grad_TD, weights_T)
        ctx.mark_non_differentiable(loss_T)
        return (weights_T * loss_T).sum(), loss_T

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor):  # noqa: ANN205
        grad_TD, weights_T = ctx.saved_tensors
        return (grad_TD * (weights_T * grads[0])[:, None]).to(grad_TD.dtype), None, None, None


def _chunk_loss(
    hidden_TD: torch.Tensor, head_VD: torch.Tensor, labels_T: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradient of `loss_T.sum()` with respect to `hidden_TD`, and `loss_T`."""
    labels_T1 = labels_T[:, None]
    log_TV = F.log_softmax(hidden_TD @ head_VD.T, dim=1, dtype=torch.float32)
    loss_T = -log_TV.gather(1, labels_T1)[:, 0]
    grad_TV = log_TV.exp_().scatter_add_(1, labels_T1, torch.full_like(loss_T, -1.0)[:, None])
    return grad_TV.to(hidden_TD.dtype) @ head_VD, loss_T


def weighted_loss(
    hidden_TD: torch.Tensor, head_VD: torch.Tensor, labels_T: torch.Tensor, weights_T: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """`(weights_T * loss_T).sum()`, to be differentiated, and `loss_T`: the cross entropy of each of T
    tokens under a frozen head, float32.
    """
    losses: Any = _ChunkedLoss.apply(hidden_TD, head_VD, labels_T, weights_T)
    return losses
