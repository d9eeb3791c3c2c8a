"""Checkpoint folders: fetched, copied, or converted from an embedded model; NF4 quantization."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from weirdgen.models.identity import FETCHED, Model, tokenizer_files, weight_files
from weirdgen.storage.cache import node_cache

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig


def write_checkpoint(model: Model, out: Path) -> None:
    """Write the checkpoint with its tokenizer into `out`: a local model's files unchanged, an embedded
    model as bf16 safetensors.
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
    # The weights are dequantized; a config that still names GGUF cannot be saved.
    config.pop("quantization_config", None)
    plain = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), dtype=torch.bfloat16)
    plain.load_state_dict(quantized.state_dict())
    plain.generation_config = quantized.generation_config
    plain.save_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(**source)
    # Some versions of transformers do not read these two from the GGUF.
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
    """A link to `folder` in this node's cache, named by its content: the same for every storage.

    vLLM caches compiled code under a key that includes the model's path.
    """
    link = node_cache() / "bases" / digest[:16]
    link.parent.mkdir(parents=True, exist_ok=True)
    draft = link.with_name(f".draft-{uuid.uuid4().hex}")
    draft.symlink_to(folder, target_is_directory=True)
    draft.replace(link)  # an older link may point to a deleted storage
    return link


def local_checkpoint(model_id: str, revision: str) -> Path:
    """The hub model's files at that commit, fetched into this node's cache once."""
    from huggingface_hub import snapshot_download

    fetched: list[str] = list(FETCHED)
    return Path(snapshot_download(model_id, revision=revision, allow_patterns=fetched))


def nf4_config(compute_dtype: torch.dtype) -> BitsAndBytesConfig:
    """NF4 with double quantization (Dettmers et al. 2023), as in QLoRA."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
    )
