"""The log of a step: where it goes, and storage or disks that take none."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

import pytest
from small_disk import fill, small_disk, temporary_files_are_in
from store_cases import step
from studies import at_a_distance

from weirdgen.errors import NodeDiskError, StorageError
from weirdgen.runner.remote import logged
from weirdgen.storage.artifacts import ArtifactStore

LOG = "s/logs/step.log"


def test_what_is_printed_is_in_the_log_whatever_ends_it(store: ArtifactStore):
    store.write("s/study.yaml", b"")
    for said in (b"first", b"second"):
        with pytest.raises(ZeroDivisionError), logged(store, LOG):
            os.write(1, said)
            raise ZeroDivisionError
    assert store.read(LOG) == (b"firstsecond" if store.is_local else b"second")


def test_a_log_makes_no_storage_anew_that_is_gone(tmp_path: Path):
    storage = tmp_path / "disk" / "store"
    before = ArtifactStore(str(storage))
    before.check_writable()
    shutil.rmtree(tmp_path / "disk")
    for each in (
        before,
        ArtifactStore(str(storage)),
    ):  # the latter in a process that was started since
        with (
            pytest.raises(StorageError, match=r"cannot be written \(it is gone: unmounted"),
            logged(each, LOG),
        ):
            pytest.fail("it began")
    assert not (tmp_path / "disk").exists()


def test_a_log_on_a_disk_that_takes_nothing_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    away = at_a_distance(ArtifactStore(str(tmp_path / "store")), tmp_path, monkeypatch)
    with small_disk(tmp_path / "disk", "64k") as remount:
        local = ArtifactStore(str(tmp_path / "disk"))
        local.check_writable()
        remount("ro")
        with (
            pytest.raises(StorageError, match=r"cannot be written \(Read-only file system\)"),
            logged(local, LOG),
        ):
            pytest.fail("it began")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "disk"))
        told = r"disk/weirdgen cannot be written \(Read-only file system\)"
        with (
            pytest.raises(NodeDiskError, match=told),
            logged(away, LOG),
        ):
            pytest.fail("it began")


def test_a_log_on_a_node_whose_only_disk_is_full_is_one_line(
    far_store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with small_disk(tmp_path / "node", "64k,nr_inodes=20"):
        temporary_files_are_in(tmp_path / "node", monkeypatch)
        fill(tmp_path / "node")
        told = r": .*node/weirdgen is on a full disk: free space"
        with (
            pytest.raises(NodeDiskError, match=told),
            logged(far_store, LOG),
            far_store.attempt(step()) as (_, folder),
        ):
            (folder / "file").write_bytes(b"x")
        with suppress(OSError):
            for i in range(20):
                (tmp_path / "node" / str(i)).touch()
        with pytest.raises(NodeDiskError, match=told), logged(far_store, LOG):
            pytest.fail("it began")
