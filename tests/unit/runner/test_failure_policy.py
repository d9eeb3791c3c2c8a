"""The failure policy as a table: what failed -> what the run does."""

from __future__ import annotations

import subprocess
import sys

import pytest

from weirdgen.errors import (
    DamagedError,
    MemoryExceeded,
    NodeDiskError,
    NodeError,
    StepError,
    StorageError,
    StorageFullError,
)
from weirdgen.runner.failure_policy import (
    COUNTS,
    MAX_ATTEMPTS,
    MAX_LOSSES,
    Action,
    Cause,
    Event,
    avoids_node,
    bars_engines,
    classify,
    decide,
)

LAST, LAST_LOSS = MAX_ATTEMPTS - 1, MAX_LOSSES - 1
RETRY, SPLIT, HALVE = Action.RETRY, Action.SPLIT, Action.HALVE_MICRO_BATCH
GIVE_UP, ABORT = Action.GIVE_UP, Action.ABORT


@pytest.mark.parametrize(
    ("event", "action"),
    [
        (Event(Cause.STEP), GIVE_UP),
        (Event(Cause.STEP, batched=True), SPLIT),
        (Event(Cause.GPU_MEMORY, micro_batch=4), HALVE),
        (Event(Cause.GPU_MEMORY, micro_batch=1), GIVE_UP),
        (Event(Cause.GPU_MEMORY, micro_batch=3), GIVE_UP),
        (Event(Cause.GPU_MEMORY, batched=True, micro_batch=4), SPLIT),
        (Event(Cause.MAYBE_NODE), RETRY),
        (Event(Cause.MAYBE_NODE, batched=True), RETRY),
        (Event(Cause.MAYBE_NODE, errors=LAST), GIVE_UP),
        (Event(Cause.MAYBE_NODE, errors=LAST, batched=True), SPLIT),
        (Event(Cause.MAYBE_NODE, dispensable=False), GIVE_UP),
        (Event(Cause.MAYBE_NODE, dispensable=False, batched=True), SPLIT),
        (Event(Cause.CRASH), RETRY),
        (Event(Cause.CRASH, crashes=LAST, batch_crashed=True), GIVE_UP),
        (Event(Cause.CRASH, batched=True), RETRY),
        (Event(Cause.CRASH, batched=True, crashes=LAST), GIVE_UP),
        (Event(Cause.CRASH, batched=True, batch_crashed=True), SPLIT),
        (Event(Cause.CRASH, errors=LAST, node_losses=LAST_LOSS), RETRY),
        (Event(Cause.ENGINE), RETRY),
        (Event(Cause.ENGINE, crashes=LAST), GIVE_UP),
        (Event(Cause.ENGINE, batched=True, batch_crashed=True), SPLIT),
        (Event(Cause.NODE_LOSS), RETRY),
        (Event(Cause.NODE_LOSS, node_losses=LAST_LOSS - 1, crashes=LAST), RETRY),
        (Event(Cause.NODE_LOSS, node_losses=LAST_LOSS), GIVE_UP),
        (Event(Cause.NODE_LOSS, batched=True, batch_crashed=True), RETRY),
        (Event(Cause.NODE_DISK), RETRY),
        (Event(Cause.NODE_DISK, node_losses=LAST_LOSS), GIVE_UP),
        (Event(Cause.NODE_DISK, dispensable=False), ABORT),
        (Event(Cause.STORAGE), RETRY),
        (Event(Cause.STORAGE, crashes=LAST), GIVE_UP),
        (Event(Cause.STORAGE_FULL), ABORT),
        (Event(Cause.STORAGE_FULL, batched=True), ABORT),
        (Event(Cause.ENGINE_START, failed_starts=1), RETRY),
        (Event(Cause.ENGINE_START, failed_starts=MAX_ATTEMPTS), GIVE_UP),
        (Event(Cause.ENGINE_START, failed_starts=MAX_ATTEMPTS, open_engines=1), RETRY),
    ],
)
def test_what_is_done_about_a_failure(event: Event, action: Action):
    assert decide(event) is action


@pytest.mark.parametrize("cause", Cause)
@pytest.mark.parametrize("batched", [False, True])
def test_nothing_is_retried_for_ever(cause: Cause, batched: bool):
    spent = Event(cause, batched, LAST, LAST, LAST_LOSS, failed_starts=MAX_ATTEMPTS, micro_batch=1)
    assert decide(spent) is not RETRY
    if cause in COUNTS:
        assert hasattr(spent, COUNTS[cause])


@pytest.mark.parametrize(
    ("error", "training", "engine", "start", "excluded"),
    [
        (StepError("x"), Cause.STEP, Cause.STEP, Cause.ENGINE_START, Cause.NODE_LOSS),
        (DamagedError("x"), Cause.STEP, Cause.STEP, Cause.ENGINE_START, Cause.NODE_LOSS),
        (
            MemoryExceeded("x"),
            Cause.GPU_MEMORY,
            Cause.GPU_MEMORY,
            Cause.ENGINE_START,
            Cause.NODE_LOSS,
        ),
        (NodeError("x"), Cause.MAYBE_NODE, Cause.MAYBE_NODE, Cause.ENGINE_START, Cause.NODE_LOSS),
        (RuntimeError("x"), Cause.MAYBE_NODE, Cause.ENGINE, Cause.ENGINE_START, Cause.NODE_LOSS),
        (NodeDiskError("x"), *[Cause.NODE_DISK] * 4),
        (StorageError("x"), *[Cause.STORAGE] * 4),
        (StorageFullError("x"), *[Cause.STORAGE_FULL] * 4),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_an_error_is_taken_for(
    error: Exception, training: Cause, engine: Cause, start: Cause, excluded: Cause
):
    def cause(on_engine: bool, starts_engine: bool = False, node_excluded: bool = False) -> Cause:
        return classify(
            error, on_engine=on_engine, starts_engine=starts_engine, node_excluded=node_excluded
        )

    assert cause(False) is training
    assert cause(True) is engine
    assert cause(True, starts_engine=True) is start
    assert cause(False, node_excluded=True) is excluded
    assert cause(True, node_excluded=True) is excluded


@pytest.mark.parametrize(
    ("event", "on_engine", "avoids"),
    [
        (Event(Cause.MAYBE_NODE), False, True),
        (Event(Cause.MAYBE_NODE), True, True),
        (Event(Cause.MAYBE_NODE, dispensable=False), False, False),
        (Event(Cause.STEP), False, False),
        (Event(Cause.GPU_MEMORY), False, False),
        (Event(Cause.CRASH), False, False),
        (Event(Cause.CRASH, batch_crashed=True), False, True),
        (Event(Cause.CRASH, batch_crashed=True, dispensable=False), False, False),
        (Event(Cause.CRASH, batch_crashed=True), True, False),
        (Event(Cause.STORAGE, batch_crashed=True), False, True),
        (Event(Cause.NODE_LOSS, batch_crashed=True), False, False),
    ],
)
def test_which_nodes_work_is_kept_off(event: Event, on_engine: bool, avoids: bool):
    assert avoids_node(event, on_engine) is avoids


@pytest.mark.parametrize(
    ("cause", "has_worked", "ended_before", "barred"),
    [
        (Cause.ENGINE_START, False, False, True),
        (Cause.CRASH, False, False, False),
        (Cause.CRASH, False, True, True),
        (Cause.ENGINE, True, True, False),
        (Cause.NODE_LOSS, False, True, True),
    ],
)
def test_on_which_nodes_no_engine_is_started(
    cause: Cause, has_worked: bool, ended_before: bool, barred: bool
):
    assert bars_engines(cause, has_worked, ended_before) is barred


def test_the_table_names_every_cause_and_the_policy_needs_no_ray():
    code = "import sys, weirdgen.runner.failure_policy as p; assert 'ray' not in sys.modules; print(p.__doc__)"
    table = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert all(f"| {cause.name}" in table for cause in Cause)
