"""A model's sizes from its config.json, from which memory and time are computed."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeGuard

_TIED = {
    "gemma": True,
    "granite": False,
    "llama": False,
    "mistral": False,
    "phi3": False,
    "qwen2": False,
    "qwen3": False,
    "smollm3": True,
}
"""Supported model types -> whether input and output embeddings are tied if the config does not say."""
_HEAD_NORMS = ("qwen3",)
"""Model types that normalize each head's queries and keys."""


class ModelArchitecture(NamedTuple):
    """Sizes of a Llama-like decoder: attention and a gated MLP in every layer."""

    hidden: int
    """Features of the residual stream."""
    intermediate: int
    """Features inside the MLP."""
    layers: int
    heads: int
    """Attention heads, of queries."""
    kv_heads: int
    """Heads of keys and values."""
    head_size: int
    vocabulary: int
    tied: bool
    """Whether the output embeddings are the input embeddings."""
    head_norms: bool = False
    """Whether each head's queries and keys are normalized."""

    @property
    def attention(self) -> int:
        """Features of all heads together."""
        return self.heads * self.head_size

    @property
    def keys(self) -> int:
        """Features of all heads of keys together; those of values are as many."""
        return self.kv_heads * self.head_size

    @property
    def linears(self) -> dict[str, tuple[int, int]]:
        """The linear layers of one layer: name -> inputs, outputs."""
        return {
            "q_proj": (self.hidden, self.attention),
            "k_proj": (self.hidden, self.keys),
            "v_proj": (self.hidden, self.keys),
            "o_proj": (self.attention, self.hidden),
            "gate_proj": (self.hidden, self.intermediate),
            "up_proj": (self.hidden, self.intermediate),
            "down_proj": (self.intermediate, self.hidden),
        }

    @property
    def linear_parameters(self) -> int:
        """Parameters of the linear layers without the head: those that are quantized."""
        return self.layers * sum(ins * outs for ins, outs in self.linears.values())

    @property
    def parameters(self) -> int:
        """All parameters but biases."""
        tables = (1 if self.tied else 2) * self.vocabulary * self.hidden
        norms = (2 * self.layers + 1) * self.hidden
        return self.linear_parameters + tables + norms


def shape_of(config: dict[str, Any]) -> ModelArchitecture | None:
    """The sizes in a config.json; None for an unsupported type, a quantized model, or a missing size."""
    kind = config.get("model_type")
    if kind not in _TIED or config.get("quantization_config"):
        return None
    heads, hidden = config.get("num_attention_heads"), config.get("hidden_size")
    head_size = config.get("head_dim")
    if head_size is None and _is_size(heads) and _is_size(hidden):
        head_size = hidden // heads
    sizes: list[Any] = [
        hidden,
        config.get("intermediate_size"),
        config.get("num_hidden_layers"),
        heads,
        config.get("num_key_value_heads", heads),
        head_size,
        config.get("vocab_size"),
    ]
    if not all(map(_is_size, sizes)):
        return None
    tied = config.get("tie_word_embeddings", _TIED[kind])
    return ModelArchitecture(*sizes, tied=bool(tied), head_norms=kind in _HEAD_NORMS)


def _is_size(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0
