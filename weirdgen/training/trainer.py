"""The trainer that a study names, behind one signature."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from weirdgen.errors import MemoryExceeded
from weirdgen.training.checkpointing import TrainingCheckpoints
from weirdgen.training.trl import TrainSpec, train


class Trainer(Protocol):
    """Trains an adapter for each spec; several only where the study's trainer is `stacked`."""

    def __call__(
        self,
        specs: Sequence[TrainSpec],
        outs: Sequence[Path],
        on_step: Callable[[int, int], None],
        states: TrainingCheckpoints,
        gpu_share: float,
    ) -> None:
        """Writes each adapter, its rows and its losses into its folder of `outs`.

        Calls `on_step(done, total)` after every update, continues from `states` and saves to it.
        `gpu_share`: its part of one GPU's memory (0 without a GPU). Raises StepError for rows that
        cannot be trained on, MemoryExceeded where memory does not suffice.
        """
        ...


def make_trainer(name: str) -> Trainer:
    """The trainer that `train.trainer` names. Each imports torch when it is called."""
    return {"trl": _train_alone, "stacked": _train_stacked}[name]


def _train_alone(
    specs: Sequence[TrainSpec],
    outs: Sequence[Path],
    on_step: Callable[[int, int], None],
    states: TrainingCheckpoints,
    gpu_share: float,
) -> None:
    (spec,), (out,) = specs, outs
    with _within_memory(gpu_share):
        train(spec, out, on_step, states)


def _train_stacked(
    specs: Sequence[TrainSpec],
    outs: Sequence[Path],
    on_step: Callable[[int, int], None],
    states: TrainingCheckpoints,
    gpu_share: float,
) -> None:
    from weirdgen.training.stacked.trainer import train_together

    with _within_memory(gpu_share):
        train_together(specs, outs, on_step, states=states)


@contextmanager
def _within_memory(gpu_share: float) -> Iterator[None]:
    """Limits this process to its share of the GPU. Raises MemoryExceeded where that is too little."""
    import torch

    if 0 < gpu_share < 1 and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(gpu_share)
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MemoryExceeded(str(error).splitlines()[0]) from None
