"""What a run tells of itself while it goes on and at its end, kept in `<study>/run.json`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt, ValidationError

from weirdgen.config.base import StrictModel
from weirdgen.errors import DamagedError
from weirdgen.storage.artifacts import ArtifactStore

RECORD = "run.json"


class Running(StrictModel):
    """What was under way: steps made together, or the start of an engine."""

    steps: list[str]
    """Their keys; none for an engine's start."""
    engine: PositiveInt | None
    """The number of the engine that makes them, or that starts."""
    attempt: PositiveInt
    """Counted over all runs, as in the name of its log."""
    tries: PositiveInt
    """Counted in this run."""
    for_s: NonNegativeFloat
    waits: bool
    """Whether a training has not begun, for want of a node with room."""
    node: str
    gpu: str
    """As CUDA_VISIBLE_DEVICES names it; both empty where it is not known."""
    updates: tuple[NonNegativeInt, PositiveInt] | None
    """Of a training, done and all; None before its first."""


class Failed(StrictModel):
    """A step that was given up."""

    step: str
    reason: str
    log: str
    """Below the storage."""
    tries: PositiveInt


class JudgeProgress(StrictModel):
    """What judges that are models have said in this run."""

    verdicts: NonNegativeInt
    without: dict[str, NonNegativeInt]
    """Why -> answers that ended without a verdict."""
    dollars: NonNegativeFloat
    """Spent over all runs, as far as it is known."""
    stopped: str | None
    """Why nobody is asked any more."""


class StepEnd(StrictModel):
    code: int
    """The exit code."""
    reason: str
    """What broke the run off; empty where it came to its end."""


class Record(StrictModel):
    """Times are seconds by the driver's own clock."""

    version: Literal[1] = 1
    run: str
    """The owner in the lease of that run."""
    host: str
    pid: PositiveInt
    elapsed_s: NonNegativeFloat
    """From the start to this record."""
    left_s: NonNegativeFloat | None
    """An estimate of the rest; None where it is not known."""
    running: list[Running]
    failed: list[Failed]
    retried: dict[str, list[str]]
    """Key of a step -> why each attempt that was followed by another had failed."""
    aside: dict[str, str] = Field(default_factory=dict)
    """Address of a node -> why nothing more was begun there."""
    judged: JudgeProgress | None
    events: list[tuple[NonNegativeFloat, str]]
    """The latest, each with the seconds from the start."""
    ended: StepEnd | None
    """None while the run is under way, and for ever where it was killed."""


def read_record(study: str, store: ArtifactStore) -> Record | None:
    """The record of the study's last run, or None where there is none.

    Raises DamagedError for a file that is no such record.
    """
    content = store.read(f"{study}/{RECORD}")
    try:
        return None if content is None else Record.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise DamagedError(
            f"{store.shown(study, RECORD)}: not a readable record of a run "
            f"({where + ': ' if where else ''}{first['msg']})"
        ) from None


def write_record(record: Record, study: str, store: ArtifactStore) -> None:
    """Replaces the study's record."""
    store.write(f"{study}/{RECORD}", record.model_dump_json().encode())


def failure_line(step: str, reason: str, log: str, store: ArtifactStore) -> str:
    """A step that failed, why, and its log."""
    return f"failed: {step}: {reason} (log: {store.shown(log)})"
