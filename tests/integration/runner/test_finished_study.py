"""A finished study that is run again does nothing, and a damaged one is named and repaired."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from fake_runs import run

from weirdgen.results.table import RESULTS
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.lease import Lease
from weirdgen.storage.timeline import read_timeline


def test_a_finished_study_does_nothing_without_ray_and_a_second_run_is_refused(
    finished: tuple[Path, Path],
):
    path, storage = finished
    code = (
        "import sys; from weirdgen.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: code = end.code\n"
        "sys.exit(code or ('ray' in sys.modules or 'torch' in sys.modules))"
    )
    command = [sys.executable, "-c", code, "run", str(path), "--storage", str(storage)]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    assert "nothing to do" in first.stdout
    folder = storage / "small"
    left = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert {"results.parquet", "study.yaml", "summary.md", "index.html", "format.png"} <= {
        f.name for f in left
    }
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.stdout == first.stdout
    assert left == {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with Lease(ArtifactStore(str(storage)), "small"):
        refused = subprocess.run(
            [*command, "--set", "grid.seeds=[0,1,2]"], capture_output=True, text=True, check=False
        )
    assert refused.returncode == 3
    assert "another run of this study is alive" in refused.stderr


def one_line(printed: str) -> str:
    """The line on which a command ended."""
    (line,) = [each for each in printed.splitlines() if each.startswith("weirdgen: ")]
    assert "Traceback" not in printed
    return line


def results(storage: Path) -> bytes:
    return (storage / "small" / RESULTS).read_bytes()


def test_damaged_artifacts_are_named_the_others_go_on_and_all_comes_back(
    finished: tuple[Path, Path], tmp_path: Path
):
    path, whole = finished
    storage = tmp_path / "storage"
    shutil.copytree(whole, storage)
    artifacts = storage / "artifacts"
    (weights,) = artifacts.glob("train/*-s0-*/attempt-*/adapter/adapter_model.safetensors")
    (manifest,) = artifacts.glob("train/*-s1-*/manifest.json")
    os.truncate(weights, 20_000)
    os.truncate(manifest, 300)
    for answers in artifacts.glob("responses/*"):
        shutil.rmtree(answers)
    code, printed = run(path, storage)
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
    code, printed = run(path, storage)
    assert code == 0, printed
    assert results(storage) == results(whole)
    assert all(span.dur >= 0 for span in read_timeline("small", ArtifactStore(str(storage))))


def test_answers_and_results_that_were_cut_never_end_in_a_wrong_result(
    finished: tuple[Path, Path], tmp_path: Path
):
    path, whole = finished
    storage = tmp_path / "storage"
    shutil.copytree(whole, storage)
    for name in (RESULTS, "stats.parquet"):
        os.truncate(storage / "small" / name, 3000)
        code, printed = run(path, storage)
        assert code == 0, printed
        assert results(storage) == results(whole)
    (storage / "small" / RESULTS).unlink()
    (answers,) = storage.glob("artifacts/responses/*-s0-triggered-*/samples-*/attempt-*/*.parquet")
    os.truncate(answers, 800)
    code, printed = run(path, storage)
    assert code == 1, printed
    folder = answers.parents[1]
    told = "responses.parquet (800 bytes) is not what was committed; delete this folder"
    assert one_line(printed) == f"weirdgen: {folder}: {told}"
    assert not (storage / "small" / RESULTS).exists()
    shutil.rmtree(folder)
    code, printed = run(path, storage)
    assert code == 0, printed
    assert results(storage) == results(whole)
