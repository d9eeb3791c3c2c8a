"""What ran where and when: how it is kept, what of it is idle, and that a report is made of it."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from page_study import dot_figure as dot
from rich.console import Console
from spans import T, span
from store_cases import elsewhere
from tiny_results import report_data, results, study

from weirdgen.errors import LockedError
from weirdgen.report import summary
from weirdgen.report.figures.layout import ReportFigure
from weirdgen.report.figures.timeline import timeline_figure
from weirdgen.storage import timeline
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.lease import Lease
from weirdgen.storage.timeline import TIMELINE, Span, Timeline, idle_share, read_timeline, runs


def timeline_of(store: ArtifactStore, of: str = "tiny") -> Timeline:
    return Timeline(store, of, Lease(store, of))


# What is kept.


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
    assert [(path, content.count(b"\n")) for path, content in written] == [
        (f"tiny/{TIMELINE}", 3), (f"tiny/{TIMELINE}", 6),
    ]  # fmt: skip
    kept.save()
    assert written[-1][1].count(b"\n") == 7
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


def test_a_line_that_is_no_span_is_passed_over(store: ArtifactStore) -> None:
    good = span(0, 5)._asdict()
    bad: list[Any] = [
        {k: v for k, v in good.items() if k != "ok"}, good | {"more": 1}, good | {"kind": "no stage"},
        good | {"kind": "answers\n"}, good | {"started": "0"}, good | {"started": float("nan")},
        good | {"ended": float("inf")}, good | {"ended": 10**400}, good | {"ended": T - 1},
        good | {"started": -1.0}, good | {"engine": True}, good | {"engine": 1.5},
        good | {"together": 0}, good | {"together": None}, good | {"ok": 1}, good | {"gpu": 0},
        good | {"what": "\ud800"}, [], "text", None, 7,
    ]  # fmt: skip
    lines = [*(json.dumps(line).encode() for line in bad), b"", b"\xff\xfe", b"[" * 10**5]
    lines.append(json.dumps(good).encode()[:-9])
    whole = json.dumps(good | {"engine": 2, "started": int(T)}).encode()
    store.write(f"tiny/{TIMELINE}", b"\n".join([whole, *lines[:-1], whole, lines[-1]]))
    assert read_timeline("tiny", store) == [span(0, 5, engine=2)] * 2
    kept = timeline_of(store)
    kept.add(span(6, 7))
    kept.save()
    assert len((store.read(f"tiny/{TIMELINE}") or b"").splitlines()) == 3


def test_no_file_is_no_span(store: ArtifactStore) -> None:
    assert read_timeline("tiny", store) == []
    assert timeline_figure(read_timeline("tiny", store), "tiny") is None


# Runs and idle time.


def test_a_run_ends_where_nothing_ran_for_ten_minutes() -> None:
    long, inner = span(0, 2000, "train"), span(5, 10)
    near, far = span(2600, 2601), span(3202, 3203)
    assert runs([far, near, inner, long]) == [[long, inner, near], [far]]
    assert runs([]) == []


def test_idle_is_what_no_span_covers_between_first_start_and_last_end() -> None:
    spans = [
        span(0, 1000, "train", gpu=""),
        # GPU 0: 100 to 200; free to 250; 250 to 400 with more beside and within; free to 500.
        span(100, 200, "engine", engine=1), span(250, 400, "train"), span(260, 300),
        span(380, 400), span(500, 500),
        # GPU 1: without a pause, and together with GPU 2, which waits half of its time.
        span(0, 50, gpu="1"), span(50, 75, "train", gpu="1,2"), span(125, 150, gpu="2"),
    ]  # fmt: skip
    expected = {("host-a", "0"): 150 / 400, ("host-a", "1"): 0.0, ("host-a", "2"): 0.5}
    assert idle_share(spans) == pytest.approx(expected)
    assert idle_share(spans[::-1]) == pytest.approx(expected)
    assert idle_share([]) == {}
    assert idle_share([span(3, 3)]) == {("host-a", "0"): 0.0}


def test_idle_is_of_the_latest_run_and_of_each_nodes_gpus() -> None:
    before = [span(0, 10), span(90, 100), span(0, 50, gpu="7")]
    latest = [span(1000, 1010), span(1030, 1040), span(1000, 1001, node="host-b")]
    on_cpu = [span(5000, 5010, "offline_judge", gpu="")]
    expected = {("host-a", "0"): 0.5, ("host-b", "0"): 0.0}
    assert idle_share([*latest, *before]) == pytest.approx(expected)
    assert idle_share([*on_cpu, *latest, *before]) == pytest.approx(expected)
    assert idle_share(on_cpu) == {}


# In the report.


def test_the_report_is_made_anew_when_something_ran_and_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ArtifactStore(str(tmp_path))
    of = study()
    plan = SimpleNamespace(study=of, gold=None, model=SimpleNamespace(revision="r"), llm_judges=[])
    found: Any = SimpleNamespace(plan=plan, complete=True)
    shown, made = report_data(results(), of), []

    def all_figures(of: Any) -> Iterator[ReportFigure]:
        made.append(of.timeline)
        yield dot()
        yield from filter(None, [timeline_figure(of.timeline, of.name)])

    for name, value in {
        "summary.sources_digest": lambda _: "the same", "summary.are_current": lambda *_: True,
        "summary.current_results": lambda *_: shown.results,
        "loss_curves.read_losses": lambda *_: {}, "methods.methods": lambda *_: "", "figures.all.all_figures": all_figures,
        "cards.write_cards": lambda *_: None,
    }.items():  # fmt: skip
        monkeypatch.setattr(f"weirdgen.report.{name}", value)
    store.write(f"{of.name}/results.parquet", b"")

    def publish() -> int:
        summary.write_report(found, store, Console(file=io.StringIO()))
        return len(made)

    assert (publish(), publish()) == (1, 1)
    kept = timeline_of(store, of.name)
    kept.add(span(0, 5))
    kept.save()
    assert (publish(), publish()) == (2, 2)
    assert [*made[-1]] == [span(0, 5)]
    timeline_of(store, of.name).save()
    assert publish() == 2
    assert store.exists(f"{of.name}/{summary.FIGURES}/run-timeline.csv")
    assert "What ran where and when" in (store.read(f"{of.name}/{summary.PAGE}") or b"").decode()
