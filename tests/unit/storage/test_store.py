"""Artifacts: fingerprints, atomic commits, remote stores, and the lease."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import obstore
import pytest
from store_cases import (
    commit,
    elsewhere,
    step,
)

from weirdgen.errors import InputError, StorageError, WeirdgenError
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.fingerprint import canonical, fingerprint
from weirdgen.storage.lease import Lease


def test_a_fingerprint_does_not_depend_on_the_order_of_keys():
    assert fingerprint({"a": 1, "b": [1.5, None]}) == fingerprint({"b": [1.5, None], "a": 1})
    assert canonical({"b": "é", "a": True}) == '{"a":true,"b":"é"}'.encode()


def test_a_known_fingerprint_stays():
    """Every stored artifact is found by it."""
    expected = "fa1d289324f5b174a046f67011ad41aa2c40d95e81521c1536ec7dc984ce50db"
    assert fingerprint({"stage": "train", "rate": 2e-4, "rows": [1, 2]}) == expected


@pytest.mark.parametrize(
    "value", [Path("x"), {1: 2}, (1,), {"a": {1, 2}}, float("nan"), float("inf"), b"x"]
)
def test_what_has_no_one_spelling_has_no_fingerprint(value):
    with pytest.raises(TypeError):
        fingerprint({"value": value})


def test_equal_content_has_an_equal_digest_whichever_attempt_made_it(store: ArtifactStore):
    assert commit(store, step("a"), "x").digest == commit(store, step("b"), "x").digest
    assert commit(store, step("c"), "y").digest != commit(store, step("b"), "x").digest


def test_many_attempts_at_once_commit_one(tmp_path: Path):
    store = ArtifactStore(str(tmp_path))
    made = []
    threads = [
        threading.Thread(target=lambda i=i: made.append(commit(store, step(), f"{i}")))
        for i in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({manifest.attempt for manifest in made}) == 1
    folders = {path.name for path in (tmp_path / "artifacts" / step().key).iterdir()}
    assert folders == {"manifest.json", made[0].attempt}


def test_a_manifest_of_another_step_is_an_error(tmp_path: Path):
    store = ArtifactStore(str(tmp_path))
    commit(store, step(), "x")
    path = tmp_path / "artifacts" / step().key / "manifest.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"fingerprint": "0" * 64}))
    with pytest.raises(
        WeirdgenError, match=r"its manifest.json is of another step, 000.*; delete this folder"
    ):
        store.manifest(step())
    path.write_text("{")
    with pytest.raises(WeirdgenError, match="its manifest.json is not readable"):
        store.manifest(step())


@pytest.mark.parametrize("uri", ["nothing://x", "", "/", "s3://", "gs://", "s3:bucket/x"])
def test_a_storage_that_is_none(uri: str):
    with pytest.raises(InputError, match=f"--storage: '{uri}'"):
        ArtifactStore(uri)


def test_a_storage_below_a_file(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="--storage: .*file is a file, not a folder"):
        ArtifactStore(str(tmp_path / "file" / "below"))


# The lease.


def test_a_dead_holder_on_this_machine_is_taken_over_at_once(tmp_path: Path):
    code = (
        "import os, signal; from weirdgen.storage.lease import Lease; from weirdgen.storage.artifacts import ArtifactStore;"
        f"Lease(ArtifactStore({str(tmp_path)!r}), 's').__enter__(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert (tmp_path / "s" / "lease.json").exists()
    with Lease(ArtifactStore(str(tmp_path)), "s"):
        pass


def test_a_holder_elsewhere_whose_heart_stands_still_is_taken_over(store: ArtifactStore):
    elsewhere(store, 1)
    with Lease(store, "s", patience_s=0.2):
        pass


def test_a_lease_outlives_a_storage_that_hiccups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = ArtifactStore(str(tmp_path))
    with Lease(store, "s", beat_s=0.02, patience_s=30) as lease:
        monkeypatch.setattr(store, "read", lambda path: b"{")
        threading.Event().wait(0.2)
        monkeypatch.undo()
        lease.check()
        assert lease._thread.is_alive()


def test_a_lease_on_a_storage_that_stays_away_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def away(path: str) -> bytes:
        raise OSError("no route")

    store = ArtifactStore(str(tmp_path))
    with Lease(store, "s", beat_s=0.02, patience_s=0.2) as lease:
        monkeypatch.setattr(store, "read", away)
        lease._thread.join(5)
        with pytest.raises(StorageError, match=r"no route \(tried for \d+ s\)"):
            lease.check()


def test_a_swap_that_another_write_comes_before_changes_nothing(
    far_store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
):
    far_store.write("a", b"1")
    get = obstore.get

    def got(*about: Any) -> Any:
        found = get(*about)
        far_store.write("a", b"2")
        return found

    with monkeypatch.context() as patch:
        patch.setattr("weirdgen.storage.filesystem.obstore.get", got)
        assert not far_store.swap("a", b"1", b"3")
    assert far_store.read("a") == b"2"
    assert far_store.swap("a", b"2", b"3")
    assert far_store.read("a") == b"3"
