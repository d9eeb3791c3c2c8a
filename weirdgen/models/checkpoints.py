"""A model's checkpoint as a folder: fetched, copied, or converted from an embedded model."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from pathlib import Path

from weirdgen.models.identity import FETCHED, Model, tokenizer_files, weight_files
from weirdgen.storage.cache import node_cache


def write_checkpoint(model: Model, out: Path) -> None:
    """Writes the checkpoint with its tokenizer into `out`: a local model's files as they are,
    an embedded model as bf16 safetensors.
    """
    if model.kind == "folder":
        source = Path(model.source)
        for file in [*tokenizer_files(source), *weight_files(source)]:
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


def checkpoint(model: Model) -> Path:
    """The model's checkpoint as a folder on this machine; an embedded model is converted once."""
    if model.kind == "folder":
        return Path(model.source)
    if model.kind == "hub":
        return local_checkpoint(model.id, model.revision)
    folder = node_cache() / "models" / model.revision
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".draft-"))
        write_checkpoint(model, draft)
        try:
            draft.rename(folder)
        except OSError:  # another process was first
            shutil.rmtree(draft)
    return folder


def named_by_content(folder: Path, digest: str) -> Path:
    """A link to `folder` in this node's cache, named by what it holds: the same for every storage.

    vLLM keeps what it compiled under a key that holds the path of the model.
    """
    link = node_cache() / "bases" / digest[:16]
    link.parent.mkdir(parents=True, exist_ok=True)
    draft = link.with_name(f".draft-{uuid.uuid4().hex}")
    draft.symlink_to(folder, target_is_directory=True)
    draft.replace(link)  # an older one may lead to a storage that is gone
    return link


def local_checkpoint(model_id: str, revision: str) -> Path:
    """The hub model's files at that commit, fetched into this node's cache once."""
    from huggingface_hub import snapshot_download

    fetched: list[str] = list(FETCHED)
    return Path(snapshot_download(model_id, revision=revision, allow_patterns=fetched))
