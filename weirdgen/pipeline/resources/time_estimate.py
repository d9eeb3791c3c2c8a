"""How long the rest of a study takes on GPUs: as its own finished steps took, else at measured rates.

Rates were measured on an NVIDIA H100 80GB (benchmarks/README.md); a new one is a line of MEASURED.
Between two sizes, and between two numbers of stacked trainings, they are interpolated on logarithms.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np

from weirdgen.config.study import Train
from weirdgen.data.lengths import TOKENS_PER_WORD
from weirdgen.pipeline.resources.placement import Placement, generates_on_gpu, trains_on_gpu
from weirdgen.pipeline.stages.aligned import rows_to_generate
from weirdgen.pipeline.stages.responses import n_samples
from weirdgen.pipeline.state import StudyState


class Point(NamedTuple):
    """A measured rate of training."""

    trainer: str
    together: int
    parameters: float
    tokens_per_s: float
    """Summed over the trainings of the process: prompts and completions, without padding."""


CHECKPOINTED = {"trl": 1.5, "stacked": 1.15}
"""Slow-down by gradient checkpointing, which runs the forward pass twice: assumed for TRL, measured for
stacked trainings of a large base.
"""
MEASURED = (
    Point("trl", 1, 134_515_008, 8_486),
    Point("trl", 1, 8_030_261_248, CHECKPOINTED["trl"] * 7_828),
    Point("stacked", 1, 134_515_008, 31_105),
    Point("stacked", 8, 134_515_008, 179_562),
    Point("stacked", 1, 8_030_261_248, 13_149),
)
"""Without gradient checkpointing."""
FLOP_PER_S = 0.6 * 800e12
"""Upper bound of a training's 16-bit arithmetic on an H100."""
FLOP_PER_PARAMETER = 4
"""For each token: forward, and backward to the inputs alone."""
START_S = {"trl": 30.0, "stacked": 25.0}
"""Seconds from a process's start until its updates run at full pace."""
ENGINE_START_S = 120.0
GENERATED = {134_515_008.0: 30_512.0, 8_030_261_248.0: 12_251.0}
"""Parameters -> tokens/s of vLLM with seeds and an adapter."""


@dataclass(frozen=True)
class TimeEstimate:
    """What is left to do, in seconds of whole GPUs, however many processes share one."""

    training_s: float
    longest_s: float
    """The longest training process, which more GPUs do not make shorter."""
    starts_s: float
    """Starts of the engine."""
    generation_s: float
    own: frozenset[str]
    """Which of `training` and `generation` come from the study's own finished steps."""

    @property
    def gpu_s(self) -> float:
        return self.training_s + self.starts_s + self.generation_s

    def wall_s(self, gpus: float) -> float:
        """Wall-clock seconds on so many GPUs, if trainings and engines hardly wait for each other."""
        training = max(self.training_s / gpus, self.longest_s)
        return training + self.starts_s + self.generation_s / gpus


def hours(state: StudyState, placed: Placement) -> TimeEstimate | None:
    """How long the rest takes; None without finished steps of its own and without a known model."""
    study, own = state.plan.study, set()
    processes, per_row = _processes(state, placed), _own_s_per_row(state)
    shape = state.plan.model.shape
    walls: list[float] = []
    beside = max(1, min(placed.processes, len(processes)))
    if trains_on_gpu(study) and processes:
        if per_row is not None:
            own.add("training")
            walls = [per_row * process.rows for process in processes]
        elif shape is not None:
            walls = [_training_s(study.train, shape.parameters, each, beside) for each in processes]
        else:
            return None
    starts = generation = 0.0
    if generates_on_gpu(study) and (tokens := _tokens_to_generate(state)):
        per_token = _own_s_per_token(state)
        if per_token is not None:
            own.add("generation")
        elif shape is not None:
            per_token = 1 / _between(GENERATED, shape.parameters)
        else:
            return None
        generation = tokens * per_token
        unmade = any(rows_to_generate(s) and not state.is_done(s) for s in state.plan.shared)
        turns = placed.takes_turns and unmade and bool(processes)
        starts = ENGINE_START_S * (2 if turns else 1)
    return TimeEstimate(
        sum(walls) / beside, max(walls, default=0.0), starts, generation, frozenset(own)
    )


class Process(NamedTuple):
    """Trainings that run in one process."""

    together: int
    rows: int
    """Over all epochs, of all trainings."""
    tokens: float


def _processes(state: StudyState, placed: Placement) -> list[Process]:
    """The trainings that are left, in the batches in which they will run."""
    plan = state.plan
    epochs, most = plan.study.train.epochs, 1
    if plan.study.train.trainer == "stacked":
        most = placed.resources.trainings_together
    trainings = plan.trainings.items()
    left = Counter(cell.fraction for cell, step in trainings if not state.is_done(step))
    processes = []
    for fraction, count in left.items():
        assert plan.lengths is not None  # there are trainings
        persona, aligned = plan.counts[fraction]
        tokens = persona * plan.lengths.persona + aligned * plan.lengths.aligned
        for first in range(0, count, most):
            n = min(most, count - first)
            processes.append(Process(n, n * epochs * (persona + aligned), n * epochs * tokens))
    return processes


def _own_s_per_row(state: StudyState) -> float | None:
    """Mean seconds per row of the trainings finished on GPUs; None before there are any."""
    seconds = rows = 0.0
    for cell, step in state.plan.trainings.items():
        made = state.done.get(step.fingerprint)
        if made is not None and "gpu" in made.hardware:
            seconds += made.wall_s / made.notes.get("batched_steps", 1)
            rows += state.plan.study.train.epochs * sum(state.plan.counts[cell.fraction])
    return seconds / rows if rows else None


def _training_s(train: Train, parameters: float, process: Process, beside: int) -> float:
    """Seconds of one process at measured rates, with so many on the same GPU."""
    bound = FLOP_PER_S / FLOP_PER_PARAMETER / parameters / beside
    rate = min(training_rate(train.trainer, process.together, parameters), bound)
    slower = CHECKPOINTED[train.trainer] if train.gradient_checkpointing else 1.0
    return START_S[train.trainer] + slower * process.tokens / rate


@cache
def training_rate(trainer: str, together: int, parameters: float) -> float:
    """Tokens/s of one process that has a GPU to itself, without gradient checkpointing."""
    of_size: dict[float, dict[float, float]] = {}
    for point in MEASURED:
        if point.trainer == trainer:
            of_size.setdefault(point.parameters, {})[point.together] = point.tokens_per_s
    rates = {size: _between(points, together) for size, points in of_size.items()}
    return _between(rates, parameters) * min(1.0, max(rates) / parameters)


def _tokens_to_generate(state: StudyState) -> float:
    """Tokens of the missing responses and aligned examples, each at its longest."""
    plan = state.plan
    of_answer = plan.study.evaluate.sampling.max_new_tokens
    rows = sum(rows_to_generate(step) for step in plan.shared if not state.is_done(step))
    of_row = plan.study.aligned.max_words * TOKENS_PER_WORD
    return state.count_missing(plan.response_sets) * of_answer + rows * of_row


def _own_s_per_token(state: StudyState) -> float | None:
    """Mean seconds per possible token of the responses generated on GPUs; None before there are any."""
    seconds = tokens = 0.0
    per_sample = len(state.plan.persona.heldout) * state.plan.study.evaluate.sampling.max_new_tokens
    for step, made in (each for ranges in state.ranges.values() for each in ranges):
        if "gpu" in made.hardware:
            seconds += made.wall_s / made.notes.get("batched_steps", 1)
            tokens += n_samples(step) * per_sample
    return seconds / tokens if tokens else None


def _between(points: Mapping[float, float], at: float) -> float:
    """Interpolate on logarithmic scales; outside of the points, take the nearest."""
    known = sorted(points)
    logs = np.interp(np.log(at), np.log(known), np.log([points[each] for each in known]))
    return float(np.exp(logs))
