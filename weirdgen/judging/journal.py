"""A judge's journal: every request sent and every reply, on disk before it counts.

Each process appends to its own file, one JSON object per line, so that concurrent runs cannot damage
each other's, and a torn last line is a reply that never counted. A `sent` without an end is a
request that was in flight when its process was killed: its reply is lost, and only such a request is
sent twice.

    {"journal": 1, "study": ...}                              first line
    {"sent": KEY, "at_most": DOLLARS}                         a request is sent
    {"failed": KEY, "reason": ..., "tokens": [in, out]}       it brought no judgment
    {"judged": KEY, "labels": [...], "error": ..., ...}       it brought a judgment, or a final error

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
        """Create `path`; `study` is who pays. Raises StorageError if that fails."""
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o644)
            fcntl.flock(self._fd, fcntl.LOCK_EX)
            _sync_folder(path.parent)
        except OSError as error:
            raise self._error(error) from error
        self._broken: StorageError | None = None
        self._written = self._synced = 0
        """Lines that were committed, and those of them on disk."""
        self._syncing = asyncio.Lock()
        self.append({"journal": JOURNAL_VERSION, "study": study})

    def append(self, record: Record) -> None:
        """Write a line that survives this process, but not a power failure.

        Raises StorageError if the disk does not take it, and at every later call: a line after a
        torn one would be lost with it.
        """
        if self._broken is None:
            line = json.dumps(record, ensure_ascii=False, separators=(",", ":")) + "\n"
            data = line.encode()
            try:
                if os.write(self._fd, data) == len(data):
                    return
                self._broken = self._error("the disk is full")
            except OSError as error:
                self._broken = self._error(error)
        raise self._broken

    def _error(self, error: OSError | str) -> StorageError:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        then = "once it can be, run the same command again: no judgment is asked for twice"
        return StorageError(f"the judge's journal {self.path} cannot be written ({reason}); {then}")

    async def commit(self, record: Record) -> None:
        """Write a line and return once it is on disk; concurrent lines share one fsync."""
        self.append(record)
        self._written += 1
        line = self._written
        async with self._syncing:
            if self._synced < line and self._broken is None:
                written = self._written
                try:
                    await asyncio.to_thread(os.fsync, self._fd)
                    self._synced = written
                except OSError as error:
                    self._broken = self._error(error)
        if self._synced < line and self._broken is not None:
            raise self._broken

    def close(self) -> None:
        os.fsync(self._fd)
        os.close(self._fd)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def has_writer(path: Path) -> bool:
    """Whether a live process still writes the journal at `path`."""
    with path.open("rb") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def records(content: bytes) -> Iterator[Record]:
    """The records of a journal; torn lines and lines that are not records are skipped."""
    for line in content[: content.rfind(b"\n") + 1].splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record


@dataclass
class Ledger:
    """Requests, replies and cost of a judge, summed over journals."""

    requests: int = 0
    judgments: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """Judgments that are final errors, by kind."""
    retried: Counter[str] = field(default_factory=Counter)
    """Requests that brought no judgment, by reason."""
    lost: int = 0
    """Requests in flight when their process was killed."""
    tokens: list[int] = field(default_factory=lambda: [0, 0])
    """Prompt and completion, as the endpoint reports them."""
    dollars: float = 0.0

    def add(self, journal: Iterable[Record], *, open_: bool = False) -> None:
        """Count one process's whole journal; with `open_`, requests in flight are not lost yet."""
        in_flight: dict[str, float] = {}
        for record in journal:
            if "sent" in record:
                self.requests += 1
                in_flight[record["sent"]] = record.get("at_most", 0.0)
            elif "failed" in record:
                self.retried[record["reason"]] += 1
                self._count_cost(record, in_flight.pop(record["failed"], 0.0))
            elif "judged" in record:
                if record.get("error"):
                    self.failures[record["error"]] += 1
                else:
                    self.judgments += 1
                self._count_cost(record, in_flight.pop(record["judged"], 0.0))
        if not open_:
            self.lost += len(in_flight)
            self.dollars += sum(in_flight.values())

    def _count_cost(self, record: Record, at_most: float) -> None:
        for i, tokens in enumerate(record.get("tokens", ())):
            self.tokens[i] += tokens
        # A lost reply may have been billed.
        self.dollars += record.get("dollars", at_most)
