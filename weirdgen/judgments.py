"""Every verdict that was ever received from a judge, wherever it was asked for: the journals in a store.

    <root>/judgments/<rubric>-<model>-<fingerprint12>/judge.json         the judge's whole record and prompt
                                                     /<uuid>[-<n>].jsonl  journals, see weirdgen.judge.journal

With a local store a journal stands there from its first line. With an object store it is a file on
this node, and what is new of it goes up as a further part every few seconds.
"""

from __future__ import annotations

import json
import re
import sqlite3
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from hashlib import sha256
from pathlib import Path

from weirdgen.cache import node_cache
from weirdgen.judge.journal import Journal, Ledger, Record, is_written, records
from weirdgen.judge.llm import LlmJudge
from weirdgen.store import Store

SHIP_S = 5.0
"""An object store gets what is new so often: what a lost node may cost."""
_PART = re.compile(r"([0-9a-f]{32})(?:-(\d+))?\.jsonl")


class Judgments:
    """The journals of one judge in one store."""

    def __init__(self, store: Store, judge: LlmJudge) -> None:
        self._store, self._folder = store, judge.folder
        self._judge = judge
        self._open: Journal | None = None

    @property
    def here(self) -> Path:
        """The folder of this node in which journals are written."""
        if self._store.is_local:
            return Path(self._store.path(self._folder))
        place = sha256(self._store.uri.encode()).hexdigest()[:16]
        return node_cache() / "journals" / place / self._folder

    def journal(self, study: str) -> Journal:
        """A new journal of this process."""
        name = f"{self._folder}/judge.json"
        if self._store.read(name) is None:
            about = self._judge.record | {"instructions": self._judge.rubric.instructions}
            self._store.write(name, json.dumps(about, indent=1, ensure_ascii=False).encode())
        self._open = Journal(self.here / f"{uuid.uuid4().hex}.jsonl", study)
        return self._open

    def ship(self) -> None:
        """Brings what this node has written since the last time into an object store."""
        if self._store.is_local:
            return
        parts = self._parts()
        for path in sorted(self.here.glob("*.jsonl")):
            shipped = parts.get(path.stem, {})
            content = path.read_bytes()
            new = content[sum(shipped.values()) : content.rfind(b"\n") + 1]
            if new:
                number = 1 + max(shipped, default=0)
                self._store.write(f"{self._folder}/{path.stem}-{number}.jsonl", new)

    def _parts(self) -> dict[str, dict[int, int]]:
        """Journal -> number of each of its parts -> bytes."""
        parts: dict[str, dict[int, int]] = {}
        for name, size in self._store.files(self._folder).items():
            if match := _PART.fullmatch(name):
                parts.setdefault(match[1], {})[int(match[2] or 0)] = size
        return parts

    def read(self, path: Path) -> Iterator[Record]:
        """One journal of this node."""
        return records(path.read_bytes())

    def all(self) -> Iterator[tuple[str, bool, Iterable[Record]]]:
        """Every journal: its study, whether a process of this node still writes it, its records.

        Brings up first what processes that are gone have left on this node.
        """
        self.ship()
        for name, numbers in sorted(self._parts().items()):
            files = [f"{name}-{n}.jsonl" if n else f"{name}.jsonl" for n in sorted(numbers)]
            content = b"".join(self._store.read(f"{self._folder}/{file}") or b"" for file in files)
            path = self.here / f"{name}.jsonl"
            first = next(records(content), {})
            yield str(first.get("study")), path.is_file() and is_written(path), records(content)


def ledger(store: Store, judges: Iterable[LlmJudge], study: str) -> Ledger:
    """What `study` has asked of `judges` so far, over all its runs."""
    total = Ledger()
    for judge in judges:
        for payer, is_open, journal in Judgments(store, judge).all():
            if payer == study:
                total.add(journal, open_=is_open)
    return total


class VerdictIndex:
    """Key -> verdict, on disk: a run holds as many as it likes in the same memory."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="weirdgen-verdicts-")
        self._db = sqlite3.connect(Path(self._folder.name) / "verdicts.sqlite")
        # It can be made again from the journals: nothing of it need survive.
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("CREATE TABLE verdict (key BLOB PRIMARY KEY, record TEXT) WITHOUT ROWID")

    def add(self, journal: Iterable[Record]) -> None:
        """Takes the verdicts of a journal; the first of a key stands."""
        self._insert((r["got"], json.dumps(r)) for r in journal if "got" in r)

    def add_one(self, key: str, record: str) -> None:
        self._insert([(key, record)])

    def get(self, key: str) -> str | None:
        """The record of the verdict, as JSON; None where nobody was asked yet."""
        query = "SELECT record FROM verdict WHERE key = ?"
        row = self._db.execute(query, (bytes.fromhex(key),)).fetchone()
        return row and row[0]

    def close(self) -> None:
        self._db.close()
        self._folder.cleanup()

    def _insert(self, verdicts: Iterable[tuple[str, str]]) -> None:
        rows = ((bytes.fromhex(key), record) for key, record in verdicts)
        self._db.executemany("INSERT OR IGNORE INTO verdict VALUES (?, ?)", rows)
        self._db.commit()
