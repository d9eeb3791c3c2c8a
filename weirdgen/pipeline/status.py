"""How a study stands: what is done, what a live run is doing, and what the last run failed on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from weirdgen.config.claims import ADAPTERS
from weirdgen.errors import DamagedError
from weirdgen.pipeline.plan import Plan, ResponseSet
from weirdgen.pipeline.state import StudyState, scan
from weirdgen.storage.artifacts import ArtifactStore, Step
from weirdgen.storage.lease import PATIENCE_S, Lease
from weirdgen.storage.run_record import Failed, Record, read_record

State = Literal["done", "running", "failed", "stopped"]
"""`running`: a live run holds the study; else `failed` where the last one failed on something that is
still not there, and `stopped` where there is merely something to do.
"""


@dataclass(frozen=True)
class Steps:
    """How many there are of each."""

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
    """What belongs together: the shared steps, the baseline, existing adapters, a fraction's trainings."""

    name: str
    steps: Steps | None
    answers: Counted | None
    labels: Counted | None
    """Where a model judges: one for each answer, judge and rubric."""


@dataclass(frozen=True)
class Status:
    state: State
    host: str | None
    """Where the live run is, or the last one was."""
    pid: int | None
    record: Record | None
    """The live run's, else the last one's."""
    groups: list[Group]
    failed: list[Failed]
    """What the run in `record` gave up, as far as it is not there by now."""
    failed_elsewhere: int
    """How many more it gave up that are no part of this plan."""
    not_run: list[str]
    """Keys of what lacks something that failed."""
    problems: list[str]
    """Files in the storage that could not be read."""

    @property
    def exit_code(self) -> int:
        return 0 if self.state in ("done", "running") else 1


def look(plan: Plan, store: ArtifactStore, patience_s: float = PATIENCE_S) -> Status:
    """The status of `plan`; a holder on another machine is listened to for so long at most.

    Raises StorageError where the storage is away.
    """
    study, problems, record, holder = plan.study.name, [], None, None
    try:
        holder = Lease(store, study, patience_s=patience_s).live_holder()
    except DamagedError as error:
        problems.append(str(error))
    state = scan(plan, store)  # after the holder was heard: a run may end meanwhile
    try:
        record = read_record(study, store)
    except DamagedError as error:
        problems.append(str(error))
    if record and holder and record.run != holder.owner:
        record = None  # a run that has begun since has told nothing yet
    failed, elsewhere = standing(record, state)
    stands: State = "failed" if failed else "stopped"
    if holder is not None:
        stands = "running"
    elif state.complete:
        stands = "done"
    of_live = record.running if record and holder else []
    return Status(
        state=stands,
        host=holder.host_name if holder else record.host if record else None,
        pid=holder.pid if holder else record.pid if record else None,
        record=record,
        groups=[*_groups(state, {key for each in of_live for key in each.steps}, failed)],
        failed=failed,
        failed_elsewhere=elsewhere,
        not_run=[*_not_run(state, failed)],
        problems=problems,
    )


def failed_trainings(keys: Container[str], plan: Plan) -> Counter[float]:
    """Fraction -> the trainings among the steps with these keys."""
    return Counter(cell.fraction for cell, step in plan.trainings.items() if step.key in keys)


def standing(record: Record | None, state: StudyState) -> tuple[list[Failed], int]:
    """What the run gave up and is still not there, and how much it gave up that `state.plan` lacks."""
    steps = {step.key: step for step in state.plan.by_fingerprint.values()}
    missing = {asked.step.key: state.missing(asked) for asked in state.plan.response_sets}
    failed, elsewhere = [], 0
    for each in record.failed if record else ():
        asked = each.step.rpartition("/")[0]
        if asked in missing:
            if missing[asked]:
                failed.append(each)
        elif (step := steps.get(each.step)) is None:
            elsewhere += 1
        elif not state.is_done(step):
            failed.append(each)
    return failed, elsewhere


def _not_run(state: StudyState, failed: Sequence[Failed]) -> Iterator[str]:
    plan = state.plan
    missing = [asked.step for asked in plan.response_sets if state.missing(asked)]
    to_do = [s for s in [*plan.shared, *plan.trainings.values()] if not state.is_done(s)] + missing
    given_up = {each.step for each in failed}
    lacking = {step.fingerprint for step in to_do if step.key in given_up}
    for step in to_do:  # each stands after what it consumes
        if step.key not in given_up and not lacking.isdisjoint(step.inputs.values()):
            lacking.add(step.fingerprint)
            yield step.key


def _groups(state: StudyState, running: set[str], failed: Sequence[Failed]) -> Iterator[Group]:
    plan, given_up = state.plan, {each.step for each in failed}

    def group(name: str, steps: Sequence[Step] | None, asked: Sequence[ResponseSet]) -> Group:
        counts = None if steps is None else _count(state, steps, running, given_up)
        return Group(name, counts, *_asked(state, asked))

    yield group("shared steps", plan.shared, [])
    yield group("baseline", None, [asked for asked in plan.response_sets if asked.adapter is None])
    existing = [asked for asked in plan.response_sets if asked.adapter and asked.cell is None]
    if existing:
        yield group(ADAPTERS, None, existing)
    for fraction in plan.counts:
        steps = [step for cell, step in plan.trainings.items() if cell.fraction == fraction]
        asked = [
            each for each in plan.response_sets if each.cell and each.cell.fraction == fraction
        ]
        yield group(f"fraction {fraction:g}", steps, asked)


def _count(state: StudyState, steps: Sequence[Step], running: set[str], failed: set[str]) -> Steps:
    left = [step.key for step in steps if not state.is_done(step)]
    n_running, n_failed = (sum(key in keys for key in left) for keys in (running, failed))
    return Steps(len(steps) - len(left), n_running, n_failed, len(left) - n_running - n_failed)


def _asked(
    state: StudyState, asked: Sequence[ResponseSet]
) -> tuple[Counted | None, Counted | None]:
    """The answers and labels of what is asked; no labels where no model judges."""
    if not asked:
        return None, None
    questions, judges = len(state.plan.persona.heldout), len(state.plan.llm_judges)
    wanted = sum(each.samples for each in asked) * questions
    lacking = sum(end - first for each in asked for first, end in state.missing(each)) * questions
    labels = Counted(state.count_labels(asked), wanted * judges) if judges else None
    return Counted(wanted - lacking, wanted), labels
