"""Several training runs over one frozen base in one process, each as if it were alone.

A small model's step costs kernel launches, not arithmetic. So the rows of N training runs go through
the base in one pass, and each adapter sees its own (`weirdgen.training.stacked.layers`). Initial
weights, row order, loss, gradient norm and optimizer state are separate, and the same as TRL's:
losses follow `weirdgen.training.trl` step by step up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from weirdgen.config.study import Train
from weirdgen.data.jsonl import to_jsonl
from weirdgen.errors import StepError
from weirdgen.models.adapters import ADAPTER
from weirdgen.models.memory import is_large
from weirdgen.training.checkpointing import TrainingCheckpoints
from weirdgen.training.stacked.cuda_graphs import PassRunner
from weirdgen.training.stacked.layers import Stack, stack
from weirdgen.training.stacked.optimizer import StackedOptimizer
from weirdgen.training.stacked.packing import Batches, Packed, Row, pack, sizes, tokenize
from weirdgen.training.trl import (
    LOSS_CURVE,
    ROWS,
    TrainSpec,
    clean_adapter,
    load_base,
    lora_config,
)

_SCALED_LOGITS = ("final_logit_softcapping", "logits_scaling", "logit_scale")
"""Settings by which some models change their logits."""


class ExecutionOptions(NamedTuple):
    """How passes are executed."""

    recorded: bool
    """Replayed from CUDA graphs."""
    compiled: bool
    """With compiled layers, which take a minute at the start."""
    dequantized: bool
    """A quantized base is dequantized once instead of for each product."""


def train_together(
    specs: Sequence[TrainSpec],
    outs: Sequence[Path],
    on_step: Callable[[int, int], None] = lambda _done, _total: None,
    how: ExecutionOptions | None = None,
    states: TrainingCheckpoints | None = None,
) -> None:
    """Train one adapter per spec and write each like `weirdgen.training.trl.train`.

    The specs share the model and all settings except the learning rate, and have equally many rows.
    `how`: by default, a GPU uses CUDA graphs, a small base is dequantized, and a large one
    (`weirdgen.models.memory.is_large`) has its layers compiled on a GPU. `states`: checkpoints to
    continue from and to save to. Raises StepError as `train` does, and for what cannot be stacked;
    torch's OutOfMemoryError passes through.
    """
    first, settings = specs[0], specs[0].settings
    if any(_must_be_alike(spec) != _must_be_alike(first) for spec in specs):
        raise ValueError(
            "training runs go together where all but rows, seeds and learning rate is equal"
        )
    if settings.lora_dropout or settings.report_to:
        raise StepError("training runs go together without dropout and without trackers")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(first.model_dir)
    tables = tokenize(specs, tokenizer)
    model = load_base(first.model_dir, settings)
    adapters, config, model = _first_weights(model, specs)
    how = how or _best(model, settings)
    stacked = _stacked(model, adapters, settings, how)
    pad = tokenizer.pad_token_id or 0
    curves = _train(model, stacked, specs, tables, pad, on_step, how, states)
    for n, (spec, out) in enumerate(zip(specs, outs, strict=True)):
        _save(stacked, n, config, out / ADAPTER)
        clean_adapter(out / ADAPTER, spec.model_id)
        (out / ROWS).write_bytes(to_jsonl(spec.rows))
        (out / LOSS_CURVE).write_bytes(to_jsonl(curves[n]))


def _best(model: Any, settings: Train) -> ExecutionOptions:
    head = model.get_output_embeddings()
    linear = (x for x in model.modules() if isinstance(x, nn.Linear) and x is not head)
    large = is_large(sum(layer.in_features * layer.out_features for layer in linear))
    on_gpu = torch.cuda.is_available()
    # In fp32 attention asks where rows begin, and a recomputation for the generator's state: neither can be recorded.
    can_be = settings.compute_dtype == "bfloat16" and not settings.gradient_checkpointing
    return ExecutionOptions(
        recorded=on_gpu and can_be,
        compiled=on_gpu and large,
        dequantized=not large,
    )


def _must_be_alike(spec: TrainSpec) -> tuple[Any, ...]:
    return spec.model_dir, spec.settings.model_dump(exclude={"learning_rate"}), len(spec.rows)


def _orders(spec: TrainSpec) -> Iterator[list[int]]:
    """The rows of each update, epoch after epoch, in the order of transformers' Trainer."""
    from accelerate.data_loader import SeedableRandomSampler

    rows, size = range(len(spec.rows)), spec.settings.batch_size
    sampler = SeedableRandomSampler(rows, data_seed=spec.seeds.order)
    for epoch in range(spec.settings.epochs):
        sampler.set_epoch(epoch)
        order = list(sampler)
        yield from (order[at : at + size] for at in range(0, len(order), size))


Adapters = Sequence[Mapping[str, tuple[torch.Tensor, torch.Tensor]]]
"""For each training run: layer name -> LoRA A and B."""


def _first_weights(model: Any, specs: Sequence[TrainSpec]) -> tuple[Adapters, Any, Any]:
    """Adapters as PEFT initializes them for TRL, the PEFT config, and the model without adapters."""
    from peft import get_peft_model
    from transformers import set_seed

    settings = specs[0].settings
    # Over a quantized base TRL trains in bf16, else in fp32.
    kept = torch.bfloat16 if settings.quantization == "nf4" else torch.float32
    adapters, config = [], None
    for spec in specs:
        set_seed(spec.seeds.init)
        wrapped: Any = get_peft_model(model, lora_config(settings))
        config = wrapped.peft_config["default"]
        adapters.append(
            {
                name: tuple(
                    x["default"].weight.detach().to(kept) for x in (layer.lora_A, layer.lora_B)
                )
                for name, layer in wrapped.base_model.model.named_modules()
                if hasattr(layer, "lora_A")
            }
        )
        model = wrapped.unload()
    return adapters, config, model


def _stacked(model: Any, adapters: Adapters, settings: Train, how: ExecutionOptions) -> Stack:
    """Put all adapters into the model."""
    layers = [model.get_submodule(name) for name in adapters[0]]
    _check_model(model, layers, settings.max_length)
    model.requires_grad_(False)
    dtype = getattr(torch, settings.compute_dtype)
    scaling = settings.lora_alpha / settings.lora_rank
    return stack(model, adapters, scaling, dtype, how.dequantized)


def _check_model(model: Any, layers: Sequence[nn.Module], max_length: int) -> None:
    """Raises StepError for a model whose head, loss or attention is computed otherwise."""
    head, config = model.get_output_embeddings(), model.config
    if not all(isinstance(layer, nn.Linear) and layer is not head for layer in layers):
        raise StepError(
            "training runs go together where adapters sit on linear layers, not on the head"
        )
    scaled = [name for name in _SCALED_LOGITS if getattr(config, name, None) not in (None, 1.0)]
    if scaled or getattr(head, "bias", None) is not None:
        raise StepError("training runs go together where logits are a bare product with the head")
    window = getattr(config, "sliding_window", None)
    if window is not None and window < max_length:
        raise StepError(
            f"training runs go together with rows within the attention's window, {window}"
        )


def _train(
    model: Any,
    stacked: Stack,
    specs: Sequence[TrainSpec],
    tables: Sequence[Sequence[Row]],
    pad: int,
    on_step: Callable[[int, int], None],
    how: ExecutionOptions,
    states: TrainingCheckpoints | None,
) -> list[list[dict[str, float]]]:
    """Run the remaining updates; return each training run's loss curve."""
    settings, on_gpu = specs[0].settings, stacked.flat_NP.is_cuda
    updates = list(_updates(specs, tables))
    total = len(updates)
    size_of = iter(sizes((each for parts in updates for each in parts), settings.micro_batch))
    update_sizes = [[next(size_of) for _ in parts] for parts in updates]
    make_update = StackedOptimizer(specs, stacked, total)
    first, latest = 0, states.latest() if states is not None else None
    if latest is not None:
        first, files_N = latest
        make_update.load(files_N)
    passes = PassRunner(model, stacked, settings.gradient_checkpointing, how.compiled)
    weights = [_weights(parts) for parts in updates]

    def packed(update: int, part: int) -> Packed:
        return pack(updates[update][part], update_sizes[update][part], weights[update], pad)

    if how.recorded:
        where = {size: (u, p) for u, line in enumerate(update_sizes) for p, size in enumerate(line)}
        passes.record(where, lambda size: packed(*where[size]))
    ended = torch.cuda.Event() if on_gpu else None
    for update in range(first, total):
        for part, size in enumerate(update_sizes[update]):
            passes(packed(update, part), size)
        make_update(passes.loss_N)
        passes.clear()
        if ended is not None:  # the next update is packed while this one runs
            ended.synchronize()
            ended = torch.cuda.current_stream().record_event()
        on_step(update + 1, total)
        if states is not None and update + 1 < total and states.is_due():
            states.save(update + 1, make_update.states())
    return make_update.curves()


def _updates(
    specs: Sequence[TrainSpec], tables: Sequence[Sequence[Row]]
) -> Iterator[list[list[list[Row]]]]:
    """The passes of each update: for each training run, the rows of a micro-batch."""
    micro_batch = specs[0].settings.micro_batch
    for rows in zip(*map(_orders, specs), strict=True):
        batches = [[table[i] for i in chosen] for table, chosen in zip(tables, rows, strict=True)]
        yield [
            [batch[at : at + micro_batch] for batch in batches]
            for at in range(0, len(rows[0]), micro_batch)
        ]


def _weights(parts: Sequence[Batches]) -> list[float]:
    """Weight of each training run's tokens in one update, whose loss is their mean."""
    lines = zip(*parts, strict=True)
    return [1 / sum(sum(row.completion_mask) for batch in line for row in batch) for line in lines]


def _save(stacked: Stack, n: int, config: Any, folder: Path) -> None:
    """Write adapter n in PEFT's format."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    config.inference_mode = True
    config.save_pretrained(folder)
    tensors = {}
    for name, layer in stacked.layers.items():
        for key, lora in (("lora_A", layer.lora_NRI), ("lora_B", layer.lora_NOR)):
            tensors[f"base_model.model.{name}.{key}.weight"] = lora.detach()[n].cpu().contiguous()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
