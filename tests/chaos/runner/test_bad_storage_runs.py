"""Whole studies, by the command, on storage that is full, damaged or shared."""

from __future__ import annotations

import os
import shutil
import threading
import uuid
from pathlib import Path

import pytest
from conftest import make_persona, small_study, write_study
from job_runs import run
from s3_server import CREDENTIALS, S3Server
from small_disk import small_disk

from weirdgen.results.table import RESULTS
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.timeline import read_timeline


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


@pytest.mark.slow
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


@pytest.mark.slow
def test_damaged_artifacts_are_named_the_others_go_on_and_all_comes_back(
    study: Path, tmp_path: Path
):
    storage = tmp_path / "storage"
    shutil.copytree(study / "storage", storage)
    artifacts = storage / "artifacts"
    (weights,) = artifacts.glob("train/*-s0-*/attempt-*/adapter/adapter_model.safetensors")
    (manifest,) = artifacts.glob("train/*-s1-*/manifest.json")
    os.truncate(weights, 20_000)
    os.truncate(manifest, 300)
    for answers in artifacts.glob("responses/*"):
        shutil.rmtree(answers)
    code, printed = run(study, "--storage", str(storage))
    assert code == 1, printed
    assert "Traceback" not in printed
    assert printed.count("done responses/") == 3, "the baseline's"
    trained = weights.parents[2], manifest.parent
    told = "adapter/adapter_model.safetensors (20,000 bytes) is not what was committed"
    failed = [line for line in printed.splitlines() if "  failed " in line]
    assert any(f"{trained[0]}: {told}; delete this folder" in line for line in failed)
    assert any(f"{trained[1]}: its manifest.json is not readable" in line for line in failed)
    assert "retry " not in printed
    for folder in trained:
        shutil.rmtree(folder)
    code, printed = run(study, "--storage", str(storage))
    assert code == 0, printed
    assert results(storage) == results(study / "storage")
    assert all(
        span.started <= span.ended for span in read_timeline("small", ArtifactStore(str(storage)))
    )


@pytest.mark.slow
def test_answers_and_results_that_were_cut_never_end_in_a_wrong_result(study: Path, tmp_path: Path):
    storage = tmp_path / "storage"
    shutil.copytree(study / "storage", storage)
    for name in (RESULTS, "stats.parquet"):
        os.truncate(storage / "small" / name, 3000)
        code, printed = run(study, "--storage", str(storage))
        assert code == 0, printed
        assert results(storage) == results(study / "storage")
    (storage / "small" / RESULTS).unlink()
    (answers,) = storage.glob("artifacts/responses/*-s0-triggered-*/samples-*/attempt-*/*.parquet")
    os.truncate(answers, 800)
    code, printed = run(study, "--storage", str(storage))
    assert code == 1, printed
    folder = answers.parents[1]
    told = "responses.parquet (800 bytes) is not what was committed; delete this folder"
    assert one_line(printed) == f"weirdgen: {folder}: {told}"
    assert not (storage / "small" / RESULTS).exists()
    shutil.rmtree(folder)
    code, printed = run(study, "--storage", str(storage))
    assert code == 0, printed
    assert results(storage) == results(study / "storage")


@pytest.mark.slow
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
