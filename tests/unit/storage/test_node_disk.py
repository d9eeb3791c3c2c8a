"""A node's own disk and cache: their faults are not the storage's, and nothing in them is lost to others."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from obstore.exceptions import GenericError
from small_disk import fill, small_disk
from store_cases import commit, step

from weirdgen.errors import NodeDiskError, StorageError
from weirdgen.storage import artifacts as store_module
from weirdgen.storage import manifest as manifests
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.cache import node_cache, scratch
from weirdgen.storage.manifest import Manifest


def test_a_full_node_cache_is_the_nodes_fault_not_the_storages(
    far_store: ArtifactStore, tmp_path: Path
):
    made = commit(far_store, step(), "x" * 50_000)
    with small_disk(tmp_path / "node", "64k"):
        (tmp_path / "node" / "weirdgen").mkdir()
        fill(tmp_path / "node", leave=20_000)
        told = "node/weirdgen is on a full disk: free space there, then run the same command to continue"
        with pytest.raises(NodeDiskError, match=told):
            far_store.payload(step(), made)
        with pytest.raises(NodeDiskError, match=told):
            commit(far_store, step("b"), "x" * 50_000)
        assert not [*(node_cache() / "scratch").iterdir()]
        (tmp_path / "node" / "ballast").unlink()
        assert (far_store.payload(step(), made) / "deep" / "file").read_text() == "x" * 50_000


def test_a_node_cache_that_cannot_be_used_is_the_nodes_fault(
    far_store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    local = ArtifactStore(str(tmp_path / "local"))
    kept = commit(local, step(), "x" * (2**26 + 1))
    made = commit(far_store, step(), "x")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    told = r": .*file/weirdgen cannot be written \(Not a directory\), then run the same command to continue"
    with pytest.raises(NodeDiskError, match=told):
        far_store.payload(step(), made)
    with pytest.raises(NodeDiskError, match=told):
        commit(far_store, step("b"), "x")
    assert local.payload(step(), kept).is_dir(), "a local storage needs no cache"


def test_a_storage_that_fails_while_a_payload_is_fetched_is_the_storages_fault(
    far_store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
):
    made = commit(far_store, step(), "x")

    def away(*_: object, **__: object) -> None:
        raise GenericError("no route")

    told = r"--storage: .* cannot be read \(no route\); once it can"
    for request in ("head", "get_range"):
        with monkeypatch.context() as patch, pytest.raises(StorageError, match=told):
            patch.setattr(f"weirdgen.storage.filesystem.obstore.{request}", away)
            far_store.payload(step(), made)


def test_what_a_crash_left_of_a_fetched_payload_is_fetched_again(far_store: ArtifactStore):
    made = commit(far_store, step(), "x")
    fetched = far_store.payload(step(), made) / "deep" / "file"
    fetched.write_text("")
    assert (far_store.payload(step(), made) / "deep" / "file").read_text() == "x"


def test_of_two_that_find_a_fetched_payload_damaged_neither_takes_the_others_copy(
    far_store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
):
    made = commit(far_store, step(), "x")
    file = far_store.payload(step(), made) / "deep" / "file"
    file.write_text("")
    fetch, told = far_store._fetch, iter(["it is damaged"])

    def damage(folder: Path, manifest: Manifest) -> str | None:
        """The other finds, fetches and uses it right after this one has found it."""
        found = manifests.damage(folder, manifest)
        if next(told, None):
            assert found is not None
            assert far_store.payload(step(), made) / "deep" / "file" == file
        return found

    def fetched(*args: Any) -> None:
        fetch(*args)
        seen.append(file.read_text())

    seen: list[str] = []
    monkeypatch.setattr(store_module, "damage", damage)
    monkeypatch.setattr(far_store, "_fetch", fetched)
    assert far_store.payload(step(), made) / "deep" / "file" == file
    assert seen == ["", "x"], "what the other uses stays where it is"
    assert file.read_text() == "x"


def test_scratch_of_killed_processes_goes_and_of_living_ones_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code = (
        "import sys, time; from weirdgen.storage.cache import scratch\n"
        "with scratch() as folder:\n"
        "    (folder / 'half').write_text('x'); print(folder, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as dead,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as alive,
    ):
        left, used = (Path(each.stdout.readline().strip()) for each in (dead, alive))
        dead.send_signal(signal.SIGKILL)
        dead.wait()
        assert left.exists()
        with scratch() as own:
            assert not left.exists()
            assert (used / "half").exists()
            assert {each.name for each in own.parent.iterdir()} == {
                own.name, f"{own.name}.lock", used.name, f"{used.name}.lock",
            }  # fmt: skip
        alive.kill()
