"""A study whose driver is killed continues to the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from studies import SUPPORT, make_persona, small_study, write_study

from weirdgen.config.loading import load_study
from weirdgen.pipeline.plan import make_plan
from weirdgen.storage.artifacts import ArtifactStore


def drive(path: Path, storage: Path, kill_at: str | None = None) -> list[str]:
    """Runs a driver to its end, or kills it as soon as a line of its output holds `kill_at`."""
    command = [sys.executable, "-u", str(SUPPORT / "drive.py"), path, storage]
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    lines = []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as driver:
        assert driver.stdout is not None
        for line in driver.stdout:
            lines.append(line)
            if kill_at and kill_at in line:
                driver.send_signal(signal.SIGKILL)
        code = driver.wait()
    assert code == (-signal.SIGKILL if kill_at else 0), "".join(lines)
    return lines


@pytest.fixture(scope="module")
def finished(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A study file, and the storage in which a driver ran it without a break."""
    folder = tmp_path_factory.mktemp("finished")
    path = write_study(folder, small_study(tiny_model, make_persona(folder)))
    drive(path, folder / "storage")
    return path, folder / "storage"


def test_a_killed_driver_continues_to_byte_equal_rows_adapters_and_results(
    finished: tuple[Path, Path], tmp_path: Path
):
    path, whole = finished
    broken = tmp_path / "broken"
    for point in ("started train/", "done train/", "-p4-a4-s1-decoy"):
        drive(path, broken, kill_at=point)
    drive(path, broken)
    results = [storage / "small" / "results.parquet" for storage in (whole, broken)]
    assert results[0].read_bytes() == results[1].read_bytes()
    assert pq.read_table(results[0]).num_rows == 3 * 3 * 3 + 2 * 3 * 3 * 2
    plan = make_plan(load_study(path), path.parent)
    stores = [ArtifactStore(str(storage)) for storage in (whole, broken)]
    for step in [*plan.shared, *plan.trainings.values()]:
        manifests = [store.manifest(step) for store in stores]
        assert manifests[0] is not None
        assert manifests[1] is not None
        assert manifests[0].outputs == manifests[1].outputs, step.key
    trained = manifests[0].outputs.keys()
    assert {"rows.jsonl", "loss.jsonl", "adapter/adapter_model.safetensors"} <= trained
