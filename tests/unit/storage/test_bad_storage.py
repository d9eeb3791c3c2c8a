"""Storage that is full, away, damaged or shared: a clear line, nothing lost, nothing counted twice."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import tempfile
from pathlib import Path

import pytest
from small_disk import fill, small_disk, temporary_files_are_in
from store_cases import commit, step

from weirdgen.errors import DamagedError, StorageError
from weirdgen.judging.journal import Journal, Ledger, records
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.disk_errors import full_disk, storage_error

# A full disk.


def test_a_full_storage_commits_nothing_and_says_so(tmp_path: Path):
    with small_disk(tmp_path / "disk", "64k"):
        store = ArtifactStore(str(tmp_path / "disk" / "store"))
        store.check_writable()
        ballast = fill(tmp_path / "disk")
        told = rf"--storage: {store.uri} is full \(No space left on device\): free space there"
        with pytest.raises(StorageError, match=told):
            store.check_writable()
        with pytest.raises(StorageError, match=told):
            store.write("s/results.parquet", b"x" * 5000)
        with pytest.raises(StorageError, match=told):
            commit(store, step(), "x" * 50_000)
        assert not [*Path(store.uri).rglob("*draft*")]
        assert store.manifest(step()) is None
        assert store.read("s/results.parquet") is None
        ballast.unlink()
        made = commit(store, step(), "x" * 20_000)
        assert store.payload(step(), made).is_dir()


def test_a_disk_that_is_full_at_the_manifest_leaves_no_half_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with small_disk(tmp_path / "disk", "64k"):
        store = ArtifactStore(str(tmp_path / "disk" / "store"))
        with pytest.raises(StorageError, match="is full"), store.attempt(step()) as attempt:
            (attempt[1] / "file").write_text("whole")
            ballast = fill(tmp_path / "disk")
            store.commit(step(), attempt, inputs={}, provenance=MADE)
        assert store.manifest(step()) is None
        assert [*Path(store.path("artifacts", step().key)).iterdir()] == []
        ballast.unlink()
        commit(store, step(), "whole")


MADE = {"commit": None, "versions": {}, "hardware": {}, "wall_s": 0.0, "attempts": 1}


def test_a_library_that_tells_a_full_disk_in_words_is_understood(tmp_path: Path):
    from safetensors import SafetensorError

    with small_disk(tmp_path / "disk", "64k"):
        store = ArtifactStore(str(tmp_path / "disk" / "store"))
        with pytest.raises(StorageError, match="is full"), store.attempt(step()) as (_, folder):
            (folder / "half").write_bytes(b"\0" * 4096)
            fill(tmp_path / "disk")
            raise SafetensorError(
                "Error while serializing: I/O error: No space left on device (os error 28)"
            )


def test_a_full_storage_that_is_the_nodes_only_disk_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    with small_disk(tmp_path / "disk", "64k"):
        store = ArtifactStore(str(tmp_path / "disk" / "store"))
        store.check_writable()
        temporary_files_are_in(tmp_path / "disk", monkeypatch)
        ballast = fill(tmp_path / "disk")
        told = "is full .No space left on device.: free space there"
        with pytest.raises(StorageError, match=told), store.attempt(step()) as (_, folder):
            (folder / "file").write_bytes(b"x" * 5000)
        with (
            pytest.raises(StorageError, match=told),
            store.attempt(step()),
            tempfile.TemporaryDirectory(),
        ):
            pytest.fail("a temporary folder was found")
        ballast.unlink()
        commit(store, step(), "x")


def test_where_no_disk_can_be_asked_a_full_one_is_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    temporary_files_are_in(tmp_path / "away", monkeypatch)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "away"))
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert full_disk(full, tmp_path / "away") is None
    assert full_disk(full, tmp_path / "away", tmp_path) == tmp_path


def test_what_fails_by_itself_is_not_laid_on_the_storage(store: ArtifactStore):
    with pytest.raises(ZeroDivisionError), store.attempt(step()):
        raise ZeroDivisionError
    with pytest.raises(FileNotFoundError), store.attempt(step()) as (_, folder):
        (folder / "nothing").read_text()
    with pytest.raises(RuntimeError, match="429"), store.attempt(step()):
        raise RuntimeError("429: Quota exceeded for requests a minute")


def test_what_goes_together_with_a_commit_that_fails_keeps_what_was_committed(tmp_path: Path):
    store = ArtifactStore(str(tmp_path))
    with pytest.raises(StorageError), store.attempt(step("a")) as first:
        (first[1] / "file").write_text("x")
        made = store.commit(step("a"), first, inputs={}, provenance=MADE)
        raise StorageError("the commit of another step")
    assert (store.payload(step("a"), made) / "file").read_text() == "x"


def test_a_journal_on_a_full_disk_stops_and_is_read_up_to_its_torn_line(tmp_path: Path):
    with small_disk(tmp_path / "disk", "64k"):
        journal = Journal(tmp_path / "disk" / "j.jsonl", "study")
        heard = []

        async def hear() -> None:
            for i in range(10_000):
                await journal.commit({"judged": f"{i:064x}", "labels": [], "pad": "x" * 700})
                heard.append(i)

        told = r"journal .*j.jsonl cannot be written \(.*\); once it can be, run the same command again"
        with pytest.raises(StorageError, match=told):
            asyncio.run(hear())
        with pytest.raises(StorageError, match=told):
            journal.append({"sent": "0" * 64})
        content = journal.path.read_bytes()
        assert not content.endswith(b"\n"), "the last line is torn"
        ledger = Ledger()
        ledger.add(records(content))
        assert ledger.judgments == len(heard) > 20


def test_an_fsync_that_fails_counts_for_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    journal = Journal(tmp_path / "j.jsonl", "study")

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        asyncio.run(journal.commit({"judged": "0" * 64, "labels": []}))
    with pytest.raises(StorageError):
        journal.append({"sent": "1" * 64})


# Storage that is away.


def test_a_folder_that_vanishes_is_not_made_anew(tmp_path: Path):
    store = ArtifactStore(str(tmp_path / "disk" / "store"))
    made = commit(store, step(), "x")
    (tmp_path / "disk").rename(tmp_path / "elsewhere")
    gone = r"--storage: .*store cannot be (read|written) \(it is gone: unmounted, or deleted\)"
    for act in (
        lambda: store.read("s/lease.json"),
        lambda: store.folders("artifacts/model"),
        lambda: store.payload(step(), made),
        lambda: store.write("s/a", b""),
        lambda: commit(store, step("b"), "x"),
    ):
        with pytest.raises(StorageError, match=gone):
            act()
    assert not (tmp_path / "disk").exists()


def test_a_disk_that_turns_read_only_under_an_attempt_is_told(tmp_path: Path):
    with small_disk(tmp_path / "disk", "64k") as remount:
        store = ArtifactStore(str(tmp_path / "disk"))
        told = r"cannot be written \(Read-only file system\); once it can, run the same command to continue"
        with pytest.raises(StorageError, match=told), store.attempt(step()) as (_, folder):
            remount("ro")
            (folder / "file").write_text("x")
        with pytest.raises(StorageError, match=told):
            store.check_writable()
        remount("rw")
        commit(store, step(), "x")


# Damaged artifacts.


@pytest.mark.parametrize("size", [10, 2**26 + 10])
def test_a_truncated_or_changed_payload_is_refused(store: ArtifactStore, size: int):
    made = commit(store, step(), "x" * size)
    folder = store.payload(step(), made)
    assert store.payload(step(), made) == folder
    if not store.is_local:
        shutil.rmtree(folder)
    path = f"artifacts/{step().key}/{made.attempt}/deep/file"
    told = f"{store.display_path('artifacts', step().key)}: deep/file (.*) is not what was committed; delete"
    for content in (b"x" * (size - 1), b"y" * size):
        store.write(path, content)
        with pytest.raises(DamagedError, match=told):
            store.payload(step(), made)
    store.write(f"artifacts/{step().key}/{made.attempt}/other", b"")
    store.delete(path)
    with pytest.raises(DamagedError, match="deep/file is missing; delete this folder"):
        store.payload(step(), made)
    store.delete_folder(f"artifacts/{step().key}")
    assert store.payload(step(), commit(store, step(), "x")).is_dir()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"schema_version": 2}, "schema_version: Input should be 1"),
        ({"schema_version": None}, "schema_version: Input should be 1"),
        ({"later": 1}, "later: Extra inputs are not permitted"),
        ({"outputs": 3}, "outputs: Input should be an object"),
        ({"outputs": {"../../other": "0" * 64}}, "'../../other' is outside of its folder"),
        ({"outputs": {"/etc/passwd": "0" * 64}}, "'/etc/passwd' is outside of its folder"),
        ({"attempt": "../elsewhere"}, "attempt: String should match pattern"),
        ({"fingerprint": "0" * 64}, "is of another step, 000000000000"),
        ({"record": []}, "record: Input should be an object"),
        ({"fingerprint": None}, "fingerprint: Input should be a valid string"),
    ],
)
def test_a_manifest_that_cannot_be_trusted_is_one_line_with_its_folder(
    store: ArtifactStore, changes: dict, told: str
):
    commit(store, step(), "x")
    path = f"artifacts/{step().key}/manifest.json"
    content = json.loads(store.read(path) or b"")
    store.write(path, json.dumps(content | changes).encode())
    with pytest.raises(DamagedError) as refused:
        store.manifest(step())
    line = str(refused.value)
    assert line.startswith(store.display_path("artifacts", step().key))
    assert told in line
    assert line.endswith("; delete this folder")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000])
def test_a_manifest_that_was_cut_is_one_line(tmp_path: Path, content: bytes):
    store = ArtifactStore(str(tmp_path))
    store.write(f"artifacts/{step().key}/manifest.json", content)
    with pytest.raises(DamagedError, match="its manifest.json is not readable: .*; delete this"):
        store.manifest(step())


# Clocks.


def test_a_clock_that_the_server_finds_wrong_is_told_so():
    said = (
        "AWS Error REQUEST_TIME_TOO_SKEWED during PutObject operation: the difference is too large"
    )
    told = str(storage_error("s3://bucket/x", OSError(said), "written"))
    assert "--storage: s3://bucket/x cannot be written: the clock of " in told
    assert "is wrong, set it" in told
