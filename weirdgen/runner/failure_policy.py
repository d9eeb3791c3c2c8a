"""Failure policy: what the run does about work that did not end well. Pure decisions, no effects.

| what failed                     | one step                        | a batch                     | its node         |
|---------------------------------|---------------------------------|-----------------------------|------------------|
| STEP: the step itself           | give up                         | split                       |                  |
| GPU_MEMORY: of a training       | halve micro-batch, else give up | split                       |                  |
| MAYBE_NODE: any other error     | retry elsewhere, else give up   | retry elsewhere, else split | avoid            |
| CRASH: the process died         | retry                           | retry, then split           | avoid from 2nd   |
| ENGINE: error in an open engine | as CRASH; close the engine      | as CRASH; close the engine  |                  |
| NODE_LOSS: the node is gone     | retry                           | retry                       |                  |
| NODE_DISK: full, not writable   | as NODE_LOSS                    | as NODE_LOSS                | exclude or abort |
| STORAGE: away for this node     | as CRASH                        | as CRASH                    | as CRASH         |
| STORAGE: away for all           | abort                           | abort                       |                  |
| STORAGE_FULL                    | abort                           | abort                       |                  |
| ENGINE_START: none came up      | start another, else give up     |                             | no engine there  |

- Errors and crashes get MAX_ATTEMPTS attempts, node losses MAX_LOSSES; each step has its own counts.
  After the last the step is given up, and with it everything that consumes it.
- "Elsewhere" needs another node that can hold the work. A batch is split into halves (trainings) or
  into single steps (responses); one that crashed is split from its second crash on.
- The micro-batch is halved while it is even.
- Whatever fails on an excluded node counts as a node loss, unless the storage is full or away for all.
- A node is excluded only while the others can hold all that the study needs; else the run aborts.
- Engines that start together are one of MAX_ATTEMPTS tries. When they are used up and no engine is
  open, all steps that need one are given up. A node gets no engine after an error at a start, or after
  two engines ended there without making anything, until one has worked there.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

from weirdgen.errors import (
    MemoryExceeded,
    NodeDiskError,
    NodeError,
    StepError,
    StorageError,
    StorageFullError,
)

MAX_ATTEMPTS = 3
"""Attempts at a step that crashes or meets errors that may be a node's; tries to start engines."""
MAX_LOSSES = 20
"""Attempts at a step whose nodes are lost, as a cloud takes them back."""


class Cause(Enum):
    """What failed; the table of this module describes each."""

    STEP = auto()
    GPU_MEMORY = auto()
    MAYBE_NODE = auto()
    CRASH = auto()
    ENGINE = auto()
    NODE_LOSS = auto()
    NODE_DISK = auto()
    STORAGE = auto()
    STORAGE_FULL = auto()
    ENGINE_START = auto()


class Action(Enum):
    """What to do next."""

    RETRY = auto()
    SPLIT = auto()
    """Retry in smaller batches."""
    HALVE_MICRO_BATCH = auto()
    """Retry with half the micro-batch."""
    GIVE_UP = auto()
    ABORT = auto()
    """End the run."""


COUNTS = {
    Cause.MAYBE_NODE: "errors",
    Cause.CRASH: "crashes",
    Cause.ENGINE: "crashes",
    Cause.STORAGE: "crashes",
    Cause.NODE_LOSS: "node_losses",
    Cause.NODE_DISK: "node_losses",
}
"""Cause -> the count of a step that grows with a retry."""


class Event(NamedTuple):
    """A failure of one step, with what decides about it."""

    cause: Cause
    batched: bool = False
    """Whether other steps ran, and failed, with it."""
    errors: int = 0
    """Earlier failures of the cause MAYBE_NODE; of a batch the largest count."""
    crashes: int = 0
    """Earlier failures of the causes CRASH, ENGINE and STORAGE."""
    node_losses: int = 0
    """Earlier failures of the causes NODE_LOSS and NODE_DISK."""
    batch_crashed: bool = False
    """Whether the batch, in the person of its first step, has crashed before."""
    dispensable: bool = True
    """Whether the run can do without the node: it is known, and the others can hold the work."""
    micro_batch: int = 0
    failed_starts: int = 0
    """Tries to start engines that failed since one was open, this one included."""
    open_engines: int = 0


def classify(
    error: BaseException, *, on_engine: bool, starts_engine: bool, node_excluded: bool
) -> Cause:
    """The cause behind a Python error of a step, or of an engine's start."""
    if isinstance(error, StorageError):
        return Cause.STORAGE_FULL if isinstance(error, StorageFullError) else Cause.STORAGE
    if isinstance(error, NodeDiskError):
        return Cause.NODE_DISK
    if node_excluded:
        return Cause.NODE_LOSS
    if starts_engine:
        return Cause.ENGINE_START
    if not isinstance(error, StepError):
        return Cause.ENGINE if on_engine else Cause.MAYBE_NODE
    if isinstance(error, MemoryExceeded):
        return Cause.GPU_MEMORY
    return Cause.MAYBE_NODE if isinstance(error, NodeError) else Cause.STEP


def decide(event: Event) -> Action:
    """What to do about the failure. SPLIT and ABORT are about the whole batch."""
    match event.cause:
        case Cause.STORAGE_FULL:
            return Action.ABORT
        case Cause.NODE_DISK if not event.dispensable:
            return Action.ABORT
        case Cause.NODE_DISK | Cause.NODE_LOSS:
            return Action.RETRY if event.node_losses + 1 < MAX_LOSSES else Action.GIVE_UP
        case Cause.CRASH | Cause.ENGINE | Cause.STORAGE:
            if event.batched and event.batch_crashed:
                return Action.SPLIT
            return Action.RETRY if event.crashes + 1 < MAX_ATTEMPTS else Action.GIVE_UP
        case Cause.ENGINE_START:
            goes_on = event.failed_starts < MAX_ATTEMPTS or event.open_engines
            return Action.RETRY if goes_on else Action.GIVE_UP
        case Cause.MAYBE_NODE if event.dispensable and event.errors + 1 < MAX_ATTEMPTS:
            return Action.RETRY
    if event.batched:
        return Action.SPLIT
    if event.cause is Cause.GPU_MEMORY and event.micro_batch % 2 == 0:
        return Action.HALVE_MICRO_BATCH
    return Action.GIVE_UP


def avoids_node(event: Event, on_engine: bool) -> bool:
    """Whether the work is kept off the node; engines have a rule of their own."""
    if event.cause is Cause.MAYBE_NODE:
        return event.dispensable
    crashed = event.cause in (Cause.CRASH, Cause.STORAGE) and event.batch_crashed
    return crashed and event.dispensable and not on_engine  # a first crash may be chance


def bars_engines(cause: Cause, has_worked: bool, ended_before: bool) -> bool:
    """Whether no engine is started on the node of one that ended, until one has worked there.

    `has_worked`: whether it had made something. `ended_before`: whether another has ended there.
    """
    return not has_worked and (cause is Cause.ENGINE_START or ended_before)
