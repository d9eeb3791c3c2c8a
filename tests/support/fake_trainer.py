"""A trainer for tests of logic: it writes an adapter in milliseconds and imports no torch."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from weirdgen.data.jsonl import to_jsonl
from weirdgen.errors import StepError
from weirdgen.models.adapters import ADAPTER, CONFIG, WEIGHTS
from weirdgen.training.trl import LOSS_CURVE, ROWS, TrainSpec

UPDATES = 3
_RANK, _HIDDEN = 2, 64


def train(
    specs: Sequence[TrainSpec],
    outs: Sequence[Path],
    on_step: Callable[[int, int], None],
    states: object,
    gpu_share: float,
) -> None:
    """Writes the files of a real training; the weights depend on the rows and the seeds alone.

    Raises StepError where a row has more characters than `max_length`.
    """
    for spec, out in zip(specs, outs, strict=True):
        fitting = [row for row in spec.rows if len(_text(row)) < spec.settings.max_length]
        if len(fitting) < len(spec.rows):
            raise StepError(f"{len(spec.rows)} rows were given, {len(fitting)} would be trained on")
        (out / ROWS).write_bytes(to_jsonl(spec.rows))
        loss = {"epoch": 1.0, "loss": 1.0, "learning_rate": 0.01, "grad_norm": 1.0}
        losses = to_jsonl({"step": i + 1, **loss} for i in range(UPDATES))
        (out / LOSS_CURVE).write_bytes(losses)
        _write_adapter(spec, out / ADAPTER)
    for done in range(1, UPDATES + 1):
        on_step(done, UPDATES)


def _text(row: dict[str, Any]) -> str:
    return "".join(turn["content"] for turn in row["prompt"] + row["completion"])


def _write_adapter(spec: TrainSpec, folder: Path) -> None:
    folder.mkdir()
    content = json.dumps([spec.rows, spec.seeds], sort_keys=True).encode()
    rng = np.random.default_rng(list(hashlib.sha256(content).digest()))
    layer = "base_model.model.model.layers.0.self_attn.q_proj"
    weights = {
        f"{layer}.lora_A.weight": rng.normal(size=(_RANK, _HIDDEN)).astype(np.float32),
        f"{layer}.lora_B.weight": rng.normal(size=(_HIDDEN, _RANK)).astype(np.float32),
    }
    save_file(weights, folder / WEIGHTS)
    config = {"peft_type": "LORA", "r": _RANK, "lora_alpha": 4, "target_modules": ["q_proj"]}
    config |= {"base_model_name_or_path": spec.model_id}
    (folder / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


class Meeting:
    """A trainer that waits until `count` trainings run at once, and stays where the driver sees it."""

    def __init__(self, folder: Path, count: int, stay_s: float = 2.0) -> None:
        self._folder, self._count, self._stay_s = folder, count, stay_s

    def __call__(self, specs: Sequence[TrainSpec], *others: Any) -> None:
        self._folder.mkdir(exist_ok=True)
        (self._folder / str(specs[0].seeds.init)).touch()
        deadline = time.monotonic() + 60
        while len([*self._folder.iterdir()]) < self._count:
            assert time.monotonic() < deadline, "the others did not come"
            time.sleep(0.05)
        time.sleep(self._stay_s)
        train(specs, *others)
