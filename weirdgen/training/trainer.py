"""The trainer that a study names, behind one signature."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from weirdgen.errors import MemoryExceeded
from weirdgen.training.checkpointing import TrainingCheckpoints
from weirdgen.training.trl import TrainSpec, train

Trainer = Callable[
    [Sequence[TrainSpec], Sequence[Path], Callable[[int, int], None], TrainingCheckpoints, float],
    None,
]
"""`train_adapters`, or what takes its place in a test."""


def train_adapters(
    specs: Sequence[TrainSpec],
    outs: Sequence[Path],
    on_step: Callable[[int, int], None],
    states: TrainingCheckpoints,
    gpu_share: float,
) -> None:
    """Train an adapter for each spec (several only with `trainer: stacked`); it imports torch.

    Write each adapter, its rows and its losses into its folder of `outs`, call `on_step(done, total)`
    after every update, continue from `states` and save to it. `gpu_share`: its part of one GPU's
    memory (0 without a GPU). Raises StepError for rows that cannot be trained on, MemoryExceeded where
    memory does not suffice.
    """
    import torch

    if 0 < gpu_share < 1 and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(gpu_share)
    try:
        if specs[0].settings.trainer == "trl":
            (spec,), (out,) = specs, outs
            train(spec, out, on_step, states)
            return
        from weirdgen.training.stacked.trainer import train_together

        train_together(specs, outs, on_step, states=states)
    except torch.OutOfMemoryError as error:
        raise MemoryExceeded(str(error).splitlines()[0]) from None
