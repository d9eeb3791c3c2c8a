"""How trainings and engine share GPUs: `auto` becomes numbers, and what cannot fit is refused.

Ray packs fractions of GPUs without a look at memory: what has a share must fit into that share. No GPU
gets a second engine with an `auto` share, which is more than a half. What is done needs no room.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn

from weirdgen.config.study import AUTO, Resources, Study, Train
from weirdgen.data.lengths import Lengths
from weirdgen.errors import InputError
from weirdgen.models.architecture import ModelArchitecture
from weirdgen.models.memory import (
    ANSWERS_AT_ONCE,
    ENGINE_USABLE,
    Terms,
    engine_terms,
    gigabytes,
    training_terms,
)
from weirdgen.pipeline.resources.gpus import Gpus
from weirdgen.pipeline.state import StudyState

USABLE = 0.95
"""The part of its share of GPU memory that a training may use; driver and fragmentation take the rest."""
_ROUNDING = 1e-9
STEP = 0.05
"""Computed shares are multiples of this."""
LEAST_ENGINE, LEAST_TRAINING = 0.55, 0.1
"""The smallest shares that `auto` gives to an engine, and to a training by TRL."""
MOST_TOGETHER = 16
"""More stacked trainings than this gain little."""
LEAST_ANSWERS = 4
"""Responses of 512 tokens that an engine's cache must hold: vLLM requires room for one of full length."""
UNKNOWN = {"gpus_per_training": 1.0, "gpus_per_engine": 1.0, "trainings_together": 8}
"""Values of `auto` where memory is unknown."""


@dataclass(frozen=True)
class Placement:
    """The GPU shares and memory of a training and of an engine."""

    gpus: Gpus
    resources: Resources
    """With a number for each `auto`."""
    training: Terms | None
    """Memory of one training process; None if no training is left, on the CPU, or if unknown."""
    engine: Terms | None
    """Memory of an engine with a cache of the usual size; None as above."""

    @property
    def takes_turns(self) -> bool:
        """Whether no GPU holds a training beside an engine."""
        return not fit(self.resources.gpus_per_training, self.resources.gpus_per_engine)

    @property
    def processes(self) -> int:
        """Training processes on one GPU, beside an engine where they fit."""
        share = self.resources.gpus_per_training
        room = 1.0 if self.takes_turns else 1 - self.resources.gpus_per_engine
        return max(1, how_often(share, room)) if share else 1


def trains_on_gpu(study: Study) -> bool:
    """Whether trainings ask for GPUs."""
    return study.grid is not None and study.resources.gpus_per_training != 0


def generates_on_gpu(study: Study) -> bool:
    """Whether an engine asks for a GPU here."""
    return study.evaluate.engine != "endpoint" and study.resources.gpus_per_engine != 0


def uses_gpus(study: Study) -> bool:
    return trains_on_gpu(study) or generates_on_gpu(study)


def place(state: StudyState, gpus: Gpus, where: object) -> Placement:
    """Compute the GPU shares of trainings and engine for the rest of a study.

    Raises InputError (at `where`) for what does not fit into the smallest GPU. Where its memory or
    the model's is unknown, nothing is refused.
    """
    plan = state.plan
    study, shape = plan.study, plan.model.shape
    if gpus.bytes is None or shape is None:
        return Placement(gpus, _with_numbers(study.resources, UNKNOWN), None, None)
    untrained = any(not state.is_done(step) for step in plan.trainings.values())
    unasked = not all(map(state.is_done, plan.shared)) or any(
        map(state.missing, plan.response_sets)
    )
    trainings = engine = None
    if generates_on_gpu(study) and unasked:
        engine = _Engine(shape, study, gpus, where, plan.max_rank)
        engine.check()
    if trains_on_gpu(study) and untrained:
        assert plan.lengths is not None  # there are trainings
        trainings = _Trainings(shape, study, gpus, where, plan.lengths)
        trainings.check()
    resources = _with_numbers(study.resources, UNKNOWN | _shares(trainings, engine))
    if trainings is None:
        return Placement(gpus, resources, None, engine and engine.terms())
    trainings.check_shares(resources)
    together = resources.trainings_together if trainings.stacked else 1
    return Placement(gpus, resources, trainings.terms(together), engine and engine.terms())


def _shares(trainings: _Trainings | None, engine: _Engine | None) -> dict[str, float]:
    """The values of `auto`, given the shares that are set."""
    if trainings is None:
        return {}
    of_engine = engine.study.resources.gpus_per_engine if engine else 0.0
    if engine and of_engine == AUTO:
        of_engine = engine.share() if fit(engine.share(), trainings.least()) else 1.0
    of_training = trainings.share_beside(of_engine)
    shares = {"gpus_per_engine": of_engine, "gpus_per_training": of_training}
    return shares | (
        {"trainings_together": trainings.most(of_training)} if trainings.stacked else {}
    )


@dataclass(frozen=True)
class _OnGpu:
    """What needs room on a GPU."""

    shape: ModelArchitecture
    study: Study
    gpus: Gpus
    where: object
    usable: ClassVar[float]

    @property
    def room(self) -> float:
        """Bytes of a whole GPU."""
        assert self.gpus.bytes is not None  # else nothing is asked here
        return self.usable * self.gpus.bytes

    def refuse(self, field: str, problem: str, share: float = 1.0, instead: str = "") -> NoReturn:
        """Raises InputError: the need, the room of that share of a GPU, and what would do instead."""
        assert self.gpus.bytes is not None
        part = "" if share == 1 else f"{share:g} of "
        problem += f"; {part}{self.gpus.known} of {gigabytes(self.gpus.bytes)} has room for "
        raise InputError(self.where, field, problem + gigabytes(share * self.room) + instead)


@dataclass(frozen=True)
class _Engine(_OnGpu):
    """The engine."""

    max_rank: int
    usable = ENGINE_USABLE

    def terms(self, answers: int = ANSWERS_AT_ONCE) -> Terms:
        return engine_terms(self.shape, self.study.evaluate, self.max_rank, answers)

    def share(self) -> float:
        """What it needs, and so much that it is the only engine on its GPU."""
        return min(1.0, max(_up(_total(self.terms()) / self.room), LEAST_ENGINE))

    def check(self) -> None:
        """Raises InputError unless the base and a few answers fit."""
        asked, need = self.study.resources.gpus_per_engine, _total(self.terms(LEAST_ANSWERS))
        share = 1.0 if asked == AUTO else asked
        if need > share * self.room:
            field = "resources.gpus_per_engine" if need <= self.room else "model"
            self.refuse(field, f"an engine needs {gigabytes(need)}", share)


@dataclass(frozen=True)
class _Trainings(_OnGpu):
    """The trainings."""

    lengths: Lengths
    usable = USABLE

    @property
    def stacked(self) -> bool:
        return self.study.train.trainer == "stacked"

    def terms(self, together: int) -> Terms:
        """Of one process; there are never more trainings in it than seeds."""
        return self.terms_with(self.study.train, min(together, len(self.study.seeds)))

    def terms_with(self, train: Train, together: int) -> Terms:
        return training_terms(self.shape, train, self.row_tokens(train), together)

    def row_tokens(self, train: Train) -> int:
        """Of each row of a pass: TRL pads to the longest, stacked trainings do not."""
        padded = self.lengths.longest
        rows = self.lengths.mean_of(train.micro_batch) if self.stacked else padded
        return min(rows, train.max_length)

    def share(self, together: int) -> float:
        """What a process needs; above 1 where a GPU is too small."""
        share = _up(_total(self.terms(together)) / self.room)
        return share if self.stacked else max(share, LEAST_TRAINING)

    def least(self) -> float:
        """The share that is given, or the smallest that will do: for half as many stacked trainings as a
        whole GPU holds.
        """
        resources = self.study.resources
        if resources.gpus_per_training != AUTO:
            return resources.gpus_per_training
        if not self.stacked:
            return self.share(1)
        together = resources.trainings_together
        return self.share((self.most(1.0) + 1) // 2 if together == AUTO else together)

    def share_beside(self, of_engine: float) -> float:
        """What `gpus_per_training` is beside an engine with that share, or in turns with it."""
        resources, least = self.study.resources, self.least()
        if resources.gpus_per_training == AUTO and self.stacked:
            if fit(least, of_engine):
                return math.floor((1 - of_engine) * 100 + 1e-6) / 100
            if resources.trainings_together == AUTO:
                return self.share(self.most(1.0))
        return min(1.0, least)

    def most(self, share: float) -> int:
        """How many stacked trainings fit together; 0 where not even one does."""
        counts = range(min(MOST_TOGETHER, len(self.study.seeds)), 0, -1)
        return next((n for n in counts if self.fit(share, n)), 0)

    def fit(self, share: float, together: int) -> bool:
        return _total(self.terms(together)) <= share * self.room

    def check(self) -> None:
        """Raises InputError where one training does not fit into a whole GPU, naming what would help."""
        if self.fit(1.0, 1):
            return
        train = self.study.train
        problem = f"a training with {train.micro_batch} x {self.row_tokens(train)} tokens a pass "
        problem += f"needs {gigabytes(_total(self.terms(1)))}"
        for change in _smaller(train):
            need = _total(self.terms_with(train.model_copy(update=change), 1))
            if need <= self.room:
                words = " and ".join(f"{name}: {value}".lower() for name, value in change.items())
                instead = f"; with {words} it needs {gigabytes(need)}"
                self.refuse(f"train.{next(iter(change))}", problem, instead=instead)
        self.refuse("model", problem, instead="; no smaller train.micro_batch will do")

    def check_shares(self, resources: Resources) -> None:
        """Raises InputError where numbers that were given are too small."""
        share, together = resources.gpus_per_training, resources.trainings_together
        if not self.fit(share, 1):
            problem = f"a training needs {gigabytes(_total(self.terms(1)))}"
            self.refuse("resources.gpus_per_training", problem, share)
        if self.stacked and not self.fit(share, together):
            together = min(together, len(self.study.seeds))
            problem = f"{together} trainings need {gigabytes(_total(self.terms(together)))}"
            instead = f", for {self.most(share)} of them"
            self.refuse("resources.trainings_together", problem, share, instead)


def _smaller(train: Train) -> Iterator[dict[str, Any]]:
    """Changes that save memory, the gentlest first."""
    rows = [n for n in range(train.micro_batch - 1, 0, -1) if train.batch_size % n == 0]
    yield from ({"micro_batch": n} for n in rows)
    if not train.gradient_checkpointing:
        yield {"gradient_checkpointing": True}
        yield from ({"gradient_checkpointing": True, "micro_batch": n} for n in rows)


def _with_numbers(resources: Resources, shares: Mapping[str, float]) -> Resources:
    """The resources with `shares` in the place of `auto`."""
    auto = {name: share for name, share in shares.items() if getattr(resources, name) == AUTO}
    return resources.model_copy(update=auto)


def fit(*shares: float) -> bool:
    """Whether these shares fit on one GPU."""
    return sum(shares) <= 1 + _ROUNDING


def how_often(share: float, room: float) -> int:
    """How many of that share fit into `room` of a GPU."""
    return int(room / share + _ROUNDING)


def _up(share: float) -> float:
    """The next multiple of STEP."""
    return round(math.ceil(share / STEP - _ROUNDING) * STEP, 2)


def _total(terms: Terms) -> float:
    return sum(terms.values())
