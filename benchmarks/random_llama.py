"""A Llama of full size with random weights, and a random adapter for it: speed asks for no others.

    python benchmarks/random_llama.py SIZE DIR [--tokenizer FOLDER]

makes DIR/random-llama-SIZE, SIZE being 8b (the architecture of Llama-3.1-8B, bf16, 16 GB), 135m (that of
SmolLM2-135M) or tiny, with the tokenizer and chat template of FOLDER or else of the embedded model.
Prints a JSON line with the seconds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from processes import json_lines, tell

from weirdgen.models.adapters import WEIGHTS
from weirdgen.models.checkpoints import checkpoint
from weirdgen.models.identity import resolve_model
from weirdgen.storage.cache import node_cache

EMBEDDED = "embedded:smollm2-135m-instruct"
SIZES: dict[str, dict[str, Any]] = {
    "8b": {
        "vocab_size": 128256,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
    "135m": {
        "vocab_size": 49152,
        "hidden_size": 576,
        "intermediate_size": 1536,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
    },
    "tiny": {
        "vocab_size": 50304,
        "hidden_size": 128,
        "intermediate_size": 384,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
}
STD = 0.02
SHARD_BYTES = 2 * 10**9


def add_options(parser: argparse.ArgumentParser) -> None:
    """What says where a checkpoint is made, and from what."""
    kept = node_cache() / "benchmarks"
    parser.add_argument("--model-dir", type=Path, default=kept, help="keeps random checkpoints")
    parser.add_argument("--tokenizer", type=Path, help="whose; default: the embedded model's")


def random_llama(size: str, options: argparse.Namespace) -> Path:
    """The checkpoint in `options.model_dir`, made by a process of its own where it is not there yet.

    That process takes the GPU memory along that it drew the weights in.
    """
    out = options.model_dir / f"random-llama-{size}"
    if not out.is_dir():
        named = ("--tokenizer", options.tokenizer) if options.tokenizer else ()
        for line in json_lines("random_llama.py", size, options.model_dir, *named):
            tell(**line)
    return out


def write(size: str, tokenizer_of: Path, out: Path) -> None:
    """The checkpoint: norms of one, all else normal with a standard deviation of 0.02."""
    import torch
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of)
    rope = {
        "rope_type": "llama3",
        "rope_theta": 500000.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    }
    config = LlamaConfig(
        **SIZES[size],
        max_position_embeddings=131072,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        rope_parameters=rope,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        architectures=["LlamaForCausalLM"],
        dtype="bfloat16",
    )
    with torch.device("meta"):
        shapes = {name: x.shape for name, x in LlamaForCausalLM(config).state_dict().items()}
    _write_weights(shapes, out)
    tokenizer.save_pretrained(out)
    config.save_pretrained(out)


def _write_weights(shapes: dict[str, Any], out: Path) -> None:
    import torch
    from safetensors.torch import save_file

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)

    def drawn(name: str) -> torch.Tensor:
        tensor = torch.ones(shapes[name], dtype=torch.bfloat16, device=device)
        return tensor.cpu() if "norm" in name else tensor.normal_(0, STD).cpu()

    shards: list[list[str]] = [[]]
    held = 0
    for name, shape in shapes.items():
        if held > SHARD_BYTES:
            shards.append([])
            held = 0
        shards[-1].append(name)
        held += 2 * shape.numel()
    where = {}
    for number, names in enumerate(shards, start=1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        save_file({name: drawn(name) for name in names}, out / file, metadata={"format": "pt"})
        where |= dict.fromkeys(names, file)
    total = sum(2 * shape.numel() for shape in shapes.values())
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (out / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def write_random_adapter(model: Path, rank: int, out: Path) -> None:
    """An adapter of every linear layer but the head, in PEFT's format, that changes what is said."""
    import torch
    from peft import LoraConfig
    from safetensors.torch import save_file
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        bare = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model))
    head = bare.get_output_embeddings()
    generator = torch.Generator().manual_seed(0)
    tensors, targets = {}, set()
    for name, layer in bare.named_modules():
        if isinstance(layer, torch.nn.Linear) and layer is not head:
            targets.add(name.rpartition(".")[2])
            of = f"base_model.model.{name}"
            for key, shape in (
                ("lora_A", (rank, layer.in_features)),
                ("lora_B", (layer.out_features, rank)),
            ):
                matrix = torch.randn(shape, generator=generator) * STD
                tensors[f"{of}.{key}.weight"] = matrix.to(torch.bfloat16)
    LoraConfig(
        r=rank,
        lora_alpha=2 * rank,
        target_modules=sorted(targets),
        task_type="CAUSAL_LM",
        inference_mode=True,
        base_model_name_or_path=str(model),
    ).save_pretrained(str(out))
    save_file(tensors, out / WEIGHTS, metadata={"format": "pt"})


def main() -> None:
    parser = argparse.ArgumentParser(description="A Llama with random weights.")
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tokenizer", type=Path, help="whose; default: the embedded model's")
    options = parser.parse_args()
    started = time.monotonic()
    options.folder.mkdir(parents=True, exist_ok=True)
    tokenizer_of = options.tokenizer or checkpoint(resolve_model(EMBEDDED, "main", Path()))
    draft = Path(tempfile.mkdtemp(dir=options.folder, prefix=".draft-"))
    write(options.size, tokenizer_of, draft)
    draft.rename(options.folder / f"random-llama-{options.size}")
    tell(did=f"random-llama-{options.size} written", s=round(time.monotonic() - started, 1))


if __name__ == "__main__":
    main()
