"""The log of a step: where it goes, and storage or disks that take none."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from conftest import at_a_distance
from small_disk import small_disk

from weirdgen.errors import NodeDiskError, StorageError
from weirdgen.runner.remote import logged
from weirdgen.store import Store

LOG = "s/logs/step.log"


def test_what_is_printed_is_in_the_log_whatever_ends_it(store: Store):
    store.write("s/study.yaml", b"")
    for said in (b"first", b"second"):
        with pytest.raises(ZeroDivisionError), logged(store, LOG):
            os.write(1, said)
            raise ZeroDivisionError
    assert store.read(LOG) == (b"firstsecond" if store.is_local else b"second")


def test_a_log_makes_no_storage_anew_that_is_gone(tmp_path: Path):
    storage = tmp_path / "disk" / "store"
    before = Store(str(storage))
    before.check_writable()
    shutil.rmtree(tmp_path / "disk")
    for each in (before, Store(str(storage))):  # the latter in a process that was started since
        with (
            pytest.raises(StorageError, match=r"cannot be written \(it is gone: unmounted"),
            logged(each, LOG),
        ):
            pytest.fail("it began")
    assert not (tmp_path / "disk").exists()


def test_a_log_on_a_disk_that_takes_nothing_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    away = at_a_distance(Store(str(tmp_path / "store")), tmp_path, monkeypatch)
    with small_disk(tmp_path / "disk", "64k") as remount:
        local = Store(str(tmp_path / "disk"))
        local.check_writable()
        remount("ro")
        with (
            pytest.raises(StorageError, match=r"cannot be written \(Read-only file system\)"),
            logged(local, LOG),
        ):
            pytest.fail("it began")
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "disk"))
        with (
            pytest.raises(NodeDiskError, match=r"disk cannot be written \(Read-only file system\)"),
            logged(away, LOG),
        ):
            pytest.fail("it began")
