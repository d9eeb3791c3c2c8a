"""The record of a study's latest run, live or ended: the file `<study>/run.json`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveInt, ValidationError

from weirdgen.config.base import StrictModel
from weirdgen.errors import DamagedError
from weirdgen.storage.artifacts import ArtifactStore

RECORD = "run.json"


class RunningWork(StrictModel):
    """What was running: a batch of steps, or the start of an engine."""

    steps: list[str]
    """Their keys; empty for an engine's start."""
    engine: PositiveInt | None
    """The number of the engine that makes them, or that starts."""
    attempt: PositiveInt
    """Counted over all runs, as in the name of its log."""
    tries: PositiveInt
    """Counted in this run."""
    for_s: NonNegativeFloat
    waits: bool
    """Whether a training waits for a node with room."""
    node: str
    gpu: str
    """As CUDA_VISIBLE_DEVICES names it; both empty where it is not known."""
    updates: tuple[NonNegativeInt, PositiveInt] | None
    """Of a training, done and all; None before its first."""


class FailedStep(StrictModel):
    """A step that was given up."""

    step: str
    """Its key."""
    reason: str
    log: str
    """Its log file, relative to the storage."""
    tries: PositiveInt
    """Counted in this run."""


class JudgeProgress(StrictModel):
    """What the LLM judges have done in this run."""

    judged: NonNegativeInt
    unjudged: dict[str, NonNegativeInt]
    """Reason -> responses without a judgment."""
    dollars: NonNegativeFloat
    """Spent over all runs, as far as it is known."""
    stopped: str | None
    """Why judging stopped, if so."""


class RunEnd(StrictModel):
    code: int
    """The exit code."""
    reason: str
    """The error that ended the run; empty where it came to its end."""


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
    running: list[RunningWork]
    failed: list[FailedStep]
    retried: dict[str, list[str]]
    """Step key -> why each attempt failed that was followed by another."""
    excluded_nodes: dict[str, str]
    """Address of a node -> why it was excluded."""
    judged: JudgeProgress | None
    events: list[tuple[NonNegativeFloat, str]]
    """The latest, each with the seconds from the start."""
    ended: RunEnd | None
    """None while the run is alive; it stays None where the run was killed."""


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
            f"{store.display_path(study, RECORD)}: not a readable record of a run "
            f"({where + ': ' if where else ''}{first['msg']})"
        ) from None


def write_record(record: Record, study: str, store: ArtifactStore) -> None:
    """Replaces the study's record."""
    store.write(f"{study}/{RECORD}", record.model_dump_json().encode())


def failure_lines(failed: Iterable[FailedStep], store: ArtifactStore) -> list[str]:
    """A line for each: the step, why it failed, and its log."""
    return [
        f"failed: {each.step}: {each.reason} (log: {store.display_path(each.log)})"
        for each in failed
    ]


def one_line(text: str) -> str:
    """`text` on one line, with a question mark for what UTF-8 cannot encode."""
    return " ".join(text.encode(errors="replace").decode().split())
