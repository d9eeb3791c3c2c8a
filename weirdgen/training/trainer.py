"""The trainer that a study names, behind one signature."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
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
        """Write each adapter, its rows and its losses into its folder of `outs`.

        Call `on_step(done, total)` after every update, continue from `states` and save to it.
        `gpu_share`: its part of one GPU's memory (0 without a GPU). Raises StepError for rows that
        cannot be trained on, MemoryExceeded where memory does not suffice.
        """
        ...


def make_trainer(name: str) -> Trainer:
    """The trainer that `train.trainer` names. It imports torch when it is called."""
    return partial(_train, name)


def _train(
    name: str,
    specs: Sequence[TrainSpec],
    outs: Sequence[Path],
    on_step: Callable[[int, int], None],
    states: TrainingCheckpoints,
    gpu_share: float,
) -> None:
    with _within_memory(gpu_share):
        if name == "trl":
            (spec,), (out,) = specs, outs
            train(spec, out, on_step, states)
            return
        from weirdgen.training.stacked.trainer import train_together

        train_together(specs, outs, on_step, states=states)


@contextmanager
def _within_memory(gpu_share: float) -> Iterator[None]:
    """Limit this process to its share of the GPU. Raises MemoryExceeded where that is too little."""
    import torch

    if 0 < gpu_share < 1 and torch.cuda.is_available():
        torch.cuda.set_per_process_memory_fraction(gpu_share)
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MemoryExceeded(str(error).splitlines()[0]) from None
