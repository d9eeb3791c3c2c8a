"""The base model's checkpoint, where it does not come from the hub."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from weirdgen.errors import NodeError
from weirdgen.models.checkpoints import local_checkpoint, write_checkpoint
from weirdgen.models.identity import Model, resolve_model
from weirdgen.pipeline.run_step import Inputs, RunningStep
from weirdgen.pipeline.stages.base import Stage
from weirdgen.storage.artifacts import Step


def model_step(model: Model) -> tuple[Step, Callable[[Path], None] | None] | None:
    """The step, and what writes a local folder's; None for a model that nodes fetch themselves."""
    if model.kind not in ("embedded", "folder"):
        return None
    step = MODEL.step(model.name, {}, model=model.identity)
    return step, (lambda out: write_checkpoint(model, out)) if model.kind == "folder" else None


def run_model(steps: Sequence[RunningStep]) -> None:
    """Write the bf16 checkpoint of an embedded model."""
    (running,) = steps
    identity = running.record["model"]
    model = resolve_model(identity["id"], "", Path())
    if model.identity != identity:
        raise NodeError(f"{model.id}: this node has other weights than the plan was made for")
    write_checkpoint(model, running.out)


def base_checkpoint(record: dict[str, Any], inputs: Inputs) -> Path:
    """The base model's folder: the step's input, or a hub model at its commit."""
    model = record["model"]
    return inputs.get("model") or local_checkpoint(model["id"], model["revision"])


def served_base(record: dict[str, Any], inputs: Inputs) -> Path | str:
    """What an engine opens for this step: the base's folder, or its name at the endpoint."""
    if record["engine"]["kind"] == "endpoint":
        return record["model"]["id"]
    return base_checkpoint(record, inputs)


MODEL = Stage("model", "cpu", run=run_model)
