"""A store whose S3 server is killed, or away for a while."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from job_runs import run
from s3_server import CREDENTIALS, S3Server
from store_cases import commit, step
from studies import make_persona, small_study, write_study

from weirdgen.errors import StorageError
from weirdgen.storage import bucket
from weirdgen.storage.artifacts import ArtifactStore


@pytest.fixture
def store(s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArtifactStore:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "node"))
    return ArtifactStore(s3.uri(uuid.uuid4().hex))


@pytest.fixture
def away(s3: S3Server) -> Iterator[S3Server]:
    """The server, killed for the length of a test."""
    s3.kill()
    yield s3
    if not s3.is_running:
        s3.start()


def test_what_was_committed_outlives_kill_9_of_the_server(store: ArtifactStore, s3: S3Server):
    made = commit(store, step(), "x")
    s3.kill()
    s3.start()
    assert store.manifest(step()) == made
    assert (store.payload(step(), made) / "deep" / "file").read_text() == "x"


def test_ten_seconds_without_the_server_are_outlived(store: ArtifactStore, away: S3Server):
    back = threading.Timer(10, away.start)
    back.start()
    started = time.monotonic()
    made = commit(store, step(), "x")
    assert time.monotonic() - started > 10
    back.join()
    assert store.manifest(step()) == made


def test_a_storage_that_is_away_is_one_line_soon(away: S3Server, tmp_path: Path):
    make_persona(tmp_path)
    write_study(tmp_path, small_study("embedded:smollm2-135m-instruct", "persona"))
    outcomes = []
    commands = [
        threading.Thread(target=lambda c=c: outcomes.append(weirdgen(c, away, tmp_path)))
        for c in ("plan", "run")
    ]
    started = time.monotonic()
    for command in commands:
        command.start()
    for command in commands:
        command.join()
    assert time.monotonic() - started < 60
    for code, printed in outcomes:
        assert code == 2
        (line,) = printed.splitlines()
        assert line.startswith(f"weirdgen: --storage: {away.uri('s')} cannot be read (")
        assert "error sending request" in line


def test_a_store_that_does_not_answer_is_no_wrong_input(
    away: S3Server, monkeypatch: pytest.MonkeyPatch
):
    """Whoever opens it in an outage is tried again; what was written wrong never is."""
    monkeypatch.setattr(bucket, "RETRY_FOR", timedelta(0))
    with pytest.raises(StorageError, match=r"--storage: s3://.* cannot be read \("):
        ArtifactStore(away.uri("s"))


def weirdgen(command: str, s3: S3Server, folder: Path, **environment: str) -> tuple[int, str]:
    return run(folder, "--storage", s3.uri("s"), command=command, **CREDENTIALS | environment)
