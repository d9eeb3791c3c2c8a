"""A judge's journal: every request that was sent, and every reply, on disk before it counts.

Each process that asks writes a file of its own, one JSON object a line, and only ever appends; so
two runs at once cannot spoil each other's, and a torn last line is a reply that never counted. An
`ask` without its end is a request that was under way when the process was killed: its reply, if
there was one, is lost, and it is the only kind that is asked twice.

    {"journal": 1, "study": ...}                       first
    {"ask": KEY, "at_most": DOLLARS}                   a request is sent
    {"tried": KEY, "why": ..., "tokens": [in, out]}    it brought nothing that stands
    {"got": KEY, "labels": [...], "error": ..., ...}   it brought a verdict, or a failure that stands

A label is [metric, label, confidence].
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weirdgen.errors import StorageError

JOURNAL_VERSION = 1

Record = dict[str, Any]


class Journal:
    """One process's journal, open for appending; locked as long as the process lives."""

    def __init__(self, path: Path, study: str) -> None:
        """Makes the file `path`; `study` is who pays. Raises StorageError where that is not possible."""
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o644)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            _sync_folder(path.parent)
        except OSError as error:
            raise self._told(error.strerror or str(error)) from error
        self._broken: StorageError | None = None
        self._unsynced: list[asyncio.Future[None]] = []
        self._syncing: asyncio.Task[None] | None = None
        self.note({"journal": JOURNAL_VERSION, "study": study})

    def note(self, record: Record) -> None:
        """Writes a line that outlives this process, though not the machine's power.

        Raises StorageError where the disk does not take it, and ever after: what came behind a torn
        line would be torn with it.
        """
        if self._broken is None:
            line = json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"
            data = line.encode()
            try:
                if os.write(self._fd, data) == len(data):
                    return
                self._broken = self._told("the disk is full")
            except OSError as error:
                self._broken = self._told(error.strerror or str(error))
        raise self._broken

    def _told(self, reason: str) -> StorageError:
        then = "once it can be, the same command goes on and asks for no verdict twice"
        return StorageError(f"the judge's journal {self.path} cannot be written ({reason}); {then}")

    async def commit(self, record: Record) -> None:
        """Writes a line and returns once it is on disk; lines that wait together share one fsync."""
        self.note(record)
        synced = asyncio.get_running_loop().create_future()
        self._unsynced.append(synced)
        if self._syncing is None:
            self._syncing = asyncio.create_task(self._sync())
        await synced

    async def _sync(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._unsynced:
                waiting, self._unsynced = self._unsynced, []
                try:
                    await loop.run_in_executor(None, os.fsync, self._fd)
                except OSError as error:
                    self._broken = self._told(error.strerror or str(error))
                    for synced in waiting:
                        synced.set_exception(self._broken)
                else:
                    for synced in waiting:
                        synced.set_result(None)
        finally:
            self._syncing = None

    def close(self) -> None:
        os.fsync(self._fd)
        os.close(self._fd)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def is_written(path: Path) -> bool:
    """Whether a living process still writes the journal at `path`."""
    with path.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def records(content: bytes) -> Iterator[Record]:
    """The whole lines of a journal; what is torn or is no record never counted."""
    for line in content[: content.rfind(b"\n") + 1].splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record


@dataclass
class Ledger:
    """What asking a judge took, over journals."""

    requests: int = 0
    verdicts: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """Replies that ended in no verdict, by kind."""
    repeated: Counter[str] = field(default_factory=Counter)
    """Requests that brought nothing, by kind."""
    lost: int = 0
    """Requests under way when their process was killed."""
    tokens: list[int] = field(default_factory=lambda: [0, 0])
    """Prompt and completion, as the endpoint counts them."""
    dollars: float = 0.0

    def add(self, journal: Iterable[Record], *, open_: bool = False) -> None:
        """Counts one process's whole journal; `open_`: what has no end yet may still get one."""
        under_way: dict[str, float] = {}
        for record in journal:
            if "ask" in record:
                self.requests += 1
                under_way[record["ask"]] = record.get("at_most", 0.0)
            elif "tried" in record:
                self.repeated[record["why"]] += 1
                self._ended(record, under_way.pop(record["tried"], 0.0))
            elif "got" in record:
                if record.get("error"):
                    self.failures[record["error"]] += 1
                else:
                    self.verdicts += 1
                self._ended(record, under_way.pop(record["got"], 0.0))
        if not open_:
            self.lost += len(under_way)
            self.dollars += sum(under_way.values())

    def _ended(self, record: Record, at_most: float) -> None:
        for i, tokens in enumerate(record.get("tokens", ())):
            self.tokens[i] += tokens
        # A reply that never came may have been billed all the same.
        self.dollars += record.get("dollars", at_most)
