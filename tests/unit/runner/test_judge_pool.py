"""The judge pool without Ray: what it has spent, whom it ends, and what it tells."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from asking import items_for, judge_at
from fake_endpoint import KEY, VARIABLE
from journal_lines import judged_line
from judge_jobs import Job
from obstore.store import MemoryStore
from ray.exceptions import ActorUnavailableError, GetTimeoutError

from weirdgen.errors import StorageError
from weirdgen.judging.client import BatchResult
from weirdgen.judging.journal import Journal
from weirdgen.judging.judgment_store import JudgmentStore
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.runner import judge_actors, judge_pool
from weirdgen.runner.judge_actors import NOT_UPLOADED, JournalUploader, JudgeActor
from weirdgen.runner.judge_pool import JudgePool, _Task, _Worker
from weirdgen.storage.artifacts import ArtifactStore

URL = "http://127.0.0.1:9/v1"
JUDGE = judge_at(URL)
ITEMS = items_for(JUDGE, 3)


class Pool:
    """A pool, what it told, and the actors that it has ended."""

    def __init__(self, store: ArtifactStore, *judges: LlmJudge) -> None:
        self.told: list[str] = []
        self.done: list[Any] = []
        self.pool = JudgePool(store, "study", judges or [JUDGE], 1, self.told.append)


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path / "store"))


@pytest.fixture
def made(store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pool]:
    pool = Pool(store)
    monkeypatch.setattr(judge_pool.ray, "kill", pool.done.append)
    monkeypatch.setattr(pool.pool, "_open_worker", lambda: pool.done.append("another"))
    yield pool
    pool.pool._workers.clear()
    pool.pool.close()


def test_a_budget_counts_what_was_paid_under_other_settings(store: ArtifactStore):
    second = judge_at(URL, temperature=1.0)
    for judge, payer, dollars in (
        (JUDGE, "study", 1.0),
        (judge_at(URL, max_tokens=64), "study", 2.0),
        (second, "study", 4.0),
        (judge_at(URL, max_tokens=64), "another", 8.0),
        (judge_at(URL, model="judge-2"), "study", 16.0),
    ):
        journal = JudgmentStore(store, judge).journal(payer)
        journal.append(judged_line(ITEMS[0].key, dollars=dollars))
        journal.close()
    alone, both = Pool(store).pool, Pool(store, JUDGE, second).pool
    assert alone.queue.spent(JUDGE.settings) == 1 + 2 + 4
    assert both.queue.spent(JUDGE.settings) == 1 + 2
    assert both.queue.spent(second.settings) == 2 + 4
    for pool in (alone, both):
        pool.close()


def test_only_this_judges_verdicts_count_whatever_else_was_paid(store: ArtifactStore):
    journal = JudgmentStore(store, judge_at(URL, max_tokens=64)).journal("study")
    journal.append(judged_line(ITEMS[0].key))
    journal.close()
    pool = Pool(store).pool
    assert pool.index.get(ITEMS[0].key) is None
    pool.close()


def test_an_actor_that_cannot_be_reached_is_ended_before_its_items_are_asked_again(
    made: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pool = made.pool
    journal = Journal(tmp_path / "j.jsonl", "study")
    journal.append({"sent": ITEMS[0].key})
    pool._workers.append(worker := _Worker("actor", [journal.path]))

    def kill(actor: str) -> None:
        """It hears one more reply before it is gone."""
        made.done.append(actor)
        journal.append(judged_line(ITEMS[0].key))
        threading.Timer(0.2, journal.close).start()

    def unavailable(ref: Any) -> Any:
        raise ActorUnavailableError("for a moment", None)

    monkeypatch.setattr(judge_pool.ray, "kill", kill)
    monkeypatch.setattr(judge_pool.ray, "get", unavailable)
    pool.queue.add(job := Job(JUDGE, ITEMS))
    batch = pool.queue.next_batch(10)
    pool.running["ref"] = _Task(worker, batch)  # type: ignore[index]
    pool.collect("ref")  # type: ignore[arg-type]
    assert made.done == ["actor", "another"]
    assert not judge_pool.has_writer(journal.path), "nobody writes there any more"
    assert pool.index.get(ITEMS[0].key) is not None, "what it had heard is not asked again"
    again = pool.queue.next_batch(10)
    assert again is not None
    assert sorted(again.items) == sorted(ITEMS[1:])
    assert not job.ends
    assert made.told == ["a judge actor died (ActorUnavailableError)"]


def test_a_journal_that_cannot_be_opened_is_told_by_the_call_that_opens_it(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
):
    """What an actor's `__init__` raises would reach the pool as an actor that died."""
    monkeypatch.setenv(VARIABLE, KEY)
    store.write("judgments", b"a file where the journals' folder is to be")
    actor = JudgeActor.__ray_metadata__.modified_class(store.uri, "study", [JUDGE], 1, 0.01)

    async def opened() -> list[str]:
        with pytest.raises(StorageError, match=f"--storage: {store.uri} cannot be written"):
            await actor.open()
        store.delete("judgments")
        paths = await actor.open()
        await actor.close()
        return paths

    (path,) = asyncio.run(opened())
    assert not judge_pool.has_writer(Path(path))


# Journals that are not uploaded.


class Unreachable:
    """Journals whose first uploads fail."""

    def __init__(self, failures: int) -> None:
        self.local_folder, self.failures, self.uploads = Path("/here"), failures, 0

    def upload(self) -> None:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("no route\nto the bucket")
        self.uploads += 1


def test_each_failure_to_upload_is_kept_until_it_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(judge_actors, "UPLOAD_EVERY_S", 0.001)
    kept = Unreachable(3)
    uploader = JournalUploader([kept])  # type: ignore[list-item]

    async def until_uploaded() -> None:
        task = asyncio.create_task(uploader.run())
        while not kept.uploads:
            await asyncio.sleep(0.001)
        task.cancel()

    asyncio.run(until_uploaded())
    failed = "journals in /here were not uploaded (RuntimeError: no route)"
    assert uploader.take_failures() == (f"{failed}: trying again",) * 3
    assert uploader.take_failures() == ()
    kept.failures = 1
    uploader.last()
    assert uploader.take_failures() == (f"{failed}: {NOT_UPLOADED}",)


class Closing:
    """An actor whose `close` brings this."""

    def __init__(self, brings: Any) -> None:
        self.close, self.brings = self, brings

    def remote(self) -> Any:
        return self.brings


def get(ref: Any, timeout: float | None = None) -> Any:
    if ref == "late":
        raise GetTimeoutError("60 s")
    return ref


def test_the_pool_tells_what_its_actors_could_not_upload(
    made: Pool, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
):
    pool = made.pool
    monkeypatch.setattr(judge_pool.ray, "get", get)
    worker = _Worker(Closing(("at the end",)), [Path("j")])
    pool.queue.add(Job(JUDGE, ITEMS))
    outcome = BatchResult([], None, ("once", "twice"))
    pool._on_result(_Task(worker, pool.queue.next_batch(10)), outcome)
    assert made.told == ["once", "twice"]
    pool._workers += [worker, _Worker(Closing("late"))]
    store._objects = MemoryStore()
    pool.close()
    lost = f"a judge actor did not end (GetTimeoutError): {NOT_UPLOADED}"
    assert made.told == ["once", "twice", "at the end", lost]
    assert len(made.done) == 2
