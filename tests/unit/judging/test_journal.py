"""A journal: what was asked and heard, whatever dies, and what is read of it again."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest
from asking import items_for, judge_at
from journal_lines import judged_line

from weirdgen.errors import StorageError
from weirdgen.judging.journal import Journal, Ledger, Record, has_writer, records

KEYS = [item.key for item in items_for(judge_at("http://127.0.0.1:9/v1"), 40)]


def counted(content: bytes, *, open_: bool = False) -> Ledger:
    total = Ledger()
    total.add(records(content), open_=open_)
    return total


def test_a_journal_reads_back_and_says_who_pays(tmp_path: Path):
    journal = Journal(tmp_path / "deep" / "j.jsonl", "study")
    notes = [{"sent": KEYS[0], "at_most": 0.5}, {"failed": KEYS[0], "reason": "é\n\u2028\r"}]
    for note in notes:
        journal.append(note)
    first, *others = records(journal.path.read_bytes())
    assert first == {"journal": 1, "study": "study"}
    assert others == notes
    assert has_writer(journal.path)
    journal.close()
    assert not has_writer(journal.path)
    with pytest.raises(StorageError, match="File exists"):
        Journal(journal.path, "study")


@pytest.mark.parametrize("call", ["fcntl.flock", "os.fsync"])
def test_a_journal_that_cannot_be_locked_or_kept_is_one_line(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def failing(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(call, failing)
    with pytest.raises(StorageError, match=r"j.jsonl cannot be written \(No locks available\)"):
        Journal(tmp_path / "j.jsonl", "study")


def test_a_verdict_is_on_disk_before_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    journal = Journal(tmp_path / "j.jsonl", "study")
    synced: list[int] = []
    fsync = os.fsync

    def noted(fd: int) -> None:
        size = journal.path.stat().st_size
        fsync(fd)
        synced.append(size)

    async def commit(key: str) -> None:
        await journal.commit(judged_line(key))
        written = journal.path.read_bytes()
        assert key.encode() in written[: synced[-1]]

    async def main() -> None:
        await asyncio.gather(*map(commit, KEYS))

    monkeypatch.setattr(os, "fsync", noted)
    asyncio.run(main())
    assert 1 <= len(synced) <= 5, "those that wait together share one"
    assert counted(journal.path.read_bytes()).judgments == len(KEYS)
    journal.close()


def test_a_disk_that_fails_is_told_to_everybody_who_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    journal = Journal(tmp_path / "j.jsonl", "study")

    def failing(fd: int) -> None:
        raise OSError(5, "Input/output error")

    async def main() -> list:
        waiting = asyncio.gather(
            *(journal.commit(judged_line(key)) for key in KEYS), return_exceptions=True
        )
        failed = await asyncio.wait_for(waiting, 5)
        monkeypatch.undo()
        with pytest.raises(StorageError):  # the next fsync would tell nothing of what was lost
            await journal.commit(judged_line(KEYS[0]))
        return failed

    monkeypatch.setattr(os, "fsync", failing)
    assert {type(each) for each in asyncio.run(main())} == {StorageError}
    journal.close()


def test_a_full_disk_never_spoils_what_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    journal = Journal(tmp_path / "j.jsonl", "study")
    journal.append(judged_line(KEYS[0]))
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:30]))
    with pytest.raises(OSError, match="the disk is full"):
        journal.append(judged_line(KEYS[1]))
    monkeypatch.undo()
    with pytest.raises(OSError, match="j.jsonl"):
        journal.append(judged_line(KEYS[2]))
    assert [each.get("judged") for each in records(journal.path.read_bytes())] == [None, KEYS[0]]
    journal.close()


def test_of_a_torn_journal_the_whole_lines_count(tmp_path: Path):
    journal = Journal(tmp_path / "j.jsonl", "study")
    for key in KEYS[:5]:
        journal.append({"sent": key})
        journal.append(judged_line(key))
    journal.close()
    content = journal.path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == ord("\n")]
    for cut in range(len(content) + 1):
        whole = sum(end <= cut for end in ends)
        assert len(list(records(content[:cut]))) == whole
    assert list(records(b"")) == list(records(b"no line")) == []
    for junk in (b'{"judged": "x', b"[1]", b"\xff\xfe", b"\0" * 40, b"null", b""):
        mixed = content[: ends[4]] + junk + b"\n" + content[ends[4] :]
        assert list(records(mixed)) == list(records(content))


def test_the_ledger_counts_every_request_by_what_became_of_it():
    journal: list[Record] = [
        {"journal": 1, "study": "s"},
        {"sent": "a", "at_most": 1.0},
        {"failed": "a", "reason": "http_500", "dollars": 0.0},
        {"sent": "a", "at_most": 1.0},
        {"failed": "a", "reason": "malformed", "tokens": [10, 2], "dollars": 0.25},
        {"sent": "a", "at_most": 1.0},
        {"judged": "a", "labels": [["m", "l", 1.0]], "tokens": [12, 3], "dollars": 0.5},
        {"sent": "b"},
        {"judged": "b", "labels": [], "error": "refusal", "tokens": [5, 1], "dollars": 0.125},
        {"sent": "c", "at_most": 2.0},
        {"failed": "c", "reason": "timeout"},
        {"sent": "d", "at_most": 4.0},
        {"sent": "e"},
    ]
    total = Ledger()
    total.add(iter(journal))
    assert (total.requests, total.judgments, total.lost) == (7, 1, 2)
    assert total.failures == {"refusal": 1}
    assert total.retried == {"http_500": 1, "malformed": 1, "timeout": 1}
    assert total.tokens == [27, 6]
    # Without a price of its own a timeout may have cost what was set aside; so may what was lost.
    assert total.dollars == 0.25 + 0.5 + 0.125 + 2.0 + 4.0
    living = Ledger()
    living.add(journal, open_=True)
    assert (living.requests, living.lost, living.dollars) == (7, 0, 2.875)
    total.add(journal)
    assert (total.requests, total.lost) == (14, 4)
