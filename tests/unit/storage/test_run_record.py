"""What a run records of itself while it goes on, and at its end."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from studies import small_study, study_of

import weirdgen.runner.recorder as recording
from weirdgen.errors import LockedError, StepError, StorageError
from weirdgen.pipeline.plan import Plan, make_plan
from weirdgen.runner.location import WorkerLocation
from weirdgen.runner.queue import WorkQueue
from weirdgen.runner.recorder import Recorder
from weirdgen.runner.remote import TrainingProgress
from weirdgen.runner.work_item import WorkItem
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.lease import Lease
from weirdgen.storage.run_record import RECORD, Record, RunEnd, read_record, write_record


@pytest.fixture
def plan(tiny_model: Path, small_persona: Path) -> Plan:
    return make_plan(study_of(small_study(tiny_model, small_persona)), Path())


@pytest.fixture(autouse=True)
def always_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "EVERY_S", 0.0)


def scheduler_of(plan: Plan) -> Any:
    """One that trains seed 0 for the second time and gave up seed 1 at the third."""
    queue = WorkQueue("small", {step.fingerprint for step in plan.shared})
    first, second = (WorkItem(step, started=1.0) for step in plan.trainings.values())
    queue.retry([first, second], "ActorDiedError: gone")
    running, failing = queue.waiting
    queue.remove(failing)
    queue.retry([failing], "ActorDiedError: gone\nagain")
    _, failed = queue.waiting
    queue.remove(failed)
    queue.give_up(failed, "ActorDiedError: died")
    queue.remove(running)
    begun = TrainingProgress(running.attempt, WorkerLocation("node-a", "3"), (4, 12))
    return SimpleNamespace(
        queue=queue,
        running={"ref": running},
        took={},
        nodes=SimpleNamespace(excluded={"10.0.0.7": "its disk is full"}),
        progress=lambda: {running.step.key: begun},
        judges=None,
    )


def written(store: ArtifactStore) -> Record:
    record = read_record("small", store)
    assert record is not None
    return record


def test_a_run_records_what_runs_what_failed_and_how_it_ended(plan: Plan, store: ArtifactStore):
    scheduler = scheduler_of(plan)
    first, second = plan.trainings.values()
    with Lease(store, "small") as lease, Recorder(store, "small", lease) as recorder:
        recorder._writing.result()
        assert written(store).run == lease.mine.owner
        logging.getLogger("weirdgen.run").info("opening engine 1")
        recorder.update(scheduler)
        recorder._writing.result()
        record = written(store)
        (running,) = record.running
        assert (running.steps, running.attempt, running.tries) == ([first.key], 2, 2)
        assert (running.node, running.gpu, running.updates) == ("node-a", "3", (4, 12))
        assert not running.waits
        assert running.for_s > 0
        (failed,) = record.failed
        assert (failed.step, failed.tries) == (second.key, 3)
        assert failed.log == f"small/logs/{second.key.replace('/', '-')}-attempt-3.log"
        assert record.retried[second.key] == [
            "ActorDiedError: gone",
            "ActorDiedError: gone again",
        ]
        assert record.excluded_nodes == {"10.0.0.7": "its disk is full"}
        assert record.events[0][1] == "opening engine 1"
        assert record.ended is None
        recorder.end(1)
    assert written(store).ended == RunEnd(code=1, reason="")
    assert written(store).running == []
    assert written(store).failed == [failed]


def test_a_training_that_was_not_begun_anew_waits(plan: Plan, tmp_path: Path):
    scheduler, store = scheduler_of(plan), ArtifactStore(str(tmp_path))
    (running,) = scheduler.running.values()
    earlier = TrainingProgress(running.attempt - 1, WorkerLocation("node-b", "0"), (4, 12))
    scheduler.progress = lambda: {running.step.key: earlier}
    with Lease(store, "small") as lease, Recorder(store, "small", lease) as recorder:
        recorder._writing.result()
        recorder.update(scheduler)
        recorder._writing.result()
        (told,) = written(store).running
    assert (told.waits, told.node, told.updates) == (True, "", None)


@pytest.mark.parametrize(
    ("error", "ended"),
    [
        (KeyboardInterrupt(), RunEnd(code=130, reason="interrupted")),
        (StepError("the key is\nwrong"), RunEnd(code=1, reason="the key is wrong")),
        (RuntimeError("bad \udcff"), RunEnd(code=1, reason="RuntimeError: bad ?")),
        (OSError("no route"), RunEnd(code=2, reason="OSError: no route")),
        (SystemExit(3), RunEnd(code=1, reason="SystemExit: 3")),
    ],
)
def test_what_breaks_a_run_off_is_recorded(tmp_path: Path, error: BaseException, ended: RunEnd):
    store = ArtifactStore(str(tmp_path))
    with (
        pytest.raises(type(error)),
        Lease(store, "small") as lease,
        Recorder(store, "small", lease),
    ):
        raise error
    assert written(store).ended == ended


def test_a_storage_that_cannot_be_written_is_said_once_and_ends_nothing(
    plan: Plan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    store, scheduler = ArtifactStore(str(tmp_path)), scheduler_of(plan)
    write = ArtifactStore.write

    def full(self: ArtifactStore, path: str, content: bytes) -> None:
        if path.endswith(RECORD):
            raise StorageError("no space left")
        write(self, path, content)

    with Lease(store, "small") as lease, Recorder(store, "small", lease) as recorder:
        recorder._writing.result()
        monkeypatch.setattr(ArtifactStore, "write", full)
        caplog.clear()
        for _ in range(4):
            recorder.update(scheduler)
            recorder._writing.exception()
        assert caplog.messages == ["the run's record could not be written (no space left)"]
        monkeypatch.setattr(ArtifactStore, "write", write)
        recorder.update(scheduler)
    assert written(store).ended is not None


def test_a_run_that_lost_its_study_leaves_the_others_record_alone(tmp_path: Path):
    store = ArtifactStore(str(tmp_path))
    with (
        pytest.raises(LockedError),
        Lease(store, "small") as lease,
        Recorder(store, "small", lease) as recorder,
    ):
        recorder._writing.result()
        theirs = written(store).model_copy(update={"run": "theirs"})
        write_record(theirs, "small", store)
        lease._lost = LockedError("another run took this study over")
    assert written(store) == theirs, "and the lease tells of it at its end"
