"""Compute a study's status from its storage: what is done, what runs, what failed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from weirdgen.config.claims import ADAPTERS
from weirdgen.errors import DamagedError
from weirdgen.pipeline.plan import Plan
from weirdgen.pipeline.stages.responses import ResponseSet
from weirdgen.pipeline.state import StudyState, scan
from weirdgen.storage.artifacts import ArtifactStore, Step
from weirdgen.storage.lease import PATIENCE_S, Lease
from weirdgen.storage.run_record import FailedStep, Record, read_record

State = Literal["done", "running", "failed", "stopped"]
"""`running`: a live run holds the study. `failed`: the last run failed on a step that is still not
there. `stopped`: something is left to do, and nothing failed.
"""


@dataclass(frozen=True)
class StepCounts:
    """Numbers of steps."""

    done: int
    running: int
    failed: int
    to_do: int


@dataclass(frozen=True)
class Counted:
    done: int
    all: int


@dataclass(frozen=True)
class Group:
    """A row of the status: shared steps, the baseline, existing adapters, or one fraction."""

    name: str
    steps: StepCounts | None
    responses: Counted | None
    labels: Counted | None
    """With LLM judges: one for each response, judge and rubric."""


@dataclass(frozen=True)
class Status:
    state: State
    host: str | None
    """Of the live run, else of the last one."""
    pid: int | None
    record: Record | None
    """The live run's, else the last one's."""
    groups: list[Group]
    failed: list[FailedStep]
    """Steps that the run in `record` gave up and that are still not there."""
    failed_elsewhere: int
    """How many steps it gave up that are not in this plan."""
    not_run: list[str]
    """Keys of the steps that need a failed one."""
    problems: list[str]
    """Files in the storage that could not be read."""

    @property
    def exit_code(self) -> int:
        return 0 if self.state in ("done", "running") else 1


def read_status(plan: Plan, store: ArtifactStore, patience_s: float = PATIENCE_S) -> Status:
    """The status of `plan`; waits up to `patience_s` for a sign of life from another machine.

    Raises StorageError where the storage is away.
    """
    study, problems, record, holder = plan.study.name, [], None, None
    try:
        holder = Lease(store, study, patience_s=patience_s).live_holder()
    except DamagedError as error:
        problems.append(str(error))
    state = scan(plan, store)  # after the lease was read: a run may end meanwhile
    try:
        record = read_record(study, store)
    except DamagedError as error:
        problems.append(str(error))
    if record and holder and record.run != holder.owner:
        record = None  # a run that has just begun has no record yet
    failed, elsewhere = standing_failures(record, state)
    phase: State = "failed" if failed else "stopped"
    if holder is not None:
        phase = "running"
    elif state.complete:
        phase = "done"
    of_live = record.running if record and holder else []
    return Status(
        state=phase,
        host=holder.host_name if holder else record.host if record else None,
        pid=holder.pid if holder else record.pid if record else None,
        record=record,
        groups=[*_groups(state, {key for each in of_live for key in each.steps}, failed)],
        failed=failed,
        failed_elsewhere=elsewhere,
        not_run=[*_not_run(state, failed)],
        problems=problems,
    )


def failed_trainings(failed: Iterable[FailedStep], plan: Plan) -> Counter[float]:
    """Fraction -> the number of failed trainings."""
    keys = {each.step for each in failed}
    return Counter(cell.fraction for cell, step in plan.trainings.items() if step.key in keys)


def standing_failures(record: Record | None, state: StudyState) -> tuple[list[FailedStep], int]:
    """The failed steps that are still not there, and the number of those that the plan lacks."""
    steps = {step.key: step for step in state.plan.by_fingerprint.values()}
    missing = {one.step.key: state.missing(one) for one in state.plan.response_sets}
    failed, elsewhere = [], 0
    for each in record.failed if record else ():
        whole = each.step.rpartition("/")[0]
        if whole in missing:
            if missing[whole]:
                failed.append(each)
        elif (step := steps.get(each.step)) is None:
            elsewhere += 1
        elif not state.is_done(step):
            failed.append(each)
    return failed, elsewhere


def _not_run(state: StudyState, failed: Sequence[FailedStep]) -> Iterator[str]:
    plan = state.plan
    missing = [each.step for each in plan.response_sets if state.missing(each)]
    to_do = [s for s in [*plan.shared, *plan.trainings.values()] if not state.is_done(s)] + missing
    given_up = {each.step for each in failed}
    lacking = {step.fingerprint for step in to_do if step.key in given_up}
    for step in to_do:  # each stands after what it consumes
        if step.key not in given_up and not lacking.isdisjoint(step.inputs.values()):
            lacking.add(step.fingerprint)
            yield step.key


def _groups(state: StudyState, running: set[str], failed: Sequence[FailedStep]) -> Iterator[Group]:
    plan, given_up = state.plan, {each.step for each in failed}

    def group(name: str, steps: Sequence[Step] | None, sets: Sequence[ResponseSet]) -> Group:
        counts = None if steps is None else _count(state, steps, running, given_up)
        if not sets:
            return Group(name, counts, None, None)
        return Group(name, counts, count_responses(state, sets), count_labels(state, sets))

    yield group("shared steps", plan.shared, [])
    yield group("baseline", None, [each for each in plan.response_sets if each.adapter is None])
    existing = [each for each in plan.response_sets if each.adapter and each.cell is None]
    if existing:
        yield group(ADAPTERS, None, existing)
    for fraction in plan.counts:
        steps = [step for cell, step in plan.trainings.items() if cell.fraction == fraction]
        sets = [each for each in plan.response_sets if each.cell and each.cell.fraction == fraction]
        yield group(f"fraction {fraction:g}", steps, sets)


def _count(
    state: StudyState, steps: Sequence[Step], running: set[str], failed: set[str]
) -> StepCounts:
    left = [step.key for step in steps if not state.is_done(step)]
    n_running, n_failed = (sum(key in keys for key in left) for keys in (running, failed))
    return StepCounts(len(steps) - len(left), n_running, n_failed, len(left) - n_running - n_failed)


def count_responses(state: StudyState, sets: Sequence[ResponseSet]) -> Counted:
    """How many responses of these sets are there."""
    wanted = sum(each.samples for each in sets) * len(state.plan.persona.heldout)
    return Counted(wanted - state.count_missing(sets), wanted)


def count_labels(state: StudyState, sets: Sequence[ResponseSet]) -> Counted | None:
    """How many labels of these sets are there; None without LLM judges."""
    wanted = count_responses(state, sets).all * len(state.plan.llm_judges)
    return Counted(state.count_labels(sets), wanted) if state.plan.llm_judges else None
