"""One QLoRA training run as one writes it by hand with TRL.

    python benchmarks/plain_train.py FOLDER

FOLDER holds cell.json and rows.jsonl, as `plain_cell.py` writes them; the adapter goes to
FOLDER/adapter. Prints a JSON line when the trainer is ready, and one when it has trained.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, TrainerCallback
from trl import SFTConfig, SFTTrainer

UNTIMED = 5
"""Updates that are left out of the seconds per update: the first are slower."""


class Stop(TrainerCallback):
    """Ends the training run after `steps` updates, the schedule being that of all, and times it."""

    def __init__(self, steps: int) -> None:
        self.steps, self.first = steps, min(UNTIMED, steps // 2)
        self.times: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        if state.global_step in (self.first, self.steps):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.times.append(time.monotonic())
        control.should_training_stop = state.global_step >= self.steps

    @property
    def s_per_update(self) -> float:
        return (self.times[1] - self.times[0]) / (self.steps - self.first)


def main() -> None:
    folder = Path(sys.argv[1])
    cell = json.loads((folder / "cell.json").read_text(encoding="utf-8"))
    settings, on_gpu = cell["settings"], torch.cuda.is_available()
    dtype = getattr(torch, settings["compute_dtype"])
    lines = (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    model = AutoModelForCausalLM.from_pretrained(
        cell["model"],
        dtype=dtype,
        device_map={"": 0 if on_gpu else "cpu"},
        quantization_config=BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        ),
    )
    stop = Stop(cell["steps"])
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(folder / "trainer"),
            num_train_epochs=settings["epochs"],
            learning_rate=settings["learning_rate"],
            lr_scheduler_type=settings["scheduler"],
            warmup_steps=settings["warmup_steps"],
            weight_decay=settings["weight_decay"],
            per_device_train_batch_size=settings["batch_size"],
            max_length=settings["max_length"],
            gradient_checkpointing=False,
            bf16=on_gpu and dtype == torch.bfloat16,
            use_cpu=not on_gpu,
            seed=cell["seeds"]["init"],
            data_seed=cell["seeds"]["order"],
            save_strategy="no",
            report_to="none",
        ),
        train_dataset=Dataset.from_list([json.loads(line) for line in lines]),
        processing_class=AutoTokenizer.from_pretrained(cell["model"]),
        peft_config=LoraConfig(
            r=settings["lora_rank"],
            lora_alpha=settings["lora_alpha"],
            lora_dropout=settings["lora_dropout"],
            target_modules=settings["target_modules"],
            task_type="CAUSAL_LM",
        ),
        callbacks=[stop],
    )
    print(json.dumps({"did": "ready to train"}), flush=True)
    trainer.train()
    did = {"did": "trained", "updates": trainer.state.global_step, "of": trainer.state.max_steps}
    print(json.dumps(did | {"s_per_update": round(stop.s_per_update, 4)}), flush=True)
    trainer.save_model(str(folder / "adapter"))


if __name__ == "__main__":
    main()
