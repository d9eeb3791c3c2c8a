"""GPU memory of trainings and engines: against peaks measured on an H100, and by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from architectures import SMOL
from hypothesis import given
from hypothesis import strategies as st

from weirdgen.config.evaluation import Evaluate
from weirdgen.config.study import Train
from weirdgen.models.architecture import ModelArchitecture, shape_of
from weirdgen.models.identity import resolve_model
from weirdgen.models.memory import adapter_parameters, engine_terms, training_terms

LLAMA_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}
SMALL = ModelArchitecture(8, 16, 2, heads=2, kv_heads=1, head_size=4, vocabulary=100, tied=True)
H100_BYTES = 81_559 * 2**20


def needed(shape: ModelArchitecture, settings: Train, row_tokens: int, together: int = 1) -> float:
    return sum(training_terms(shape, settings, row_tokens, together).values())


# Shapes.


def test_parameters_are_those_that_the_models_have():
    shape = shape_of(LLAMA_8B)
    assert shape is not None
    assert (SMOL.parameters, shape.parameters) == (134_515_008, 8_030_261_248)


def test_the_shape_of_a_folder_is_that_of_its_config(tiny_model: Path):
    expected = ModelArchitecture(
        64, 128, 2, heads=2, kv_heads=2, head_size=32, vocabulary=259, tied=False
    )
    assert resolve_model(str(tiny_model), "main", Path()).shape == expected


def test_what_a_config_leaves_out_follows_from_its_kind():
    left_out = ("tie_word_embeddings", "num_key_value_heads")
    config = {key: value for key, value in LLAMA_8B.items() if key not in left_out}
    shape = shape_of(config)
    assert shape is not None
    assert (shape.tied, shape.kv_heads, shape.head_size) == (False, 32, 128)
    gemma = shape_of(config | {"model_type": "gemma", "head_dim": 256})
    assert gemma is not None
    assert (gemma.tied, gemma.attention) == (True, 8192)
    qwen = shape_of(config | {"model_type": "qwen3"})
    assert qwen is not None
    assert qwen.head_norms


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "mixtral"},
        {"model_type": None},
        {"hidden_size": None},
        {"intermediate_size": "large"},
        {"num_hidden_layers": True},
        {"num_attention_heads": 0},
        {"vocab_size": -1},
        {"quantization_config": {"bits": 4}},
    ],
    ids=str,
)
def test_another_kind_of_model_has_no_shape(change: dict):
    assert shape_of(LLAMA_8B | change) is None


# Trainings.


def test_peaks_measured_on_an_h100_lie_up_to_a_quarter_below():
    """What torch's allocator held at most (benchmarks/README.md), the context not counted.

    Tokens of a row: a sixteenth of the longest pass that the benchmark's updates have.
    """
    large = shape_of(LLAMA_8B)
    assert large is not None
    checkpointed = {"gradient_checkpointing": True}
    for shape, trainer, together, tokens, changes, measured in (
        (SMOL, "trl", 1, 358, {}, 4.7),
        (SMOL, "stacked", 8, 304, {}, 28.6),
        (large, "trl", 1, 1000, checkpointed, 14.4),
        (large, "stacked", 1, 1000, checkpointed, 16.2),
        (large, "stacked", 1, 1000, checkpointed | {"micro_batch": 8}, 11.3),
        (large, "stacked", 1, 1000, {"micro_batch": 2}, 13.9),
    ):
        settings = Train().model_copy(update={"trainer": trainer} | changes)
        terms = training_terms(shape, settings, tokens, together)
        computed = sum(terms.values()) - terms["context"]
        assert measured * 1e9 <= computed <= 1.25 * measured * 1e9, (trainer, changes, computed)


def test_32_stacked_trainings_do_not_fit_into_an_h100():
    assert needed(SMOL, Train(trainer="stacked"), 304, together=32) > H100_BYTES


def test_the_terms_of_a_small_training_by_hand():
    """Hidden 8, intermediate 16, attention 8, keys 4; 2 rows of 10 tokens; rank 8."""
    settings = Train(micro_batch=2, batch_size=2)
    terms = training_terms(SMALL, settings, 10)
    linear = 2 * (8 * 8 + 2 * 8 * 4 + 8 * 8 + 3 * 8 * 16)
    rest = 100 * 8 + (2 * 2 + 1) * 8
    adapter = 2 * 8 * ((8 + 8) + 2 * (8 + 4) + (8 + 8) + 3 * (8 + 16))
    kept = 12 * 8 + 8 * 16 + 8 * 8 + 2 * 8 * 7 + 2 * 10
    passing = 4 * 8 + 8 * 16
    assert terms == {
        "context": 0.6e9,
        "weights": pytest.approx(0.55 * linear + 2 * rest + 4 * 8 * 16),
        "adapters": 6 * 2 * adapter,
        "activations": pytest.approx(1.05 * 20 * (2 * kept + 8 * 8 + passing)),
        "logits": pytest.approx(1.05 * (2 * 20 * 100 + 20 * 8 * 8)),
    }
    checkpointed = settings.model_copy(update={"gradient_checkpointing": True})
    layers = 2 * 2 * 8 + kept
    assert training_terms(SMALL, checkpointed, 10)["activations"] == pytest.approx(
        1.05 * 20 * (layers + 8 * 8 + passing)
    )


def test_stacked_lines_are_padded_and_share_one_base():
    settings = Train(trainer="stacked", micro_batch=2, batch_size=2)
    one = training_terms(SMALL, settings, 10)
    assert training_terms(SMALL, settings, 128) == one, "2 x 10 and 2 x 128 tokens are 256"
    three = training_terms(SMALL, settings, 10, together=3)
    assert three["weights"] == one["weights"]
    assert three["adapters"] == 3 * one["adapters"]
    assert three["activations"] == pytest.approx(3 * one["activations"])


def test_a_small_base_is_dequantized_and_a_large_one_is_not():
    settings, shape = Train(trainer="stacked"), shape_of(LLAMA_8B)
    assert training_terms(SMALL, settings, 300)["weights"] == 2 * SMALL.parameters
    assert shape is not None
    assert training_terms(shape, settings, 300)["weights"] < 0.45 * 2 * shape.parameters


def test_an_8b_model_fits_where_it_is_known_to_and_not_where_it_is_not():
    shape = shape_of(LLAMA_8B)
    assert shape is not None
    qlora = Train(micro_batch=1, gradient_checkpointing=True)
    assert needed(shape, qlora, 1024) < 10e9, "QLoRA of 8B on a small GPU"
    assert needed(shape, Train(), 1024) > H100_BYTES


SETTINGS = st.builds(
    Train,
    trainer=st.sampled_from(["trl", "stacked"]),
    quantization=st.sampled_from(["nf4", "none"]),
    compute_dtype=st.sampled_from(["bfloat16", "float32"]),
    lora_rank=st.integers(1, 64),
    gradient_checkpointing=st.booleans(),
    batch_size=st.just(16),
    micro_batch=st.sampled_from([1, 2, 4, 8]),
)


@given(SETTINGS, st.integers(1, 1000), st.integers(1, 15))
def test_more_of_anything_never_takes_less(settings: Train, row_tokens: int, together: int):
    base = needed(SMOL, settings, row_tokens, together)
    changes = (
        {"micro_batch": 2 * settings.micro_batch},
        {"lora_rank": settings.lora_rank + 1},
        {"compute_dtype": "float32"},
        {"gradient_checkpointing": False},
    )
    for change in changes:
        assert needed(SMOL, settings.model_copy(update=change), row_tokens, together) >= base
    assert needed(SMOL, settings, row_tokens + 1, together) >= base
    assert needed(SMOL, settings, row_tokens, together + 1) > base
    assert needed(SMOL._replace(head_norms=True), settings, row_tokens, together) >= base


def test_an_adapter_on_some_layers_is_smaller_and_unknown_names_count_as_all():
    attention = adapter_parameters(SMALL, 8, ["q_proj", "self_attn.v_proj"])
    assert attention == 2 * 8 * ((8 + 8) + (8 + 4))
    everything = adapter_parameters(SMALL, 8)
    assert adapter_parameters(SMALL, 8, ["q_proj", "fc1"]) == everything
    assert adapter_parameters(SMALL, 16) == 2 * everything


# Engines.


def test_the_terms_of_an_engine_by_hand():
    shape = shape_of(LLAMA_8B)
    assert shape is not None
    assert engine_terms(shape, Evaluate(), 8, 256) == {
        "context, graphs": 4e9,
        "weights": 2 * 8_030_261_248,
        "adapters": 2 * 4 * 20_971_520,
        "cache": 256 * 512 * 131_072,
    }
    nf4 = engine_terms(shape, Evaluate(engine="transformers", serve_base="nf4"), 8, 256)
    assert nf4["context, graphs"] == 1.5e9
    assert nf4["weights"] == pytest.approx(
        0.55 * 6_979_321_856 + 2 * (8_030_261_248 - 6_979_321_856)
    )
    fp32 = engine_terms(shape, Evaluate(engine="transformers", serve_base="fp32"), 8, 256)
    assert fp32 == {
        "context, graphs": 1.5e9,
        "weights": 4 * 8_030_261_248,
        "adapters": 4 * 4 * 20_971_520,
        "cache": 256 * 512 * 262_144,
    }
