"""Whole studies, by the command, on a full disk, and started twice in the same instant."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path

import pytest
from job_runs import run
from s3_server import CREDENTIALS, S3Server
from small_disk import small_disk
from studies import make_persona, small_study, write_study

from weirdgen.results.table import RESULTS
from weirdgen.storage.artifacts import ArtifactStore


def one_line(printed: str) -> str:
    """The line on which a command ended."""
    (line,) = [each for each in printed.splitlines() if each.startswith("weirdgen: ")]
    assert "Traceback" not in printed
    return line


@pytest.fixture(scope="module")
def study(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study's folder, and in it `storage`, in which it was run."""
    folder = tmp_path_factory.mktemp("study")
    tree = small_study(tiny_model, make_persona(folder), evaluate__engine="transformers")
    write_study(folder, tree)
    code, printed = run(folder, "--storage", "storage")
    assert code == 0, printed
    return folder


def results(storage: Path) -> bytes:
    return (storage / "small" / RESULTS).read_bytes()


def test_a_disk_that_fills_up_in_a_run_ends_it_in_a_line_and_space_ends_it_well(
    study: Path, tmp_path: Path
):
    disk = tmp_path / "disk"
    with small_disk(disk, "400k") as remount:  # the model finds place, two adapters do not
        code, printed = run(study, "--storage", str(disk / "storage"))
        assert code == 2, printed
        assert f"--storage: {disk}/storage is full (No space left on device)" in one_line(printed)
        assert "retry " not in printed, "nothing is tried on a full disk"
        assert not (disk / "storage" / "small" / RESULTS).exists()
        remount("size=50m")
        code, printed = run(study, "--storage", str(disk / "storage"))
        assert code == 0, printed
        assert results(disk / "storage") == results(study / "storage")


def test_two_runs_that_both_hold_a_study_on_s3_end_in_the_results_of_one(study: Path, s3: S3Server):
    """Both are started in the same instant: neither's lease is seen by the other in time."""
    storage, outcomes = s3.uri(uuid.uuid4().hex), []
    threads = [
        threading.Thread(
            target=lambda: outcomes.append(run(study, "--storage", storage, **CREDENTIALS))
        )
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    codes = sorted(code for code, _ in outcomes)
    assert codes == [0, 3], outcomes
    (refused,) = [printed for code, printed in outcomes if code == 3]
    assert "another run" in one_line(refused)
    assert ArtifactStore(storage).read(f"small/{RESULTS}") == results(study / "storage")
