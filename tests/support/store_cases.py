"""Tests that every store passes: artifacts, atomic commits and the lease."""

from __future__ import annotations

import json
import threading

import pytest

from weirdgen.errors import LockedError
from weirdgen.storage.artifacts import ArtifactStore, Step
from weirdgen.storage.lease import Lease
from weirdgen.storage.provenance import provenance

MADE = {**provenance(), "wall_s": 0.0, "attempts": 1}


def step(name: str = "thing", **content) -> Step:
    return Step("model", name, {"stage": "model", "version": 1, "inputs": {}, **content})


def commit(store: ArtifactStore, of: Step, text: str, **more):
    with store.attempt(of) as attempt:
        (attempt[1] / "deep").mkdir()
        (attempt[1] / "deep" / "file").write_text(text)
        return store.commit(of, attempt, inputs={}, provenance=MADE, **more)


def test_an_artifact_without_manifest_does_not_exist(store: ArtifactStore):
    with store.attempt(step()) as (_, folder):
        (folder / "file").write_text("x")
        assert store.manifest(step()) is None


def test_a_committed_artifact_reads_back(store: ArtifactStore):
    made = commit(store, step(), "x")
    found = store.manifest(step())
    assert found == made
    assert (store.payload(step(), made) / "deep" / "file").read_text() == "x"
    assert store.folders("artifacts/model") == {step().folder}
    assert found.outputs.keys() == {"deep/file"}


def test_the_first_commit_wins(store: ArtifactStore):
    first, second = commit(store, step(), "first"), commit(store, step(), "second")
    assert second == first
    assert (store.payload(step(), second) / "deep" / "file").read_text() == "first"


def test_a_stale_artifact_is_replaced(store: ArtifactStore):
    first = commit(store, step(), "first")
    second = commit(store, step(), "second", replacing=first)
    assert second != first
    assert (store.payload(step(), store.manifest(step())) / "deep" / "file").read_text() == "second"


def test_an_attempt_that_fails_leaves_nothing_committed(store: ArtifactStore):
    with pytest.raises(RuntimeError), store.attempt(step()) as (_, folder):
        (folder / "file").write_text("half")
        raise RuntimeError
    assert not folder.exists()
    assert store.is_local or not folder.parent.exists()
    assert store.manifest(step()) is None


def test_a_second_run_is_refused_and_the_lease_freed_at_the_end(store: ArtifactStore):
    with (
        Lease(store, "s"),
        pytest.raises(LockedError, match="another run of this study is alive"),
        Lease(store, "s"),
    ):
        pass
    with Lease(store, "s"), Lease(store, "another"):
        pass


def elsewhere(store: ArtifactStore, beat: int) -> None:
    holder = {"owner": "o", "host": "elsewhere/boot", "pid": 1, "started": 0.0, "beat": beat}
    store.write("s/lease.json", json.dumps(holder).encode())


def test_a_holder_elsewhere_whose_heart_beats_is_not(store: ArtifactStore):
    elsewhere(store, 1)
    timer = threading.Timer(0.3, elsewhere, (store, 2))
    timer.start()
    with pytest.raises(LockedError, match="host elsewhere"), Lease(store, "s", patience_s=4):
        pass
    timer.join()


def test_a_lease_that_was_taken_over_says_so(store: ArtifactStore):
    with Lease(store, "s", beat_s=0.05) as lease:
        lease.check()
        for _ in range(20):  # a beat that is under way may overwrite it
            elsewhere(store, 1)
            lease._thread.join(0.5)
            if not lease._thread.is_alive():
                break
        with pytest.raises(LockedError, match="took this study over"):
            lease.check()
    assert json.loads(store.read("s/lease.json") or b"")["owner"] == "o"
