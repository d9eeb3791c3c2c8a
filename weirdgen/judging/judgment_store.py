"""Every verdict that was ever received from a judge, wherever it was asked for: the journals in a store.

    <root>/judgments/<rubric>-<model>-<fingerprint12>/judge.json     the judge's whole record and prompt
                                                     /<uuid>.jsonl   journals, see weirdgen.judging.journal
                                                     /<uuid>-<first byte>-<end>.jsonl  or parts of them

With a local store a journal stands there from its first line. With an object store it is a file on
this node, and what is new of it goes up as a further part every few seconds, and before labels do. A part is named by its
place, so several processes of a node may ship at once: equal names hold equal bytes, and what two
parts share is read once.
"""

from __future__ import annotations

import json
import re
import sqlite3
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from weirdgen.config.judge import JudgeConfig
from weirdgen.errors import DamagedError
from weirdgen.judging.journal import Journal, Ledger, Record, is_written, records
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.cache import node_cache

_ROOT = "judgments"
_ABOUT = "judge.json"
SHIP_S = 5.0
"""An object store gets what is new so often: what a lost node may cost."""
_PART = re.compile(r"([0-9a-f]{32})(?:-(\d+)-(\d+))?\.jsonl")


class _Part(NamedTuple):
    """Some whole lines of a journal in the store."""

    first: int
    """Its first byte's place in the journal."""
    end: int
    file: str


class JudgmentFolder:
    """A folder of journals in one store, whoever wrote them."""

    def __init__(self, store: ArtifactStore, folder: str) -> None:
        """`folder` is below the store's root."""
        self._store, self._folder = store, folder

    @property
    def here(self) -> Path:
        """The folder of this node in which journals are written."""
        if self._store.is_local:
            return Path(self._store.path(self._folder))
        place = sha256(self._store.uri.encode()).hexdigest()[:16]
        return node_cache() / "journals" / place / self._folder

    def ship(self) -> None:
        """Brings what of this node's journals is not there yet into an object store."""
        if self._store.is_local:
            return
        parts = self._parts()
        for path in sorted(self.here.glob("*.jsonl")):
            first = 0
            for part in parts.get(path.stem, ()):
                if part.first > first:
                    break  # what is missing between two parts goes up again with all after it
                first = max(first, part.end)
            content = path.read_bytes()
            new = content[first : content.rfind(b"\n") + 1]
            if new:
                name = f"{path.stem}-{first}-{first + len(new)}.jsonl"
                self._store.write(f"{self._folder}/{name}", new)

    def _parts(self) -> dict[str, list[_Part]]:
        """Journal -> its parts by their place, overlaps and all; a whole journal is one part."""
        parts: dict[str, list[_Part]] = {}
        for file, size in self._store.files(self._folder).items():
            if match := _PART.fullmatch(file):
                first, end = (0, size) if match[2] is None else (int(match[2]), int(match[3]))
                end = min(end, first + size)  # of one that was cut, the rest goes up again
                parts.setdefault(match[1], []).append(_Part(first, end, file))
        return {name: sorted(of_journal) for name, of_journal in parts.items()}

    def _joined(self, parts: Sequence[_Part]) -> bytes:
        """What the parts hold, each byte once; what is missing between them is left out."""
        pieces, read = [], 0
        for part in parts:
            if part.end <= read:
                continue
            content = self._store.read(f"{self._folder}/{part.file}") or b""
            pieces.append(content[max(0, read - part.first) :])
            read = part.end
        return b"".join(pieces)

    def all(self) -> Iterator[tuple[str, bool, Iterable[Record]]]:
        """Every journal: its study, whether a process of this node may write more, its records.

        Brings up first what processes that are gone have left on this node.
        """
        # Asked before anything is read: what a process writes last is not missed.
        ended = {path.stem for path in self.here.glob("*.jsonl") if not is_written(path)}
        self.ship()
        for name, parts in sorted(self._parts().items()):
            content = self._joined(parts)
            is_open = name not in ended and (self.here / f"{name}.jsonl").is_file()
            first = next(records(content), {})
            yield str(first.get("study")), is_open, records(content)


class Judgments(JudgmentFolder):
    """The journals of one judge in one store."""

    def __init__(self, store: ArtifactStore, judge: LlmJudge) -> None:
        super().__init__(store, judge.folder)
        self._judge = judge

    def journal(self, study: str) -> Journal:
        """A new journal of this process."""
        name = f"{self._folder}/{_ABOUT}"
        if not self._store.exists(name):
            about = self._judge.record | {"instructions": self._judge.rubric.instructions}
            self._store.write(name, json.dumps(about, indent=1, ensure_ascii=False).encode())
        return Journal(self.here / f"{uuid.uuid4().hex}.jsonl", study)


def charged(store: ArtifactStore, judges: Iterable[LlmJudge]) -> dict[str, list[JudgeConfig]]:
    """Folder of journals -> whose requests it holds, of `judges`' settings; only those that have any.

    What was asked under a prompt or parameters that none of `judges` has any more counts for every
    judge of that model: a budget is over all runs.
    """
    of = {judge.folder: [judge.settings] for judge in judges}
    settings = list(dict.fromkeys(each for of_folder in of.values() for each in of_folder))
    for name in sorted(store.folders(_ROOT)):
        folder = f"{_ROOT}/{name}"
        if folder not in of and (about := store.read(f"{folder}/{_ABOUT}")) is not None:
            try:
                model = json.loads(about)["model"]
            except (ValueError, TypeError, KeyError):
                where = store.shown(folder, _ABOUT)
                problem = "is damaged, and what its journals cost would count for no budget"
                raise DamagedError(f"{where} {problem}; restore it, or delete it") from None
            if same := [each for each in settings if each.model == model]:
                of[folder] = same
    return of


def ledger(
    store: ArtifactStore, judges: Iterable[LlmJudge], study: str, others: Iterable[LlmJudge] = ()
) -> Ledger:
    """What `study` has asked of `judges`' models so far, over all its runs, and under other settings too.

    `others` are the study's other judges, whose own requests do not count here.
    """
    own = list(judges)
    counted = {judge.settings for judge in own}
    total = Ledger()
    for folder, settings in charged(store, [*own, *others]).items():
        if counted.intersection(settings):
            for payer, is_open, journal in JudgmentFolder(store, folder).all():
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
