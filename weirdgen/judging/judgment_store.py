"""Journals in a store: every judgment ever received from a judge, by whichever run.

    <root>/judgments/<rubric>-<model>-<fingerprint12>/judge.json     the judge's whole record and prompt
                                                     /<uuid>.jsonl   journals, see weirdgen.judging.journal
                                                     /<uuid>-<first byte>-<end>.jsonl  or parts of them

In a local store a journal is written in place. For an object store it is a file on this node, whose
new lines are uploaded as a further part every few seconds, and before labels are. A part is named by
its byte range, so that several processes of a node may upload at once: equal names hold equal bytes,
and overlapping bytes are read once.
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
from weirdgen.judging.journal import Journal, Ledger, Record, has_writer, records
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.cache import node_cache

_ROOT = "judgments"
_ABOUT = "judge.json"
UPLOAD_EVERY_S = 5.0
"""How often new lines are uploaded to an object store, and so what a lost node may cost."""
_PART = re.compile(r"([0-9a-f]{32})(?:-(\d+)-(\d+))?\.jsonl")


class _Part(NamedTuple):
    """Whole lines of a journal in the store."""

    first: int
    """Position of its first byte in the journal."""
    end: int
    file: str


class JournalFolder:
    """A folder of journals in one store, of all processes."""

    def __init__(self, store: ArtifactStore, folder: str) -> None:
        """`folder` is below the store's root."""
        self._store, self._folder = store, folder

    @property
    def local_folder(self) -> Path:
        """The folder on this node in which journals are written."""
        if self._store.is_local:
            return Path(self._store.path(self._folder))
        store_hash = sha256(self._store.uri.encode()).hexdigest()[:16]
        return node_cache() / "journals" / store_hash / self._folder

    def upload(self) -> None:
        """Upload new lines of this node's journals to an object store."""
        if self._store.is_local:
            return
        parts = self._parts()
        for path in sorted(self.local_folder.glob("*.jsonl")):
            first = 0
            for part in parts.get(path.stem, ()):
                if part.first > first:
                    break  # a gap is uploaded again with everything after it
                first = max(first, part.end)
            content = path.read_bytes()
            new = content[first : content.rfind(b"\n") + 1]
            if new:
                name = f"{path.stem}-{first}-{first + len(new)}.jsonl"
                self._store.write(f"{self._folder}/{name}", new)

    def _parts(self) -> dict[str, list[_Part]]:
        """Journal -> its parts in order, overlaps included; a whole journal is one part."""
        parts: dict[str, list[_Part]] = {}
        for file, size in self._store.files(self._folder).items():
            if match := _PART.fullmatch(file):
                first, end = (0, size) if match[2] is None else (int(match[2]), int(match[3]))
                end = min(end, first + size)  # the rest of a truncated part is uploaded again
                parts.setdefault(match[1], []).append(_Part(first, end, file))
        return {name: sorted(of_journal) for name, of_journal in parts.items()}

    def _joined(self, parts: Sequence[_Part]) -> bytes:
        """The bytes of the parts, each once; gaps are left out."""
        pieces, read = [], 0
        for part in parts:
            if part.end <= read:
                continue
            content = self._store.read(f"{self._folder}/{part.file}") or b""
            pieces.append(content[max(0, read - part.first) :])
            read = part.end
        return b"".join(pieces)

    def journals(self) -> Iterator[tuple[str, bool, Iterable[Record]]]:
        """Every journal: its study, whether a process of this node may still write it, its records.

        Uploads first what dead processes have left on this node.
        """
        # Checked before anything is read, so that a process's last lines are not missed.
        ended = {path.stem for path in self.local_folder.glob("*.jsonl") if not has_writer(path)}
        self.upload()
        for name, parts in sorted(self._parts().items()):
            content = self._joined(parts)
            is_open = name not in ended and (self.local_folder / f"{name}.jsonl").is_file()
            first = next(records(content), {})
            yield str(first.get("study")), is_open, records(content)


class JudgmentStore(JournalFolder):
    """The journals of one judge in one store."""

    def __init__(self, store: ArtifactStore, judge: LlmJudge) -> None:
        super().__init__(store, judge.folder)
        self._judge = judge

    def journal(self, study: str) -> Journal:
        """A new journal for this process."""
        name = f"{self._folder}/{_ABOUT}"
        if not self._store.exists(name):
            about = self._judge.record | {"instructions": self._judge.rubric.instructions}
            self._store.write(name, json.dumps(about, indent=1, ensure_ascii=False).encode())
        return Journal(self.local_folder / f"{uuid.uuid4().hex}.jsonl", study)


def billed_judges(store: ArtifactStore, judges: Iterable[LlmJudge]) -> dict[str, list[JudgeConfig]]:
    """Journal folder -> the settings, of `judges`, whose budget pays for its requests.

    Requests under a prompt or parameters that none of `judges` uses any more count for every judge
    of that model: a budget covers all runs. Raises DamagedError for a folder without its judge.
    """
    of = {judge.folder: [judge.settings] for judge in judges}
    settings = list(dict.fromkeys(each for of_folder in of.values() for each in of_folder))
    for name in sorted(store.folders(_ROOT)):
        folder = f"{_ROOT}/{name}"
        if folder not in of and (about := store.read(f"{folder}/{_ABOUT}")) is not None:
            try:
                model = json.loads(about)["model"]
            except (ValueError, TypeError, KeyError):
                where = store.display_path(folder, _ABOUT)
                problem = "is damaged, and what its journals cost would count for no budget"
                raise DamagedError(f"{where} {problem}; restore it, or delete it") from None
            if same := [each for each in settings if each.model == model]:
                of[folder] = same
    return of


def ledger(
    store: ArtifactStore, judges: Iterable[LlmJudge], study: str, others: Iterable[LlmJudge] = ()
) -> Ledger:
    """Requests and cost of `judges` in all runs of `study`, earlier settings of their models included.

    `others` are the study's other judges, whose own requests do not count.
    """
    own = list(judges)
    counted = {judge.settings for judge in own}
    total = Ledger()
    for folder, settings in billed_judges(store, [*own, *others]).items():
        if counted.intersection(settings):
            for payer, is_open, journal in JournalFolder(store, folder).journals():
                if payer == study:
                    total.add(journal, open_=is_open)
    return total


class JudgmentIndex:
    """Key -> judgment, on disk, so that memory does not grow with their number."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="weirdgen-judgments-")
        self._db = sqlite3.connect(Path(self._folder.name) / "judgments.sqlite")
        # Rebuilt from the journals, so it need not survive a crash.
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("CREATE TABLE judgment (key BLOB PRIMARY KEY, record TEXT) WITHOUT ROWID")

    def add(self, journal: Iterable[Record]) -> None:
        """Add a journal's judgments; the first of a key counts."""
        rows = ((bytes.fromhex(r["judged"]), json.dumps(r)) for r in journal if "judged" in r)
        self._db.executemany("INSERT OR IGNORE INTO judgment VALUES (?, ?)", rows)
        self._db.commit()

    def get(self, key: str) -> str | None:
        """The record of the judgment as JSON; None if there is none yet."""
        query = "SELECT record FROM judgment WHERE key = ?"
        row = self._db.execute(query, (bytes.fromhex(key),)).fetchone()
        return row and row[0]

    def close(self) -> None:
        self._db.close()
        self._folder.cleanup()
