"""At most one live run of a study: two at once, clocks that are wrong, leases that are damaged."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import pytest
from small_disk import fill, small_disk
from store_cases import elsewhere

from weirdgen.errors import LockedError, StorageError
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.lease import Lease


def test_a_lease_whose_file_is_gone_says_that_the_storage_is(tmp_path: Path):
    store = ArtifactStore(str(tmp_path))
    with Lease(store, "s", beat_s=0.02) as lease:
        (tmp_path / "s" / "lease.json").unlink()
        lease._thread.join(5)
        with pytest.raises(StorageError, match=r"lease.json is gone: the storage was unmounted"):
            lease.check()
    assert not store.exists("s/lease.json")


def test_a_lease_on_a_full_disk_says_that_it_is_full(tmp_path: Path):
    with small_disk(tmp_path / "disk", "64k"):
        store = ArtifactStore(str(tmp_path / "disk"))
        with Lease(store, "s", beat_s=0.02, patience_s=0.2) as lease:
            fill(tmp_path / "disk")
            lease._thread.join(5)
            with pytest.raises(StorageError, match=r"is full \(.*\(tried for \d+ s\)"):
                lease.check()


def test_a_clock_that_is_set_neither_ends_a_lease_nor_keeps_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The holder's process tells by ticks since the machine's start, another machine's by its beats."""
    store = ArtifactStore(str(tmp_path))
    with Lease(store, "s", beat_s=60):
        for years in (-30, 30):
            monkeypatch.setattr(time, "time", lambda years=years: years * 3.2e7)
            monkeypatch.setattr("psutil._pslinux.boot_time", time.time, raising=False)
            with pytest.raises(LockedError, match=f"process {os.getpid()}"), Lease(store, "s"):
                pass
    elsewhere(store, 1)
    with Lease(store, "s", patience_s=0.2):
        pass


def test_of_two_starts_in_the_same_instant_one_is_refused(tmp_path: Path):
    store, outcomes = ArtifactStore(str(tmp_path)), []
    ready, hold = threading.Barrier(8), threading.Event()

    def start() -> None:
        ready.wait()
        try:
            with Lease(store, "s"):
                outcomes.append("held")
                hold.wait(10)
        except LockedError as locked:
            outcomes.append(str(locked))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    while len(outcomes) < 8:
        time.sleep(0.01)
    hold.set()
    for thread in threads:
        thread.join()
    assert outcomes.count("held") == 1


def test_of_many_that_find_the_same_holder_dead_one_takes_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store, outcomes = ArtifactStore(str(tmp_path)), []
    elsewhere(store, 1)
    found, hold = threading.Barrier(8), threading.Event()
    monkeypatch.setattr(Lease, "_alive", lambda *_: found.wait() and None)

    def start() -> None:
        try:
            with Lease(store, "s", beat_s=60):
                outcomes.append("held")
                hold.wait(10)
        except LockedError as locked:
            outcomes.append(str(locked))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 10
    while len(outcomes) < 8 and time.monotonic() < deadline:
        time.sleep(0.01)
    hold.set()
    for thread in threads:
        thread.join()
    assert outcomes.count("held") == 1
    alive = f"another run of this study is alive (host {socket.gethostname()}, process"
    assert sum(alive in outcome for outcome in outcomes) == 7


def test_a_dead_lease_that_another_run_has_taken_over_is_left_alone(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
):
    elsewhere(store, 1)
    monkeypatch.setattr(Lease, "_alive", lambda *_: elsewhere(store, 2))
    with (
        pytest.raises(LockedError, match=r"is alive \(host elsewhere, process 1"),
        Lease(store, "s"),
    ):
        pass
    assert b'"beat": 2' in (store.read("s/lease.json") or b"")


def test_a_dead_lease_that_another_run_takes_over_just_after_is_left_to_it(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
):
    elsewhere(store, 1)
    monkeypatch.setattr(Lease, "_alive", lambda *_: None)
    monkeypatch.setattr("weirdgen.storage.lease.time.sleep", lambda _: elsewhere(store, 2))
    with (
        pytest.raises(LockedError, match=r"is alive \(host elsewhere, process 1"),
        Lease(store, "s"),
    ):
        pass
    assert b'"beat": 2' in (store.read("s/lease.json") or b"")


def test_a_lease_that_is_freed_while_it_is_listened_to_is_taken_at_once(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
):
    elsewhere(store, 1)
    monkeypatch.setattr(Lease, "_alive", lambda *_: store.delete("s/lease.json"))
    monkeypatch.setattr("weirdgen.storage.lease.time.sleep", lambda _: pytest.fail("it waits"))
    with Lease(store, "s"):
        pass


def test_of_two_that_both_believe_to_hold_it_one_gives_up_within_a_beat(store: ArtifactStore):
    """As two that take over a dead holder's lease at once: neither has read the other's."""
    both = [Lease(store, "s", beat_s=0.5) for _ in range(2)]
    store.write_first = lambda path, content: store.write(path, content) or True  # type: ignore
    read, store.read = store.read, lambda path: None
    for lease in both:
        lease.__enter__()
    store.read = read
    deadline = time.monotonic() + 10
    while all(lease._lost is None for lease in both) and time.monotonic() < deadline:
        time.sleep(0.01)
    (lost,) = [lease for lease in both if lease._lost is not None]
    with pytest.raises(
        LockedError, match=rf"took this study over \(host .*, process {os.getpid()}"
    ):
        lost.check()
    lost.__exit__(None)
    assert store.exists("s/lease.json"), "the other's"
    (kept,) = [lease for lease in both if lease is not lost]
    kept.check()
    kept.__exit__(None)
    assert not store.exists("s/lease.json")


def test_a_lease_lost_at_the_very_end_is_told(tmp_path: Path):
    store = ArtifactStore(str(tmp_path))
    with pytest.raises(LockedError, match="host elsewhere, process 1"), Lease(store, "s"):
        elsewhere(store, 1)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"host": 1}'])
def test_a_lease_that_is_not_readable_is_taken_over_once_it_stands_still(
    tmp_path: Path, content: bytes
):
    store = ArtifactStore(str(tmp_path))
    store.write("s/lease.json", content)
    with Lease(store, "s", patience_s=0.2):
        pass
