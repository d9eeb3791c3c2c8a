"""What `weirdgen status` makes of a study's storage, while a run goes on and after it."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from studies import small_study, study_of, write_study

from weirdgen.cli.main import main
from weirdgen.pipeline.plan import Plan, make_plan
from weirdgen.pipeline.stages.train import GridCell
from weirdgen.pipeline.state import scan
from weirdgen.pipeline.status import Counted, Status, StepCounts, read_status, standing_failures
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.lease import Lease
from weirdgen.storage.run_record import RECORD, Record, read_record, write_record

RED = "\x1b[31mred\x07\x9b2J"
"""What would reach a terminal that it should not."""


@pytest.fixture
def plan(tiny_model: Path, small_persona: Path) -> Plan:
    return make_plan(study_of(small_study(tiny_model, small_persona)), Path())


def record_of(plan: Plan, run: str = "r", **changes: Any) -> Record:
    """Seed 1 failed; seed 0 was under way."""
    first, second = (step.key for step in plan.trainings.values())
    running = {
        "steps": [first], "engine": None, "attempt": 1, "tries": 1, "for_s": 35.0,
        "waits": False, "node": "node-a", "gpu": "", "updates": [4, 12],
    }  # fmt: skip
    failed = {"step": second, "reason": f"it {RED}", "log": f"small/logs/{RED}.log", "tries": 3}
    tree = {
        "run": run, "host": "node-d", "pid": 7, "elapsed_s": 125.0, "left_s": None,
        "running": [running], "failed": [failed], "retried": {first: [f"{RED}"]},
        "excluded_nodes": {"10.0.0.7": f"its disk is {RED}"},
        "judged": {"judged": 4, "unjudged": {RED: 1}, "dollars": 0.5, "stopped": None},
        "events": [[1.0, RED]], "ended": None,
    }  # fmt: skip
    return Record.model_validate_json(json.dumps(tree | changes))


def look_at(plan: Plan, store: ArtifactStore, patience_s: float = 0.2) -> Status:
    return read_status(plan, store, patience_s)


def test_nothing_there_is_all_to_do(plan: Plan, tmp_path: Path):
    status = look_at(plan, ArtifactStore(str(tmp_path)))
    assert (status.state, status.exit_code, status.host) == ("stopped", 1, None)
    groups = {group.name: group for group in status.groups}
    assert groups.keys() == {"shared steps", "baseline", "fraction 0.5"}
    assert groups["fraction 0.5"].steps == StepCounts(0, 0, 0, 2)
    assert groups["fraction 0.5"].responses == Counted(0, 2 * 3 * 3 * 2)
    assert groups["baseline"].responses == Counted(0, 3 * 3 * 3)
    assert not (tmp_path / "small").exists(), "it writes nothing"


def test_a_live_run_is_told_from_one_that_was_killed(plan: Plan, tmp_path: Path):
    store = ArtifactStore(str(tmp_path))
    with Lease(store, "small") as lease:
        write_record(record_of(plan, lease.mine.owner), "small", store)
        status = look_at(plan, store)
        assert (status.state, status.exit_code, status.pid) == ("running", 0, os.getpid())
        assert status.groups[-1].steps == StepCounts(0, 1, 1, 0)
        write_record(record_of(plan, "an earlier run"), "small", store)
        status = look_at(plan, store)
        assert (status.state, status.record, status.failed) == ("running", None, [])
    status = look_at(plan, store)
    assert (status.state, status.exit_code, status.host) == ("failed", 1, "node-d")
    assert status.groups[-1].steps == StepCounts(0, 0, 1, 1), "what was under way is to do"
    _, second = plan.trainings.values()
    blocked = [a.step.key for a in plan.response_sets if a.adapter is second]
    assert len(blocked) == 3
    assert status.not_run == blocked


def test_a_run_elsewhere_is_alive_while_its_heart_beats(plan: Plan, tmp_path: Path):
    store = ArtifactStore(str(tmp_path))

    def beat(n: int) -> None:
        holder = {"owner": "r", "host": "far/boot", "pid": 9, "started": 1.0, "beat": n}
        store.write("small/lease.json", json.dumps(holder).encode())

    write_record(record_of(plan), "small", store)
    beat(1)
    assert look_at(plan, store).state == "failed"
    stop = threading.Event()

    def live() -> None:
        n = 1
        while not stop.wait(0.2):
            beat(n := n + 1)

    heart = threading.Thread(target=live)
    heart.start()
    try:
        status = look_at(plan, store, patience_s=20)
    finally:
        stop.set()
        heart.join()
    assert (status.state, status.host, status.pid) == ("running", "far", 9)
    assert status.record == record_of(plan)


def test_failures_that_are_there_by_now_or_of_another_plan_do_not_stand(
    plan: Plan, tiny_model: Path, small_persona: Path, tmp_path: Path
):
    store = ArtifactStore(str(tmp_path))
    write_record(record_of(plan, ended={"code": 1, "reason": ""}), "small", store)
    fewer = study_of(small_study(tiny_model, small_persona, grid__seeds=[0]))
    status = look_at(make_plan(fewer, Path()), store)
    assert (status.state, status.failed, status.failed_elsewhere) == ("stopped", [], 1)
    state = scan(plan, store)
    state.done[plan.trainings[GridCell(0.5, 1)].fingerprint] = SimpleNamespace(digest="")  # type: ignore
    assert standing_failures(read_record("small", store), state) == ([], 0)


# What is printed.


@pytest.fixture
def path(tiny_model: Path, small_persona: Path, tmp_path: Path) -> Path:
    return write_study(tmp_path, small_study(tiny_model, small_persona))


def weirdgen(path: Path, *options: str, command: str = "status") -> tuple[int, str]:
    storage = str(path.parent / "storage")
    result = CliRunner().invoke(main, [command, str(path), "--storage", storage, *options])
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result.exit_code, result.output


def unprintable(text: str) -> set[str]:
    return {char for char in text if not (char.isprintable() or char == "\n")}


def test_text_of_the_record_does_not_drive_the_terminal(path: Path, plan: Plan):
    store = ArtifactStore(str(path.parent / "storage"))
    write_record(record_of(plan, host=RED), "small", store)
    code, said = weirdgen(path)
    assert code == 1
    assert not unprintable(said)
    lines = [" ".join(line.split()) for line in said.splitlines()]
    first, second = (step.key for step in plan.trainings.values())
    red = "\ufffd[31mred\ufffd\ufffd2J"
    assert lines[0] == (
        f"small: no run is alive; the last, on {red} (process 7), was killed or cut off, "
        "last heard 2:05 in"
    )
    assert f"{first} 0:35 update 4 of 12 on node-a" in lines
    assert f"10.0.0.7: its disk is {red}" in lines
    log = store.path(f"small/logs/{red}.log")
    assert f"{second}: it {red} (tried 3 times; its log was never written: {log})" in lines
    assert (
        f"judging in that run: 4 judgments, 1 responses without ({red} 1), $0.5000 over all runs"
        in lines
    )
    assert f"to continue: weirdgen run {path} --storage {store.uri}" in lines
    code, said = weirdgen(path, "--json")
    assert code == 1
    assert not unprintable(said)
    tree = json.loads(said)
    assert tree["failed"][0]["reason"] == f"it {RED}"
    assert (tree["state"], tree["study"]) == ("failed", "small")
    assert tree["groups"][-1]["steps"] == {"done": 0, "running": 0, "failed": 1, "to_do": 1}


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, b'{"version": 2}', b'{"\x1b[31m": 1}', b"null"],
)
@pytest.mark.parametrize("file", [RECORD, "lease.json"])
def test_a_file_that_is_none_is_said_in_a_line(path: Path, file: str, content: bytes):
    store = ArtifactStore(str(path.parent / "storage"))
    store.write(f"small/{file}", content)
    code, said = weirdgen(path)
    assert code == 1
    assert not unprintable(said)
    (line,) = [line for line in said.splitlines() if "not a readable" in line]
    assert line.startswith(store.path(f"small/{file}: not a readable "))
    assert json.loads(weirdgen(path, "--json")[1])["problems"] == [line]


def test_a_truncated_record_at_any_byte_is_said_in_a_line(plan: Plan, tmp_path: Path):
    store = ArtifactStore(str(tmp_path))
    content = record_of(plan).model_dump_json().encode()
    for end in range(0, len(content), 7):
        store.write(f"small/{RECORD}", content[:end])
        (problem,) = look_at(plan, store).problems
        assert "not a readable record of a run" in problem


def test_a_storage_that_is_not_there_is_said(tiny_model: Path, tmp_path: Path):
    path = write_study(tmp_path, small_study(tiny_model))
    mistyped = tmp_path / "resluts"
    for storage in (str(mistyped), mistyped.as_uri()):
        told = CliRunner().invoke(main, ["status", str(path), "--storage", storage])
        assert told.exit_code == 2
        assert f"--storage: {storage}: no such folder" in told.output
    assert not mistyped.exists()
    mistyped.mkdir()
    told = CliRunner().invoke(main, ["status", str(path), "--storage", mistyped.as_uri()])
    assert "no such folder" not in told.output


def test_a_hub_model_counts_at_the_commit_of_the_run(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Its branch moves on, and the run does not."""
    asked = []

    def resolve(model: str, revision: str, *_: object) -> Any:
        asked.append(revision)
        return plan.model

    monkeypatch.setattr("weirdgen.pipeline.plan.resolve_model", resolve)
    path = write_study(tmp_path, small_study("org/base", name="small"))
    store = ArtifactStore(str(tmp_path))
    begun = f"name: small\nmodel: org/base\nmodel_revision: {'c0ffee42' * 5}\n"
    for content in (b"", b"[", begun.replace("org", "other").encode(), begun.encode()):
        store.write("small/study.yaml", content)
        CliRunner().invoke(main, ["status", str(path), "--storage", str(tmp_path)])
    changed = ["--set", f"model_revision={'a' * 40}"]
    CliRunner().invoke(main, ["status", str(path), "--storage", str(tmp_path), *changed])
    assert asked == ["main", "main", "main", "c0ffee42" * 5, "a" * 40]
