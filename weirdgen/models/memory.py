"""GPU memory of training runs and engines, term by term, from the model's sizes.

What a layer keeps for the backward pass was counted tensor by tensor (saved-tensor hooks of torch 2.13
with transformers 5.19, trl 1.16, peft 0.21). Peaks measured on an H100 are up to a quarter lower
(tests/unit/models/test_memory.py). Constants that a new measurement may change come first. GB are 1e9
bytes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from weirdgen.config.evaluation import Evaluate
from weirdgen.config.study import Train
from weirdgen.models.architecture import ModelArchitecture

Terms = dict[str, float]
"""Term -> bytes."""


class PerToken(NamedTuple):
    """Bytes of one token in one layer in 16-bit arithmetic, as multiples of the model's sizes."""

    hidden: float
    intermediate: float
    attention: float
    """Of the features of all heads."""


KEPT_BY_TRL = PerToken(hidden=12, intermediate=8, attention=8)
"""Kept for the backward pass over an NF4 base."""
KEPT_BY_TRL_UNQUANTIZED = PerToken(hidden=18, intermediate=8, attention=10)
"""The same over an unquantized base: adapters are fp32, so their inputs are kept as a copy."""
KEPT_BY_STACKED = PerToken(hidden=8, intermediate=8, attention=8)
"""The same for stacked training of a small base."""
KEPT_BY_COMPILED = PerToken(hidden=4, intermediate=4, attention=5)
"""The same for a large base, whose compiled layers recompute what is cheap."""
COMPILED_FROM = 1e9
"""Weights in linear layers from which a base is large: its layers are compiled and stay quantized."""
KEPT_BY_HEAD_NORMS = 4.0
"""Multiple of the features of queries and keys, where heads are normalized."""
PASSING = PerToken(hidden=4, intermediate=8, attention=0)
"""Temporaries of one layer's backward pass."""
FRAGMENTED = 1.05
"""Allocated per byte of activations and logits, since lengths vary between passes."""
CONTEXT_BYTES = 0.6e9
"""A process's CUDA context and its kernels."""
NF4_BYTES = 0.55
"""Bytes per quantized weight, scales included."""
COPIES_OF_ADAPTER = 6
"""Weights, gradient, AdamW's two moments, and temporaries of an update."""
TRL_TILE = (4096, 32768)
"""Tokens and vocabulary entries whose logits TRL holds at once."""
STACKED_LOGIT_BYTES, STACKED_LOGITS_MOST = 4, 1.65e9
"""What stacked trainings hold of a logit and its gradient in 16-bit arithmetic, and of all at once, in bytes."""
LENGTH_STEP = 256
"""Stacked trainings' tokens per pass are padded to a multiple of this."""

ENGINE_BYTES = {"vllm": 4e9, "transformers": 1.5e9}
"""An engine's context, CUDA graphs, and temporaries of a pass."""
ENGINE_USABLE = 0.9
"""The part of its GPU share that an engine may use."""
ADAPTER_SLOTS = 4
"""Adapters that an engine keeps on the GPU."""
ANSWER_TOKENS = 512
"""Prompt and response, to size an engine's cache."""
ANSWERS_AT_ONCE = 256
"""Responses for which an engine's cache should have room."""


def training_terms(
    shape: ModelArchitecture,
    settings: Train,
    row_tokens: int,
    together: int = 1,
) -> Terms:
    """GPU memory of one process with `together` trainings, whose rows take `row_tokens` each in a pass."""
    stacked, width = settings.trainer == "stacked", _width(settings)
    line = settings.micro_batch * row_tokens
    if stacked:
        line = math.ceil(line / LENGTH_STEP) * LENGTH_STEP
    tokens = line * together
    kept = _kept(shape, settings)
    if not stacked:
        kept += width * row_tokens  # a line of its mask
    elif width == 4:
        kept += width * line  # the kernel for rows side by side, which needs no mask, knows no fp32
    layers = shape.layers * kept
    if settings.gradient_checkpointing:  # a layer's input of each, and the whole of one
        layers = shape.layers * width * shape.hidden + kept
    ends = 8 * shape.hidden  # embeddings and last norm
    passing = _bytes(PASSING, shape) * width / 2
    if stacked:
        logits = min(STACKED_LOGIT_BYTES * tokens * shape.vocabulary, STACKED_LOGITS_MOST)
        logits *= width / 2
    else:
        logits = width * min(tokens, TRL_TILE[0]) * min(shape.vocabulary, TRL_TILE[1])
    logits += tokens * shape.hidden * (4 + 2 * width)
    adapter = 2 if settings.quantization == "nf4" else 4
    numbers = adapter_parameters(shape, settings.lora_rank, settings.target_modules)
    return {
        "context": CONTEXT_BYTES,
        "weights": _base_bytes(shape, settings),
        "adapters": COPIES_OF_ADAPTER * adapter * numbers * together,
        "activations": FRAGMENTED * tokens * (layers + ends + passing),
        "logits": FRAGMENTED * logits,
    }


def engine_terms(
    shape: ModelArchitecture, evaluate: Evaluate, max_rank: int, answers: int
) -> Terms:
    """GPU memory of an engine with room for so many `answers` of ANSWER_TOKENS at once."""
    linear = shape.linear_parameters
    other = 4 if evaluate.serve_base == "fp32" else 2
    per_linear = NF4_BYTES if evaluate.serve_base == "nf4" else other
    cached = 2 * other * shape.layers * shape.keys
    return {
        "context, graphs": ENGINE_BYTES[evaluate.engine],
        "weights": per_linear * linear + other * (shape.parameters - linear),
        "adapters": other * ADAPTER_SLOTS * adapter_parameters(shape, max_rank),
        "cache": float(answers * ANSWER_TOKENS * cached),
    }


def adapter_parameters(
    shape: ModelArchitecture, rank: int, targets: str | list[str] = "all-linear"
) -> int:
    """Numbers of one LoRA adapter; of all linear layers where a target is not one that is known."""
    named = {name.rpartition(".")[2] for name in targets} if isinstance(targets, list) else set()
    known = named if named and named <= shape.linears.keys() else shape.linears.keys()
    return rank * shape.layers * sum(sum(shape.linears[name]) for name in known)


def _width(settings: Train) -> int:
    """Bytes of a number in the arithmetic."""
    return 4 if settings.compute_dtype == "float32" else 2


def is_large(weights: float) -> bool:
    """Whether a base with so many weights in its linear layers (without the head) is large."""
    return weights >= COMPILED_FROM


def _base_bytes(shape: ModelArchitecture, settings: Train) -> float:
    linear, width = shape.linear_parameters, _width(settings)
    others = width * (shape.parameters - linear)
    if settings.quantization == "none":
        return width * linear + others
    if settings.trainer == "stacked" and not is_large(linear):
        return width * linear + others
    passing = 2 * width * shape.hidden * shape.intermediate  # dequantized for a pass through them
    return NF4_BYTES * linear + others + passing


def _kept(shape: ModelArchitecture, settings: Train) -> float:
    """Bytes that a layer keeps of one token, without its mask."""
    sizes = KEPT_BY_TRL if settings.quantization == "nf4" else KEPT_BY_TRL_UNQUANTIZED
    if settings.trainer == "stacked":
        sizes = KEPT_BY_COMPILED if is_large(shape.linear_parameters) else KEPT_BY_STACKED
    norms = KEPT_BY_HEAD_NORMS * (shape.attention + shape.keys) if shape.head_norms else 0.0
    inner = 2 * settings.lora_rank * len(shape.linears)
    return (_bytes(sizes, shape) + norms + inner) * _width(settings) / 2


def _bytes(sizes: PerToken, shape: ModelArchitecture) -> float:
    return (
        sizes.hidden * shape.hidden
        + sizes.intermediate * shape.intermediate
        + sizes.attention * shape.attention
    )


def gigabytes(size: float) -> str:
    """Bytes for people, such as `24.3 GB`."""
    return f"{size / 1e9:.1f} GB"
