"""What has to hold after a kill: the same results, nothing paid twice, nothing made twice."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import PurePosixPath

from faulty_endpoint import FaultyEndpoint
from stored_files import files_below

from weirdgen.judging.judgment import PROBE_ITEM
from weirdgen.judging.judgment_store import JudgmentStore, ledger
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.storage.artifacts import MANIFEST, ArtifactStore, is_attempt

STUDY = "small"


@dataclass(frozen=True)
class Committed:
    """One step's manifest, and the attempts at it that have a payload."""

    manifest: bytes
    attempts: frozenset[str]


def committed(store: ArtifactStore) -> dict[str, Committed]:
    """Folder below artifacts/ -> what is committed there."""
    files = files_below(store, "artifacts")
    paths = [PurePosixPath(file).relative_to("artifacts") for file in files]
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


def assert_kept(before: dict[str, Committed], store: ArtifactStore) -> None:
    """Every step that was committed is as it was, and nobody has begun it again."""
    now = committed(store)
    for step, was in before.items():
        assert now[step].manifest == was.manifest, step
        assert now[step].attempts <= was.attempts, step


def assert_paid_once(
    server: FaultyEndpoint, store: ArtifactStore, judge: LlmJudge, most: int
) -> None:
    """Nothing was asked again but requests under way at the kill, at most `most`, which are told."""
    lost = _lost(store, judge)
    assert lost.total() <= most
    again = _again(server, judge)
    assert again <= lost, again - lost
    told = ledger(store, [judge], STUDY)
    asked = len(server.served)
    assert asked <= told.requests <= asked + told.lost
    assert told.lost >= lost.total()
    _assert_all_told(server, store, judge)


def assert_arrived_paid_once(
    arrived: set[str], server: FaultyEndpoint, store: ArtifactStore, judge: LlmJudge
) -> None:
    """Of what a lost node had heard, nothing that had `arrived` in the store was asked again."""
    again = _again(server, judge)
    assert arrived.isdisjoint(again), arrived & again.keys()
    assert set(again.values()) <= {1}
    _assert_all_told(server, store, judge)


def verdicts(store: ArtifactStore, judge: LlmJudge) -> set[str]:
    """Keys of the verdicts that the store has."""
    journals = [journal for _, _, journal in JudgmentStore(store, judge).journals()]
    return {record["judged"] for journal in journals for record in journal if "judged" in record}


def _again(server: FaultyEndpoint, judge: LlmJudge) -> Counter[str]:
    """Keys of requests that came after their verdict had been given out."""
    again: Counter[str] = Counter()
    given: set[str] = set()
    for each in server.judged:
        _, question, answer = each.about
        key = judge.key(question, answer)
        if key in given:
            again[key] += 1
        if each.ended is not None:
            given.add(key)
    return again


def _assert_all_told(server: FaultyEndpoint, store: ArtifactStore, judge: LlmJudge) -> None:
    """Each answer that was asked about has one verdict."""
    about = {judge.key(*each.about[1:]) for each in server.judged}
    known = verdicts(store, judge)
    assert known == about, f"not told: {about - known}; told but not asked: {known - about}"
    assert ledger(store, [judge], STUDY).judgments == len(about)


def _lost(store: ArtifactStore, judge: LlmJudge) -> Counter[str]:
    """Keys of requests that have no end in any journal."""
    lost: Counter[str] = Counter()
    for _, is_open, journal in JudgmentStore(store, judge).journals():
        assert not is_open
        under_way = set()
        for record in journal:
            under_way |= {record["sent"]} if "sent" in record else set()
            under_way -= {record.get("failed"), record.get("judged")}
        lost.update(under_way - {PROBE_ITEM.key})
    return lost
