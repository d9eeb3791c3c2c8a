"""Adapters that existed before the study, and what an engine needs of any adapter."""

from __future__ import annotations

from weirdgen.generation.engine import Adapter
from weirdgen.models.adapters import ADAPTER as FOLDER
from weirdgen.models.adapters import SERVED_AS, FoundAdapter
from weirdgen.pipeline.run_step import RunningStep
from weirdgen.pipeline.stages.base import Stage
from weirdgen.pipeline.stages.given import GivenStep

ADAPTER = Stage("adapter", "driver")


def adapter_step(found: FoundAdapter) -> GivenStep:
    """The step of an existing adapter; its identity is its files' content."""
    return GivenStep(ADAPTER.step(found.name, {}, files=found.hashes), found.write)


def adapter_of(running: RunningStep) -> Adapter | None:
    """The adapter that a step consumes, trained or existing; None for the base model."""
    folder = running.inputs.get("adapter")
    if folder is None:
        return None
    served_as = folder / SERVED_AS
    name = served_as.read_text(encoding="utf-8") if served_as.is_file() else ""
    return Adapter(running.step.inputs["adapter"], folder / FOLDER, name)
