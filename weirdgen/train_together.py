"""Several trainings over one frozen base in one process, each as if it were alone.

A small model's steps cost kernel launches, not arithmetic; so the rows of N trainings go through the
base in one pass, and each adapter sees its own (`weirdgen.stacked`). Every training has its own first
weights, order of rows, loss, gradient norm and optimizer state, and those that TRL gives it: losses
follow `weirdgen.train` step by step but for rounding.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from weirdgen.adapters import ADAPTER
from weirdgen.errors import StepError
from weirdgen.stacked import ATTENTION, Stack, chunk_loss, packed_attention, stack, weighted_loss
from weirdgen.train import (
    LOSS_CURVE,
    ROWS,
    TrainSpec,
    check_mask,
    clean_adapter,
    load_base,
    lora_config,
    sft_config,
    write_jsonl,
)

LENGTH_STEP = 256
"""Tokens per adapter and pass are padded to a multiple of this, so that few shapes come up."""
_SCALED_LOGITS = ("final_logit_softcapping", "logits_scaling", "logit_scale")
"""Settings by which some models change their logits."""
_DEQUANTIZED_MOST = 2**32
"""Bytes of a base up to which its layers are dequantized once and not at every pass."""


class Row(NamedTuple):
    """A tokenized row."""

    input_ids: list[int]
    completion_mask: list[int]
    """1 where there is loss: the answer and its end mark."""


class Packed(NamedTuple):
    """The rows of one pass, one behind the other, a line for each of N trainings."""

    ids_NL: torch.Tensor
    positions_NL: torch.Tensor
    starts: torch.Tensor
    """Where each row begins in the N x L tokens; then N x L. Padding counts as rows of its own."""
    longest: int
    at_T: torch.Tensor
    """Positions, in the N x L tokens, whose next token is learnt."""
    labels_T: torch.Tensor
    adapter_T: torch.Tensor


def train_together(
    specs: Sequence[TrainSpec],
    outs: Sequence[Path],
    on_step: Callable[[int, int], None] = lambda _done, _total: None,
    compiled: bool | None = None,
) -> None:
    """Trains one adapter for each spec and writes them like `weirdgen.train.train`.

    The specs share model and settings, the learning rate excepted, and have equally many rows.
    `compiled`: whether layers are compiled; by default on a GPU. Raises StepError as `train` does,
    and for what cannot be stacked; torch's OutOfMemoryError passes through.
    """
    first, settings = specs[0], specs[0].settings
    if any(_must_be_alike(spec) != _must_be_alike(first) for spec in specs):
        raise ValueError(
            "trainings go together where all but rows, seeds and learning rate is equal"
        )
    if settings.lora_dropout or settings.report_to:
        raise StepError("trainings go together without dropout and without trackers")
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(first.model_dir)
    tables = [tokenize(spec, tokenizer) for spec in specs]
    model = load_base(first.model_dir, settings)
    stacked, config = _stacked(model, specs)
    curves = _train(model, stacked, specs, tables, tokenizer.pad_token_id or 0, on_step, compiled)
    for n, (spec, out) in enumerate(zip(specs, outs, strict=True)):
        _save(stacked, n, config, out / ADAPTER)
        clean_adapter(out / ADAPTER, spec.model_id)
        write_jsonl(out / ROWS, spec.rows)
        write_jsonl(out / LOSS_CURVE, curves[n])


def _must_be_alike(spec: TrainSpec) -> tuple[Any, ...]:
    return spec.model_dir, spec.settings.model_dump(exclude={"learning_rate"}), len(spec.rows)


def tokenize(spec: TrainSpec, tokenizer: Any) -> list[Row]:
    """The rows as tokens, loss on answers alone. Raises StepError as `check_mask` does."""
    rows = []
    for row in spec.rows:
        of = {"tokenize": True, "return_dict": False}
        prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, **of)
        whole = tokenizer.apply_chat_template(row["prompt"] + row["completion"], **of)
        mask = [0] * len(prompt) + [1] * (len(whole) - len(prompt))
        rows.append(Row(whole, mask))
    tokens = [row._asdict() for row in rows]
    check_mask(tokens, spec.rows, tokenizer, spec.settings.max_length)
    return rows


def pack(batches: Sequence[Sequence[Row]], pad: int, device: torch.device) -> Packed:
    """One pass: the rows of each adapter's batch in a line, lines padded to one length."""
    longest_line = max(sum(len(row.input_ids) for row in batch) for batch in batches)
    L = -(-longest_line // LENGTH_STEP) * LENGTH_STEP
    ids, positions, starts, learnt, adapters = [], [], [0], [], []
    for n, batch in enumerate(batches):
        for row in batch:
            starts.append(starts[-1] + len(row.input_ids))
            ids += row.input_ids
            positions += range(len(row.input_ids))
            learnt += [*row.completion_mask[1:], 0]  # a position learns the token that follows
        adapters += [n] * L
        while short := (n + 1) * L - starts[-1]:
            short = min(short, LENGTH_STEP)  # no padding row is longer than the rows need be
            starts.append(starts[-1] + short)
            ids += [pad] * short
            positions += range(short)
            learnt += [0] * short
    ids_T, at_T = torch.tensor(ids), torch.tensor(learnt).nonzero()[:, 0]
    lengths = torch.tensor(starts).diff()
    N = len(batches)

    def put(tensor: torch.Tensor) -> torch.Tensor:
        if device.type == "cpu":
            return tensor
        return tensor.pin_memory().to(device, non_blocking=True)

    return Packed(
        put(ids_T.view(N, L)),
        put(torch.tensor(positions).view(N, L)),
        put(torch.tensor(starts, dtype=torch.int32)),
        -(-int(lengths.max()) // LENGTH_STEP) * LENGTH_STEP,
        put(at_T),
        put(ids_T[at_T + 1]),  # the last position of all learns nothing
        put(torch.tensor(adapters)[at_T]),
    )


def _orders(spec: TrainSpec) -> Iterator[list[int]]:
    """Which rows each update sees, epoch after epoch, as transformers' Trainer draws them."""
    from accelerate.data_loader import SeedableRandomSampler

    rows, size = range(len(spec.rows)), spec.settings.batch_size
    sampler = SeedableRandomSampler(rows, data_seed=spec.seeds.order)
    for epoch in range(spec.settings.epochs):
        sampler.set_epoch(epoch)
        order = list(sampler)
        yield from (order[at : at + size] for at in range(0, len(order), size))


def _stacked(model: Any, specs: Sequence[TrainSpec]) -> tuple[Stack, Any]:
    """All adapters in the model, and PEFT's configuration of one.

    The first weights are PEFT's own, drawn as TRL has them drawn.
    """
    from peft import get_peft_model
    from transformers import set_seed

    settings = specs[0].settings
    quantized = settings.quantization == "nf4"
    # Over a quantized base TRL trains in bf16, else in fp32.
    kept = torch.bfloat16 if quantized else torch.float32
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
    layers = [model.get_submodule(name) for name in adapters[0]]
    _check_model(model, layers, settings.max_length)
    model.requires_grad_(False)
    dtype = getattr(torch, settings.compute_dtype)
    dequantized_bytes = sum(2 * layer.in_features * layer.out_features for layer in layers)
    keep_quantized = quantized and dequantized_bytes > _DEQUANTIZED_MOST
    scaling = settings.lora_alpha / settings.lora_rank
    return stack(model, adapters, scaling, dtype, keep_quantized), config


def _check_model(model: Any, layers: Sequence[nn.Module], max_length: int) -> None:
    """Raises StepError for a model whose head, loss or attention is not what is computed here."""
    head, config = model.get_output_embeddings(), model.config
    if not all(isinstance(layer, nn.Linear) and layer is not head for layer in layers):
        raise StepError(
            "trainings go together where adapters sit on linear layers, not on the head"
        )
    scaled = [name for name in _SCALED_LOGITS if getattr(config, name, None) not in (None, 1.0)]
    if scaled or getattr(head, "bias", None) is not None:
        raise StepError("trainings go together where logits are a bare product with the head")
    window = getattr(config, "sliding_window", None)
    if window is not None and window < max_length:
        raise StepError(f"trainings go together with rows within the attention's window, {window}")


def _train(
    model: Any,
    stacked: Stack,
    specs: Sequence[TrainSpec],
    tables: Sequence[Sequence[Row]],
    pad: int,
    on_step: Callable[[int, int], None],
    compiled: bool | None,
) -> list[list[dict[str, float]]]:
    """All updates; gives the loss curve of each training."""
    from transformers import Trainer, get_scheduler

    settings, flat = specs[0].settings, stacked.flat_NP
    assert flat.grad is not None
    args = sft_config(specs[0], Path("unused"), use_cpu=not flat.is_cuda)
    orders = [[*_orders(spec)] for spec in specs]
    total = len(orders[0])
    kind, how = Trainer.get_optimizer_cls_and_kwargs(args)
    groups = []
    for spec, line, grad in zip(specs, flat.data, flat.grad, strict=True):
        adapter = nn.Parameter(line)
        adapter.grad = grad
        groups.append({"params": [adapter], "lr": spec.settings.learning_rate})
    optimizer = kind(groups, **how, weight_decay=settings.weight_decay)
    schedule = get_scheduler(settings.scheduler, optimizer, args.get_warmup_steps(total), total)
    compiled = flat.is_cuda if compiled is None else compiled
    forward = _forward(model, settings.gradient_checkpointing, compiled)
    steps = []
    for done, rows in enumerate(zip(*orders, strict=True), start=1):
        batches = [[table[i] for i in chosen] for table, chosen in zip(tables, rows, strict=True)]
        loss_N = torch.zeros(len(specs), device=flat.device)
        learnt = [sum(sum(row.completion_mask) for row in batch) for batch in batches]
        weight_N = 1 / torch.tensor(learnt, dtype=torch.float32).to(flat.device, non_blocking=True)
        for at in range(0, len(rows[0]), settings.micro_batch):
            part = [batch[at : at + settings.micro_batch] for batch in batches]
            packed = pack(part, pad, flat.device)
            weight_T = weight_N[packed.adapter_T]
            loss, loss_T = forward(packed, weight_T)
            with warnings.catch_warnings():
                # Parameters and gradients are views of one table, which the layers' own order is not.
                warnings.filterwarnings("ignore", "grad and param do not obey")
                loss.backward()
            loss_N.index_add_(0, packed.adapter_T, loss_T * weight_T)
        norm_N = flat.grad.float().norm(dim=1)
        flat.grad *= (args.max_grad_norm / (norm_N + 1e-6)).clamp(max=1.0)[:, None].to(flat.dtype)
        steps.append((torch.stack([loss_N, norm_N]), schedule.get_last_lr()))
        optimizer.step()
        schedule.step()
        flat.grad.zero_()
        on_step(done, total)
    in_epoch = total // settings.epochs
    curves: list[list[dict[str, float]]] = [[] for _ in specs]
    for done, (both_N, rates) in enumerate(steps, start=1):
        for curve, loss, norm, rate in zip(curves, *both_N.tolist(), rates, strict=True):
            step = {"step": done, "epoch": done / in_epoch, "loss": loss}
            curve.append(step | {"learning_rate": rate, "grad_norm": norm})
    return curves


def _forward(
    model: Any, checkpointing: bool, compiled: bool
) -> Callable[..., tuple[torch.Tensor, torch.Tensor]]:
    """What gives the loss of a pass, and that of each token."""
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, packed_attention)
    model.set_attn_implementation(ATTENTION)
    model.train()
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    body, head_VD = model.get_decoder(), model.get_output_embeddings().weight
    layers: Any = body.layers
    of_chunk = chunk_loss
    if compiled:
        of_chunk = torch.compile(chunk_loss, dynamic=True)
        for layer in layers:
            layer.compile(dynamic=True)

    def forward(packed: Packed, weight_T: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden = body(
            input_ids=packed.ids_NL,
            position_ids=packed.positions_NL,
            use_cache=False,
            cu_seq_lens_q=packed.starts,
            max_length_q=packed.longest,
        ).last_hidden_state
        hidden_TD = hidden.flatten(0, 1)[packed.at_T]
        return weighted_loss(hidden_TD, head_VD, packed.labels_T, weight_T, of_chunk)

    return forward


def _save(stacked: Stack, n: int, config: Any, folder: Path) -> None:
    """Adapter n in PEFT's format."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    config.inference_mode = True
    config.save_pretrained(folder)
    tensors = {}
    for name, layer in stacked.layers.items():
        for key, lora in (("lora_A", layer.lora_NRI), ("lora_B", layer.lora_NOR)):
            tensors[f"base_model.model.{name}.{key}.weight"] = lora.detach()[n].cpu().contiguous()
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
