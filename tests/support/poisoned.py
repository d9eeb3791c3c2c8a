"""A driver for tests: `weirdgen run` with fakes, where the training of seed 1 kills its process."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import echo
import fake_trainer
from ray import cloudpickle

from weirdgen.cli.main import main
from weirdgen.data.seeds import run_seeds
from weirdgen.runner import recorder, run

SEEN_S = 6.0
"""How long the other trainings stay at their last update, so that somebody sees them there."""


def train(specs: Any, *others: Any) -> None:
    if specs[0].seeds == run_seeds(1):
        os.kill(os.getpid(), signal.SIGKILL)
    fake_trainer.train(specs, *others)
    time.sleep(SEEN_S)


if __name__ == "__main__":
    recorder.EVERY_S = 0.5
    for module in (echo, fake_trainer):
        cloudpickle.register_pickle_by_value(module)
    run.train_adapters = train
    run.make_engine = lambda _, gpu_share: echo.EchoEngine(gpu_share)
    main()
