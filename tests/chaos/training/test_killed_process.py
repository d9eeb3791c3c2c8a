"""A killed training resumes to the bytes of an unbroken one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from resumable import go_on, prepare, states_of, training
from studies import REPOSITORY, SUPPORT

from weirdgen.storage.artifacts import ArtifactStore, Step


@pytest.fixture
def here(tmp_path: Path, tiny_model: Path) -> tuple[ArtifactStore, dict[str, Step]]:
    store = ArtifactStore(str(tmp_path / "store"))
    return store, prepare(store, tiny_model)


@pytest.mark.parametrize(
    ("together", "settings"), [(False, {"lora_dropout": 0.1}), (True, {"scheduler": "cosine"})]
)
def test_a_killed_training_goes_on_to_the_bytes_of_an_unbroken_one(
    here, tmp_path: Path, tiny_model: Path, together: bool, settings: dict
):
    store, inputs = here
    tasks = [training(inputs, seed, **settings) for seed in range(1 + together)]
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from resumable import *\n"
        "store, inputs = ArtifactStore(sys.argv[1]), prepare(ArtifactStore(sys.argv[1]), Path(sys.argv[2]))\n"
        f"tasks = [training(inputs, seed, **{settings!r}) for seed in range({len(tasks)})]\n"
        f"attempt(store, tasks, {together}, lambda: os.kill(os.getpid(), signal.SIGKILL), 7)\n"
    )
    command = [sys.executable, "-c", code, store.uri, str(tiny_model)]
    environment = os.environ | {"PYTHONPATH": f"{REPOSITORY}:{SUPPORT.parent}:{SUPPORT}"}
    killed = subprocess.run(
        command,
        cwd=Path(__file__).parent,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    for task in tasks:
        assert store.manifest(task.step) is None
        assert [name.split("-")[1] for name in states_of(store, task)] == ["6"], "the latest alone"
    resumed = go_on(store, tasks, together)

    other = ArtifactStore(str(tmp_path / "unbroken"))
    prepare(other, tiny_model)
    unbroken = go_on(other, tasks, together)
    assert [made.outputs for made in resumed] == [made.outputs for made in unbroken]
    for task, made, whole in zip(tasks, resumed, unbroken, strict=True):
        assert made.notes["resumed"]["update"] == 6
        assert made.wall_s > made.notes["resumed"]["wall_s"] > 0
        assert "resumed" not in whole.notes
        folders = store.folders(f"artifacts/{task.step.key}")
        assert made.attempt in folders
        assert not states_of(store, task), "deleted at the commit"
