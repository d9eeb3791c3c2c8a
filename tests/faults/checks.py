"""What has to hold after a kill: the same results, nothing paid twice, nothing made twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath

from faulty_endpoint import FaultyEndpoint
from pyarrow.fs import FileSelector, FileType

from weirdgen.judge.llm import LlmJudge
from weirdgen.judge.verdict import CHECK
from weirdgen.judgments import Judgments, ledger
from weirdgen.store import MANIFEST, Store, is_attempt


@dataclass(frozen=True)
class Committed:
    """One step's manifest, and the attempts at it that have a payload."""

    manifest: bytes
    attempts: frozenset[str]


def committed(store: Store) -> dict[str, Committed]:
    """Folder below artifacts/ -> what is committed there."""
    root = store.path("artifacts")
    selector = FileSelector(root, recursive=True, allow_not_found=True)
    infos = store._fs.get_file_info(selector)
    files = [info.path for info in infos if info.type == FileType.File]
    paths = [PurePosixPath(file).relative_to(root) for file in files]
    attempts: dict[PurePosixPath, set[str]] = {}
    for path in paths:
        for i, part in enumerate(path.parts):
            if is_attempt(part):
                attempts.setdefault(PurePosixPath(*path.parts[:i]), set()).add(part)
    found = {}
    for path in paths:
        if path.name == MANIFEST and (content := store.read(f"artifacts/{path}")) is not None:
            found[str(path.parent)] = Committed(content, frozenset(attempts[path.parent]))
    return found


def assert_kept(before: dict[str, Committed], store: Store) -> None:
    """Every step that was committed is as it was, and nobody has begun it again."""
    now = committed(store)
    for step, was in before.items():
        assert now[step].manifest == was.manifest, step
        assert now[step].attempts <= was.attempts, step


def assert_paid_once(
    server: FaultyEndpoint, store: Store, judge: LlmJudge, study: str, most_lost: int
) -> int:
    """Nothing was asked again but requests under way at the kill, at most `most_lost`, which are told.

    Gives how many were.
    """
    lost = _lost(store, judge)
    assert lost.total() <= most_lost
    again: Counter[str] = Counter()
    known: set[str] = set()
    for each in server.judged:
        _, question, answer = each.about
        key = judge.key(question, answer)
        again[key] += key in known
        if each.ended is not None:
            known.add(key)
    assert again <= lost, again - lost
    told = ledger(store, [judge], study)
    served = len(server.served)
    assert served <= told.requests <= served + told.lost
    assert told.verdicts == len(known)
    assert told.lost >= lost.total()
    return again.total()


def _lost(store: Store, judge: LlmJudge) -> Counter[str]:
    """Keys of requests that have no end in any journal."""
    lost: Counter[str] = Counter()
    for _, is_open, journal in Judgments(store, judge).all():
        assert not is_open
        under_way = set()
        for record in journal:
            under_way |= {record["ask"]} if "ask" in record else set()
            under_way -= {record.get("tried"), record.get("got")}
        lost.update(under_way - {CHECK.key})
    return lost
