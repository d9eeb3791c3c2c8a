"""Describe how a study shares GPU memory, in lines for the plan and the run's log."""

from __future__ import annotations

from collections.abc import Iterator

from weirdgen.models.memory import Terms, gigabytes
from weirdgen.pipeline.resources.placement import Placement
from weirdgen.pipeline.state import StudyState


def memory_lines(state: StudyState, placed: Placement) -> Iterator[str]:
    """How trainings and the engine share a GPU, and what memory they need by reckoning."""
    gpus, resources = placed.gpus, placed.resources
    if gpus.bytes is None or state.plan.model.shape is None:
        unknown = "the GPU's" if gpus.bytes is None else "the model's"
        yield f"GPU memory: {unknown} is not known; nothing is checked"
        return
    yield f"GPU memory: {gpus.known} of {gigabytes(gpus.bytes)}"
    if placed.training is not None:
        train, together = state.plan.study.train, resources.trainings_together
        stacked = train.trainer == "stacked" and together > 1
        several = f", {together} trainings together" if stacked else ""
        beside = " beside the engine" if placed.engine and not placed.takes_turns else ""
        line = f"a training process{several}: {_terms(placed.training)}"
        yield f"{line}; {resources.gpus_per_training:g} of a GPU, {placed.processes} on one{beside}"
    if placed.engine is not None:
        turns = ", in turns with trainings" if placed.training and placed.takes_turns else ""
        line = f"an engine: {_terms(placed.engine)}; {resources.gpus_per_engine:g} of a GPU{turns}"
        yield line


def _terms(terms: Terms) -> str:
    """Such as `24.3 GB (context 0.6, weights 0.3)`."""
    parts = ", ".join(f"{name} {size / 1e9:.1f}" for name, size in terms.items())
    return f"{gigabytes(sum(terms.values()))} ({parts})"
