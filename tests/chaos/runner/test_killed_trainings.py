"""A training that kills its process is given up, and `weirdgen status` says so while the run lives and after."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fake_trainer import UPDATES
from s3_server import S3Server
from studies import SUPPORT, small_study, write_study

from weirdgen.config.loading import load_study
from weirdgen.pipeline.plan import Plan, make_plan
from weirdgen.pipeline.stages.train import GridCell
from weirdgen.pipeline.status import Status, read_status
from weirdgen.runner.failure_policy import MAX_ATTEMPTS
from weirdgen.storage.artifacts import ArtifactStore

DRIVER = SUPPORT / "poisoned.py"


def look_at(plan: Plan, store: ArtifactStore, patience_s: float = 0.2) -> Status:
    return read_status(plan, store, patience_s)


@pytest.fixture
def path(tiny_model: Path, small_persona: Path, tmp_path: Path) -> Path:
    return write_study(tmp_path, small_study(tiny_model, small_persona))


def told(*command: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


def run_poisoned(path: Path, storage: str) -> list[str]:
    """Has a driver run the study in `path`, looking at it from this process; gives what it printed."""
    plan, store = make_plan(load_study(path), path.parent), ArtifactStore(storage)
    command = [sys.executable, DRIVER, "run", path, "--storage", storage]
    log, alive = path.parent / "driver.log", []
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out) as run:
        while run.poll() is None:
            status = look_at(plan, store)
            if status.state == "running" and status.record:
                assert (status.pid, status.exit_code) == (run.pid, 0)
                alive.append(status)
            time.sleep(1)
    printed = log.read_text()
    assert run.returncode == 1, printed
    assert "Traceback" not in printed, printed
    seen = [each for status in alive for each in status.record.running]
    assert any(each.updates == (UPDATES, UPDATES) and each.node for each in seen)
    return printed.splitlines()


def assert_set_aside(path: Path, storage: str, printed: list[str]) -> str:
    """The training of seed 1 was tried and given up, all else was made, and commands say so; gives its key."""
    key = make_plan(load_study(path), path.parent).trainings[GridCell(0.5, 1)].key
    assert sum(f"started {key}" in line for line in printed) == MAX_ATTEMPTS
    assert sum(f"retry {key}" in line for line in printed) == MAX_ATTEMPTS - 1
    study = [path, "--storage", storage]
    code, said = told("-m", "weirdgen", "status", *study)
    assert code == 1
    assert f"  {key}: ActorDiedError" in said
    assert f"to continue: weirdgen run {path} --storage " in said
    code, said = told("-m", "weirdgen", "status", *study, "--json")
    tree = json.loads(said)
    assert (code, tree["state"]) == (1, "failed")
    assert tree["record"]["ended"] == {"code": 1, "reason": ""}
    (failed,) = tree["failed"]
    assert (failed["step"], failed["tries"]) == (key, MAX_ATTEMPTS)
    assert len(tree["not_run"]) == 3
    assert tree["groups"][-1] == {
        "name": "fraction 0.5",
        "steps": {"done": 1, "running": 0, "failed": 1, "to_do": 0},
        "responses": {"done": 18, "all": 36},
        "labels": None,
    }
    return key


def test_a_training_that_kills_its_process_is_set_aside_and_told_from_elsewhere(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    storage = str(tmp_path / "storage")
    key = assert_set_aside(path, storage, run_poisoned(path, storage))
    code, said = told("-m", "weirdgen", "report", path, "--storage", storage)
    assert code == 0
    assert f"failed: {key}: ActorDiedError" in " ".join(said.split())
    code, said = told(DRIVER, "run", path, "--storage", storage)
    assert code == 1
    assert f"started {key}" in said, "the next run tries it again"
    assert f"failed: {key}: ActorDiedError" in " ".join(said.split())


def test_the_same_over_an_object_store(
    s3: S3Server, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    storage = s3.uri("poisoned")
    assert_set_aside(path, storage, run_poisoned(path, storage))
