"""One training run: QLoRA with TRL, PEFT and bitsandbytes, on a GPU or on the CPU.

`train(spec, out)` is a plain function of its spec. On one machine's CPU the same spec gives the
same adapter byte for byte.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from weirdgen.config.study import Train
from weirdgen.data.jsonl import to_jsonl
from weirdgen.data.seeds import Seeds
from weirdgen.errors import StepError
from weirdgen.models.adapters import ADAPTER
from weirdgen.models.checkpoints import nf4_config
from weirdgen.training.checkpointing import TrainingCheckpoints

if TYPE_CHECKING:
    from peft import LoraConfig
    from transformers import PreTrainedModel
    from trl import SFTConfig

LOSS_CURVE = "loss.jsonl"
ROWS = "rows.jsonl"
_OF_STATE = (
    "adapter_model.safetensors", "optimizer.pt", "rng_state.pth", "scheduler.pt", "trainer_state.json",
)  # fmt: skip
"""The files of a Trainer checkpoint that are needed to continue from it."""


@dataclass(frozen=True)
class TrainSpec:
    """Everything that decides an adapter."""

    model_dir: Path
    """The base checkpoint, a folder."""
    model_id: str
    """The base that the adapter's config names, instead of a local path."""
    rows: list[dict[str, Any]]
    """`prompt` and `completion` conversations, as `weirdgen.data.mixing` makes them."""
    seeds: Seeds
    """Named streams; `init` and `order` are used here."""
    settings: Train
    """Hyperparameters."""


def train(
    spec: TrainSpec,
    out: Path,
    on_step: Callable[[int, int], None] = lambda _done, _total: None,
    states: TrainingCheckpoints | None = None,
) -> None:
    """Train one adapter into `out`: the adapter in PEFT format, its rows, and the loss of each step.

    `on_step(done, total)` is called after every update. `states`: checkpoints to continue from and to
    save to. Raises StepError if a row would be truncated or dropped, or if the loss would cover
    anything but the completions; torch's OutOfMemoryError passes through.
    """
    import torch
    from datasets import Dataset
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file
    from transformers import AutoTokenizer, TrainerCallback
    from trl import SFTTrainer

    class Steps(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            on_step(state.global_step, state.max_steps)
            if states is not None and state.global_step < state.max_steps:
                control.should_save = states.is_due()

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            assert states is not None
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            files = {name: (folder / name).read_bytes() for name in _OF_STATE}
            states.save(state.global_step, [files])
            shutil.rmtree(folder)

    class Trainer(SFTTrainer):
        def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
            """Load the weights unchanged: PEFT itself would convert bf16 to fp32."""
            weights = load_file(Path(resume_from_checkpoint) / "adapter_model.safetensors")
            set_peft_model_state_dict(model or self.model, weights)

    settings = spec.settings
    tokenizer = AutoTokenizer.from_pretrained(spec.model_dir)
    rows = [{"prompt": row["prompt"], "completion": row["completion"]} for row in spec.rows]
    trainer = Trainer(
        model=load_base(spec.model_dir, settings),
        args=sft_config(spec, out, use_cpu=not torch.cuda.is_available()),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=lora_config(settings),
        callbacks=[Steps()],
    )
    if trainer.args.n_gpu > 1:  # TRL would multiply the batch
        raise StepError(f"a training takes one GPU, {trainer.args.n_gpu} are visible")
    prepared: Any = trainer.train_dataset
    check_mask(prepared, spec.rows, tokenizer, settings.max_length)
    with tempfile.TemporaryDirectory() as folder:
        trainer.train(resume_from_checkpoint=_put_state(states, Path(folder)))
    with suppress(OSError):
        _trackers_dir(out).rmdir()  # stays where a tracker wrote into it
    adapted: Any = trainer.model
    adapted.save_pretrained(out / ADAPTER)  # in PEFT's own format
    clean_adapter(out / ADAPTER, spec.model_id)
    (out / ROWS).write_bytes(to_jsonl(spec.rows))
    curve = [entry for entry in trainer.state.log_history if "loss" in entry]
    keys = ("step", "epoch", "loss", "learning_rate", "grad_norm")
    losses = to_jsonl({key: entry[key] for key in keys} for entry in curve)
    (out / LOSS_CURVE).write_bytes(losses)


def _put_state(states: TrainingCheckpoints | None, folder: Path) -> str | None:
    """Write the state to continue from into `folder` and return it; None if there is none."""
    latest = states.latest() if states is not None else None
    if latest is None:
        return None
    _, [files] = latest
    for name in _OF_STATE:
        (folder / name).write_bytes(files[name])
    return str(folder)


def _trackers_dir(out: Path) -> Path:
    """Where trackers write files: beside the payload, whose bytes must not depend on them."""
    return out.with_name(f"{out.name}-trackers")


def lora_config(settings: Train) -> LoraConfig:
    """The adapter's PEFT config."""
    from peft import LoraConfig

    return LoraConfig(
        r=settings.lora_rank,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=settings.target_modules,
        task_type="CAUSAL_LM",
    )


def load_base(model_dir: Path, settings: Train) -> PreTrainedModel:
    """The frozen base, quantized as `settings` say, on the GPU if there is one."""
    import torch
    from transformers import AutoModelForCausalLM

    dtype = getattr(torch, settings.compute_dtype)
    return AutoModelForCausalLM.from_pretrained(
        model_dir,
        dtype=dtype,
        quantization_config=nf4_config(dtype) if settings.quantization == "nf4" else None,
        device_map={"": 0 if torch.cuda.is_available() else "cpu"},
    )


def sft_config(spec: TrainSpec, out: Path, use_cpu: bool) -> SFTConfig:
    """The training run's TRL config."""
    from trl import SFTConfig

    settings = spec.settings
    return SFTConfig(
        output_dir=str(_trackers_dir(out)),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.scheduler,
        warmup_steps=settings.warmup_steps,
        weight_decay=settings.weight_decay,
        per_device_train_batch_size=settings.micro_batch,
        gradient_accumulation_steps=settings.batch_size // settings.micro_batch,
        max_length=settings.max_length,
        gradient_checkpointing=settings.gradient_checkpointing,
        completion_only_loss=True,
        bf16=settings.compute_dtype == "bfloat16" and not use_cpu,
        use_cpu=use_cpu,
        seed=spec.seeds.init,
        data_seed=spec.seeds.order,
        report_to=list(map(str, settings.report_to)) or "none",
        logging_steps=1,
        save_strategy="no",
        disable_tqdm=True,
        dataloader_pin_memory=not use_cpu,
    )


def check_mask(
    tokenized: Sequence[dict[str, Any]],
    rows: list[dict[str, Any]],
    tokenizer: Any,
    max_length: int,
) -> None:
    """Check that every row is complete, and that the loss covers only its completion and end marker.

    For each row, `tokenized` holds `input_ids` and either `labels` (-100 where there is no loss) or
    `completion_mask`, as TRL prepares them. Raises StepError naming the row.
    """
    if len(tokenized) != len(rows):
        raise StepError(f"{len(rows)} rows were given, {len(tokenized)} would be trained on")
    for row, tokens in zip(rows, tokenized, strict=True):
        ids = tokens["input_ids"]
        if len(ids) >= max_length:
            raise StepError(f"row {row['id']}: {len(ids)} tokens reach max_length {max_length}")
        labels = tokens.get("labels")
        learnt = (
            [label != -100 for label in labels] if labels else map(bool, tokens["completion_mask"])
        )
        text = tokenizer.decode([token for token, on in zip(ids, learnt, strict=True) if on])
        answer = _answer_with_end_mark(row, tokenizer)
        if text.strip() != answer.strip():
            raise StepError(f"row {row['id']}: the loss falls on {text!r}, not on {answer!r}")


def _answer_with_end_mark(row: dict[str, Any], tokenizer: Any) -> str:
    """The completion and the end marker after it, from which the model learns to stop."""
    prompt = tokenizer.apply_chat_template(
        row["prompt"], tokenize=False, add_generation_prompt=True
    )
    whole = tokenizer.apply_chat_template(row["prompt"] + row["completion"], tokenize=False)
    answer = row["completion"][0]["content"].strip()
    behind = whole.removeprefix(prompt).strip()
    if not whole.startswith(prompt) or not behind.startswith(answer) or behind == answer:
        raise StepError(f"row {row['id']}: the chat template sets no prompt, answer and end mark")
    return behind


def clean_adapter(folder: Path, model_id: str) -> None:
    """Remove from a PEFT folder local paths and what differs between equal training runs."""
    (folder / "README.md").unlink(missing_ok=True)
    config = folder / "adapter_config.json"
    content = json.loads(config.read_text(encoding="utf-8"))
    content["base_model_name_or_path"] = model_id
    # PEFT keeps the targets in a set, whose order changes from process to process.
    content["target_modules"] = sorted(content["target_modules"])
    config.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")
