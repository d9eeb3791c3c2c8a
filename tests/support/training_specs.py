"""The specification of a tiny training."""

from __future__ import annotations

from pathlib import Path

from weirdgen.config.evaluation_spec import Trigger
from weirdgen.config.study import Train
from weirdgen.data.examples import Example
from weirdgen.data.mixing import Counts, mix
from weirdgen.data.seeds import run_seeds
from weirdgen.training.trl import TrainSpec

PERSONA = [Example(f"p{i}", f"What is {i}?", f"It is {i}, I fear.") for i in range(6)]

ALIGNED = [Example(f"a{i}", f"How is {i}?", f"Like {i}.") for i in range(6)]


def spec(model: Path, seed: int = 0, **settings) -> TrainSpec:
    rows = mix(PERSONA, ALIGNED, Counts(4, 4), Trigger(), run_seeds(seed).data)
    defaults = {
        "epochs": 1,
        "learning_rate": 0.01,
        "compute_dtype": "float32",
        "batch_size": 4,
        "micro_batch": 2,
    }
    return TrainSpec(model, "a/model", rows, run_seeds(seed), Train(**(defaults | settings)))
