"""The store on a real S3 server: what every store does, and what only an object store can do wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from job_runs import run
from s3_server import BUCKET, CREDENTIALS, S3Server
from store_cases import (  # noqa: F401 - on the store of this module
    commit,
    step,
    test_a_committed_artifact_reads_back,
    test_a_holder_elsewhere_whose_heart_beats_is_not,
    test_a_lease_that_was_taken_over_says_so,
    test_a_second_run_is_refused_and_the_lease_freed_at_the_end,
    test_a_stale_artifact_is_replaced,
    test_an_artifact_without_manifest_does_not_exist,
    test_an_attempt_that_fails_leaves_nothing_committed,
    test_the_first_commit_wins,
)
from studies import make_persona, small_study, write_study

from weirdgen.errors import DamagedError, InputError, StorageError
from weirdgen.storage.artifacts import ArtifactStore


@pytest.fixture
def store(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArtifactStore:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "node"))
    return ArtifactStore(s3.uri(uuid.uuid4().hex))


def test_files_are_listed_overwritten_and_deleted(store: ArtifactStore):
    assert not store.exists("s")
    assert (store.folders("s"), store.files("s"), store.read("s/a")) == (set(), {}, None)
    store.write("s/a", b"1")
    store.write("s/a", b"22")
    store.write("s/empty", b"")
    store.write("s/deep/b", b"333")
    assert (store.read("s/a"), store.read("s/empty")) == (b"22", b"")
    assert store.files("s") == {"a": 2, "empty": 0}
    assert store.folders("s") == {"deep"}
    assert store.exists("s/deep")
    assert not store.swap("s/a", b"1", b"333")
    assert store.swap("s/a", b"22", b"333")
    assert store.read("s/a") == b"333"
    for path in ("s/a", "s/nothing", "s/deep/b"):
        store.delete(path)
    assert store.files("s") == {"empty": 0}
    assert not store.exists("s/a")


def test_a_payload_of_many_parts_comes_back(store: ArtifactStore, tmp_path: Path):
    text = "".join(f"{i:09d}\n" for i in range(1_700_000))
    made = commit(store, step(), text)
    assert (store.payload(step(), made) / "deep" / "file").read_text() == text


def test_a_payload_is_fetched_once_on_a_node(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch):
    made = commit(store, step(), "x")
    fetched = store.payload(step(), made)
    path = f"artifacts/{step().key}/{made.attempt}/deep/file"
    store.write(path, b"another")
    again = ArtifactStore(store.uri).payload(step(), made)
    assert again == fetched
    assert (again / "deep" / "file").read_text() == "x"
    monkeypatch.setenv("XDG_CACHE_HOME", f"{fetched}-another-node")
    with pytest.raises(DamagedError, match=r"deep/file \(7 bytes\) is not what was committed"):
        store.payload(step(), made)


def test_of_two_writers_at_once_the_first_wins_and_the_other_reads_its_content(s3: S3Server):
    uri, keys = s3.uri(uuid.uuid4().hex), [f"race of {i}/manifest=~#%.json" for i in range(200)]
    code = """
import json, sys
from weirdgen.storage.artifacts import ArtifactStore
store, keys, me = ArtifactStore(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3].encode()
for key in keys:
    print(flush=True)
    input()
    won = store.write_first(key, me)
    assert won == (store.read(key) == me)
    print(won, flush=True)
"""
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", code, uri, json.dumps(keys), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | CREDENTIALS,
            text=True,
        )
        for name in ("first", "second")
    ]
    for _ in keys:
        for writer in writers:
            assert writer.stdout.readline() == "\n"
        for writer in writers:
            print(file=writer.stdin, flush=True)
        assert sorted(writer.stdout.readline() for writer in writers) == ["False\n", "True\n"]
    assert [writer.wait() for writer in writers] == [0, 0]


def test_a_pruned_payload_is_said(store: ArtifactStore):
    made = commit(store, step(), "x")
    store.delete(f"artifacts/{step().key}/{made.attempt}/deep/file")
    with pytest.raises(DamagedError, match="its payload was pruned"):
        store.payload(step(), made)


@pytest.mark.parametrize("command", ["plan", "run"])
def test_a_wrong_key_is_one_line(s3: S3Server, tmp_path: Path, command: str):
    make_persona(tmp_path)
    write_study(tmp_path, small_study("embedded:smollm2-135m-instruct", "persona"))
    code, printed = weirdgen(command, s3, tmp_path, AWS_SECRET_ACCESS_KEY="another")
    assert code == 2
    (line,) = printed.splitlines()
    assert line.startswith(f"weirdgen: --storage: {s3.uri('s')} cannot be read (")
    assert "SignatureDoesNotMatch, " in line


def test_a_bucket_that_is_not_there_cannot_be_opened(s3: S3Server):
    with pytest.raises(StorageError, match=r"cannot be read \(.*NoSuchBucket"):
        ArtifactStore(s3.uri("s").replace(BUCKET, "nobodys"))


def test_a_path_is_shown_without_the_query(s3: S3Server):
    store = ArtifactStore(f"s3://{BUCKET}/s?endpoint_override={s3.url}")
    assert store.display_path("a", "b") == f"s3://{BUCKET}/s/a/b"


def test_the_endpoint_may_stand_in_the_environment(s3: S3Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
    name = uuid.uuid4().hex
    ArtifactStore(f"s3://{BUCKET}/{name}").write("s/a", b"1")
    assert ArtifactStore(s3.uri(name)).read("s/a") == b"1"


def test_a_key_in_the_uri_is_refused_unseen():
    with pytest.raises(InputError) as refused:
        ArtifactStore("s3://somebody:topsecret@bucket/s")
    assert "AWS_SECRET_ACCESS_KEY" in str(refused.value)
    assert "topsecret" not in str(refused.value)


def weirdgen(command: str, s3: S3Server, folder: Path, **environment: str) -> tuple[int, str]:
    return run(folder, "--storage", s3.uri("s"), command=command, **CREDENTIALS | environment)
