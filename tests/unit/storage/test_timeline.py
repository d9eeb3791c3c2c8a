"""What ran where and when, and how it is kept."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from spans import T, span
from store_cases import elsewhere

from weirdgen.errors import LockedError
from weirdgen.storage import timeline
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.lease import Lease
from weirdgen.storage.timeline import TIMELINE, Span, Timeline, read_timeline

EVENT = {
    "name": "a", "cat": "train", "ph": "X", "ts": 0.0, "dur": 1.0, "pid": "host", "tid": "CPU",
    "args": {"engine": None, "together": 1, "ok": True},
}  # fmt: skip


def timeline_of(store: ArtifactStore, of: str = "tiny") -> Timeline:
    return Timeline(store, of, Lease(store, of))


def test_what_is_added_is_read_by_the_next_run(store: ArtifactStore) -> None:
    first = timeline_of(store)
    one, two = span(0, 5, "engine", engine=1, gpu="3"), span(6, 7, "train", together=8, ok=False)
    first.add(one)
    assert read_timeline("tiny", store) == [], "not yet 30 s"
    first.save()
    second = timeline_of(store)
    second.add(two)
    second.save()
    assert read_timeline("tiny", store) == [one, two]
    assert all(isinstance(read, Span) for read in read_timeline("tiny", store))


def test_it_saves_itself_every_half_minute(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, written = [0.0], []
    monkeypatch.setattr(timeline, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(
        ArtifactStore, "write", lambda _, path, content: written.append((path, content))
    )
    kept = timeline_of(store)
    for now[0] in (10.0, 29.9, 30.0, 31.0, 59.9, 60.0, 60.1):
        kept.add(span(0, now[0]))
    assert [(path, content.count(b"host-a")) for path, content in written] == [
        (f"tiny/{TIMELINE}", 3), (f"tiny/{TIMELINE}", 6),
    ]  # fmt: skip
    kept.save()
    assert written[-1][1].count(b"host-a") == 7
    kept.save()
    assert len(written) == 3, "nothing new"


def test_a_run_without_work_writes_nothing(store: ArtifactStore) -> None:
    broken = b'{"what": "half a li'
    store.write(f"tiny/{TIMELINE}", broken)
    timeline_of(store).save()
    assert store.read(f"tiny/{TIMELINE}") == broken
    timeline_of(store, "other").save()
    assert not store.exists(f"other/{TIMELINE}")


def test_a_storage_that_fails_for_a_moment_ends_no_run(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(timeline, "time", SimpleNamespace(monotonic=lambda: now[0]))
    kept = timeline_of(store)
    with monkeypatch.context() as broken:
        broken.setattr(ArtifactStore, "write", lambda *_: (_ for _ in ()).throw(OSError("gone")))
        now[0] = 40.0
        kept.add(span(0, 1))
        with pytest.raises(OSError, match="gone"):
            kept.save()
    now[0] = 41.0
    kept.add(span(1, 2))
    assert len(read_timeline("tiny", store)) == 2


def test_a_run_that_lost_its_lease_leaves_the_timeline_to_the_other(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(timeline, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with pytest.raises(LockedError), Lease(store, "s", beat_s=0.02) as lease:
        kept = Timeline(store, "s", lease)
        kept.add(span(0, 1))
        elsewhere(store, 1)
        lease._thread.join(5)
        other = timeline_of(store, "s")
        other.add(span(2, 3))
        other.save()
        now[0] = 40.0
        kept.add(span(4, 5))
        kept.save()
    assert read_timeline("s", store) == [span(2, 3)]


def test_it_is_a_file_of_trace_events(store: ArtifactStore) -> None:
    kept = timeline_of(store)
    kept.add(span(0, 5, "engine", engine=1, gpu="3"))
    kept.add(span(6, 7.5, "offline_judge", gpu="", ok=False))
    kept.save()
    first, second = json.loads(store.read(f"tiny/{TIMELINE}") or b"")
    assert (first["ph"], first["cat"], first["pid"], first["tid"]) == (
        "X",
        "engine",
        "host-a",
        "GPU 3",
    )
    assert (second["ts"], second["dur"], second["tid"]) == ((T + 6) * 1e6, 1.5e6, "CPU")
    assert second["args"] == {"engine": None, "together": 1, "ok": False}


@pytest.mark.parametrize(
    "content",
    [b"", b"[", b"null", b"\xff\xfe", b"[" * 10**5, b"[1]", b"[{}]"]
    + [
        json.dumps([EVENT | change]).encode()
        for change in (
            {"ts": "soon"},
            {"ts": float("nan")},
            {"dur": -1},
            {"dur": 10**400},
            {"args": {}},
            {"name": None},
        )
    ],
)
def test_a_file_that_is_no_timeline_ends_no_run(store: ArtifactStore, content: bytes) -> None:
    store.write(f"tiny/{TIMELINE}", content)
    assert read_timeline("tiny", store) == []
    kept = timeline_of(store)
    kept.add(span(6, 7))
    kept.save()
    assert read_timeline("tiny", store) == [span(6, 7)]


def test_no_file_is_no_span(store: ArtifactStore) -> None:
    assert read_timeline("tiny", store) == []
