"""Existing adapters: find them, check them against base and engine, hash their content. No torch."""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from weirdgen.config.study import Evaluate, ExistingAdapter
from weirdgen.errors import InputError
from weirdgen.models.identity import Model, check_safetensors, read_json, sanitized
from weirdgen.storage.manifest import sha256_of

ADAPTER = "adapter"
"""Folder of an adapter in its step's payload, in PEFT format."""
SERVED_AS = "served_as"
"""Instead of that folder: a file with the endpoint's name for the adapter."""
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
MAX_VLLM_RANK = 512

_ENTERED_BY_HIDDEN = re.compile(r"\.(q_proj|k_proj|v_proj|gate_proj|up_proj)\.lora_A\.")
_LAYER = re.compile(r"\.layers\.(\d+)\.")


@dataclass(frozen=True)
class FoundAdapter:
    """An adapter, ready to be committed."""

    name: str
    """Short name for people."""
    files: dict[str, Path]
    """Path in the payload -> local file. Empty if an endpoint serves the adapter."""
    served_as: str
    """The endpoint's name for it, else empty."""
    rank: int
    """The largest rank of its matrices; 0 if an endpoint serves it."""

    @property
    def hashes(self) -> dict[str, str]:
        """Path in the payload -> sha256: its identity."""
        if self.served_as:
            return {SERVED_AS: hashlib.sha256(self.served_as.encode()).hexdigest()}
        return {name: sha256_of(file) for name, file in self.files.items()}

    def write(self, out: Path) -> None:
        """Write the payload into the folder `out`."""
        if self.served_as:
            (out / SERVED_AS).write_text(self.served_as, encoding="utf-8")
        for name, file in self.files.items():
            (out / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(file, out / name)


def resolve_adapter(
    adapter: ExistingAdapter, evaluate: Evaluate, model: Model, base: Path, where: object
) -> FoundAdapter:
    """The adapter in a folder (relative to `base`), on the hub, or at an endpoint.

    Raises InputError, naming file and field, if it is missing, damaged, made for another model, or not
    supported by the study's engine.
    """
    name = adapter.name or sanitized(adapter.path.rstrip("/").rpartition("/")[2])
    if evaluate.engine == "endpoint":
        return FoundAdapter(name, {}, adapter.path, 0)
    folder = (base / Path(adapter.path).expanduser()).resolve()
    if not folder.is_dir():
        if adapter.path.startswith((".", "/", "~")):
            raise InputError(where, "adapters", f"there is no folder {folder}")
        folder = _fetch(adapter.path, adapter.revision, where)
    config = read_json(folder / CONFIG)
    rank = _check_config(folder / CONFIG, config, evaluate.engine)
    _check_weights(folder / WEIGHTS, model)
    files = {f"{ADAPTER}/{file}": folder / file for file in (CONFIG, WEIGHTS)}
    return FoundAdapter(name, files, "", rank)


def _fetch(hub_id: str, revision: str, where: object) -> Path:
    """The hub adapter's two files in this machine's cache."""
    from huggingface_hub import snapshot_download

    wanted = [CONFIG, WEIGHTS]
    try:
        return Path(snapshot_download(hub_id, revision=revision, allow_patterns=wanted))
    except Exception as error:  # every HTTP library raises its own; offline, the cache is used
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        problem = f"{hub_id!r} is no local folder and the hub did not give it ({reason})"
        raise InputError(where, "adapters", problem) from None


def _check_config(path: Path, config: dict[str, Any], engine: str) -> int:
    """The adapter's rank. Raises InputError for what the engine cannot serve."""
    if config.get("peft_type") != "LORA":
        problem = f"{config.get('peft_type')!r}: only LORA adapters can be asked"
        raise InputError(path, "peft_type", problem)
    ranks = [config.get("r"), *(config.get("rank_pattern") or {}).values()]
    if any(not isinstance(rank, int) or isinstance(rank, bool) or rank < 1 for rank in ranks):
        raise InputError(path, "r", "must be a positive integer")
    if engine == "vllm":
        other = "; `engine: transformers` does"
        if max(ranks) > MAX_VLLM_RANK:
            problem = f"vllm serves ranks up to {MAX_VLLM_RANK}, not {max(ranks)}{other}"
            raise InputError(path, "r", problem)
        for field, plain in (("use_dora", False), ("modules_to_save", None), ("bias", "none")):
            value = config.get(field)
            if value and value != plain:
                raise InputError(path, field, f"vllm does not serve {value!r}{other}")
    return max(ranks)


def _check_weights(path: Path, model: Model) -> None:
    """Raises InputError for weights that are damaged or do not fit the base model."""
    if not path.is_file() and path.with_suffix(".bin").is_file():
        # A .bin is a pickle: loading it runs code of its author.
        problem = "only .bin weights are there; save the adapter as safetensors"
        raise InputError(path, None, problem)
    shapes = check_safetensors(path)
    lora = {name: shape for name, shape in shapes.items() if ".lora_" in name}
    if not lora:
        raise InputError(path, None, "holds no LoRA matrices")
    hidden, layers = (model.config.get(size) for size in ("hidden_size", "num_hidden_layers"))
    if not (isinstance(hidden, int) and isinstance(layers, int)):
        return
    for name, shape in lora.items():
        if (layer := _LAYER.search(name)) and int(layer[1]) >= layers:
            problem = f"is of another model: it has a layer {layer[1]}, the base {layers} layers"
            raise InputError(path, name, problem)
        if _ENTERED_BY_HIDDEN.search(name) and shape[-1] != hidden:
            problem = f"is of another model: it takes {shape[-1]} features, the base has {hidden}"
            raise InputError(path, name, problem)
