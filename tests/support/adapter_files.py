"""Adapter folders: one that is whole, and the ways in which one is spoiled."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from weirdgen.models.adapters import CONFIG, WEIGHTS

HIDDEN = 64
"""Of the tiny model."""


def make_adapter(
    folder: Path, rank: int = 4, hidden: int = HIDDEN, layer: int = 1, **config: object
) -> Path:
    """A PEFT folder with adapted layers up to `layer`, made without torch."""
    folder.mkdir(parents=True)
    matrices = {}
    for i in range(layer + 1):
        at = f"base_model.model.model.layers.{i}.self_attn.q_proj"
        matrices[f"{at}.lora_A.weight"] = np.ones((rank, hidden), np.float32)
        matrices[f"{at}.lora_B.weight"] = np.ones((hidden, rank), np.float32)
    save_file(matrices, folder / WEIGHTS)
    plain = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "target_modules": ["q_proj"]}
    (folder / CONFIG).write_text(json.dumps(plain | config))
    return folder


def broken(folder: Path, file: str, content: bytes) -> Path:
    (folder / file).write_bytes(content)
    return folder


def without(folder: Path, file: str) -> Path:
    (folder / file).unlink()
    return folder


def pickled(folder: Path) -> Path:
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")
    return folder


def cut(folder: Path) -> Path:
    whole = (folder / WEIGHTS).read_bytes()
    return broken(folder, WEIGHTS, whole[: len(whole) // 2])


SPOILED = {
    "no folder": (lambda p: p / "none", "study.yaml: adapters: there is no folder"),
    "no config": (
        lambda p: without(make_adapter(p), CONFIG),
        "adapter_config.json: cannot be read (No such file or directory)",
    ),
    "config that is no JSON": (
        lambda p: broken(make_adapter(p), CONFIG, b"{"),
        "adapter_config.json: is not JSON",
    ),
    "config that is a list": (
        lambda p: broken(make_adapter(p), CONFIG, b"[]"),
        "adapter_config.json: must be an object",
    ),
    "another kind": (
        lambda p: make_adapter(p, peft_type="IA3"),
        "adapter_config.json: peft_type: 'IA3': only LORA",
    ),
    "rank vLLM cannot serve": (
        lambda p: make_adapter(p, rank=1024),
        "adapter_config.json: r: vllm serves ranks up to 512, not 1024",
    ),
    "rank of one layer": (
        lambda p: make_adapter(p, rank_pattern={"q_proj": 600}),
        "adapter_config.json: r: vllm serves ranks up to 512, not 600",
    ),
    "rank that is none": (
        lambda p: make_adapter(p, r="8"),
        "adapter_config.json: r: must be a positive integer",
    ),
    "DoRA under vLLM": (
        lambda p: make_adapter(p, use_dora=True),
        "adapter_config.json: use_dora: vllm does not serve True",
    ),
    "trained embeddings under vLLM": (
        lambda p: make_adapter(p, modules_to_save=["embed_tokens"]),
        "adapter_config.json: modules_to_save: vllm does not serve ['embed_tokens']",
    ),
    "no weights": (
        lambda p: without(make_adapter(p), WEIGHTS),
        "adapter_model.safetensors: cannot be read",
    ),
    "a pickle": (lambda p: pickled(make_adapter(p)), "only .bin weights are there; save"),
    "cut off": (
        lambda p: cut(make_adapter(p)),
        "adapter_model.safetensors: is cut off or no safetensors",
    ),
    "empty weights": (
        lambda p: broken(make_adapter(p), WEIGHTS, b""),
        "adapter_model.safetensors: is cut off or no safetensors",
    ),
    "of a wider model": (
        lambda p: make_adapter(p, hidden=4096),
        "is of another model: it takes 4096 features, the base has 64",
    ),
    "of a deeper model": (
        lambda p: make_adapter(p, layer=31),
        "is of another model: it has a layer 10, the base 2 layers",
    ),
}
