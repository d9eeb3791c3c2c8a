"""The journals of a judge in a store: what any process has heard, every other finds, and once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from asking import items_for, judge_at
from journal_lines import judged_line
from studies import REPOSITORY, at_a_distance

from weirdgen.judging.journal import Ledger, records
from weirdgen.judging.judgment import Judgment
from weirdgen.judging.judgment_store import JudgmentIndex, JudgmentStore, ledger
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.judging.rubric import metric_rubric
from weirdgen.storage.artifacts import ArtifactStore

JUDGE = judge_at("http://127.0.0.1:9/v1")
KEYS = [item.key for item in items_for(JUDGE, 40)]


def index_of(store: ArtifactStore) -> JudgmentIndex:
    index = JudgmentIndex()
    for _, _, journal in JudgmentStore(store, JUDGE).journals():
        index.add(journal)
    return index


def test_what_one_process_has_heard_every_other_finds(store: ArtifactStore):
    judgments = JudgmentStore(store, JUDGE)
    first, second = judgments.journal("one"), judgments.journal("another")
    for i, key in enumerate(KEYS):
        (first, second)[i % 2].append({"sent": key, "at_most": 0.5})
    for i, key in enumerate(KEYS[:30]):
        (first, second)[i % 2].append(judged_line(key, tokens=[100, 10]))
        if i % 7 == 0:
            judgments.upload()
    told = {payer: is_open for payer, is_open, _ in JudgmentStore(store, JUDGE).journals()}
    assert told == {"one": True, "another": True}
    index = index_of(store)
    assert [index.get(key) is not None for key in KEYS] == [True] * 30 + [False] * 10
    total = ledger(store, [JUDGE], "one")
    assert (total.requests, total.judgments, total.lost, total.tokens) == (20, 15, 0, [1500, 150])
    first.close()
    total = ledger(store, [JUDGE], "one")
    assert (total.requests, total.lost) == (20, 5)
    assert total.dollars == pytest.approx(15 * 0.01 + 5 * 0.5)
    assert ledger(store, [JUDGE], "another").lost == 0
    assert ledger(store, [JUDGE], "nobody") == Ledger()
    second.close()
    about = json.loads(store.read(f"{JUDGE.folder}/judge.json") or b"")
    assert about == JUDGE.record | {"instructions": JUDGE.rubric.instructions}


def test_what_a_process_writes_last_while_it_is_read_is_not_missed(
    store: ArtifactStore, monkeypatch: pytest.MonkeyPatch
):
    judgments = JudgmentStore(store, JUDGE)
    journal = judgments.journal("one")
    journal.append({"sent": KEYS[0]})
    joined = JudgmentStore._joined

    def ends_meanwhile(self: JudgmentStore, parts: Sequence) -> bytes:
        content = joined(self, parts)
        journal.append(judged_line(KEYS[0]))
        journal.close()
        return content

    with monkeypatch.context() as patched:
        patched.setattr(JudgmentStore, "_joined", ends_meanwhile)
        ((_, is_open, heard),) = JudgmentStore(store, JUDGE).journals()
    assert is_open, "what was read may not be all"
    assert [record for record in heard if "judged" in record] == []
    ((_, is_open, heard),) = JudgmentStore(store, JUDGE).journals()
    assert not is_open
    assert [record["judged"] for record in heard if "judged" in record] == [KEYS[0]]


def test_an_object_store_gets_each_line_once_and_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store = at_a_distance(ArtifactStore(str(tmp_path / "store")), tmp_path, monkeypatch)
    judgments, rng = JudgmentStore(store, JUDGE), random.Random(0)
    journal = judgments.journal("study")
    judgments.upload()
    for key in KEYS:
        line = (json.dumps(judged_line(key)) + "\n").encode()
        cut = rng.randrange(len(line))
        os.write(journal._fd, line[:cut])
        judgments.upload()  # in the middle of a line
        os.write(journal._fd, line[cut:])
        if rng.random() < 0.3:
            judgments.upload()
    judgments.upload()
    parts = sorted(store.files(JUDGE.folder).keys() - {"judge.json"})
    assert 10 < len(parts) <= len(KEYS) + 1
    assert all((store.read(f"{JUDGE.folder}/{part}") or b"").endswith(b"\n") for part in parts)
    # Another node finds the whole, and knows nothing of a process that writes it.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "another node"))
    [(payer, is_open, read)] = JudgmentStore(store, JUDGE).journals()
    assert (payer, is_open) == ("study", False)
    assert list(read) == list(records(journal.path.read_bytes()))
    journal.close()


def elsewhere(store: ArtifactStore, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """The one journal, as a node reads it that has nothing of its own."""
    with monkeypatch.context() as another:
        another.setenv("XDG_CACHE_HOME", str(folder / "another node"))
        found = list(JudgmentStore(store, JUDGE).journals())
    assert len(found) <= 1
    return [record for _, _, read in found for record in read]


@pytest.mark.parametrize("seed", range(5))
def test_whoever_ships_at_once_nothing_that_has_arrived_is_lost_again(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Parts arrive late and in any order, and were chosen by what was there then."""
    store = at_a_distance(ArtifactStore(str(tmp_path / "store")), tmp_path, monkeypatch)
    rng, write = random.Random(seed), store.write
    journal = JudgmentStore(store, JUDGE).journal("study")
    late: list[tuple[str, bytes]] = []
    monkeypatch.setattr(store, "write", lambda path, content: late.append((path, content)))
    known: list[dict] = []
    for key in KEYS:
        journal.append(judged_line(key))
        if rng.random() < 0.5:
            JudgmentStore(store, JUDGE).upload()
        while late and rng.random() < 0.4:
            write(*late.pop(rng.randrange(len(late))))
        now = elsewhere(store, tmp_path, monkeypatch)
        assert all(record in now for record in known)
        known = now
    monkeypatch.setattr(store, "write", write)
    whole = list(records(journal.path.read_bytes()))
    assert len(whole) == 1 + len(KEYS)
    JudgmentStore(store, JUDGE).upload()
    assert elsewhere(store, tmp_path, monkeypatch) == whole
    for path, content in late:
        write(path, content)
    assert elsewhere(store, tmp_path, monkeypatch) == whole, "what two parts share is read once"
    journal.close()


def test_what_is_missing_in_the_middle_comes_again_from_the_node_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    store = at_a_distance(ArtifactStore(str(tmp_path / "store")), tmp_path, monkeypatch)
    judgments = JudgmentStore(store, JUDGE)
    journal = judgments.journal("study")
    for i, key in enumerate(KEYS[:30]):
        journal.append(judged_line(key))
        if i % 10 == 9:
            judgments.upload()
    _, middle, _ = sorted(store.files(JUDGE.folder).keys() - {"judge.json"}, key=first_byte)
    store.delete(f"{JUDGE.folder}/{middle}")
    left = [record.get("judged") for record in elsewhere(store, tmp_path, monkeypatch)]
    assert left == [None, *KEYS[:10], *KEYS[20:30]]
    assert index_of(store).get(KEYS[15]) is not None, "this node has it"
    whole = list(records(journal.path.read_bytes()))
    assert elsewhere(store, tmp_path, monkeypatch) == whole
    journal.close()


def first_byte(part: str) -> int:
    return int(part.split("-")[1])


WRITER = """
import asyncio, sys
sys.path[:0] = ["tests", "tests/support", "tests/unit/judging"]
from asking import items_for, judge_at
from studies import at_a_distance
from weirdgen.judging.judgment_store import JudgmentStore
from weirdgen.storage.artifacts import ArtifactStore
judge = judge_at("http://127.0.0.1:9/v1")
journal = JudgmentStore(ArtifactStore(sys.argv[1]), judge).journal(sys.argv[2])
keys = [item.key for item in items_for(judge, 5000)]
first, end = int(sys.argv[3]), int(sys.argv[4])

async def ask(key):
    journal.append({"sent": key, "at_most": 0.5})
    await asyncio.sleep(0.001)
    await journal.commit({"judged": key, "labels": [["persona", "present", 0.5]], "dollars": 0.01})
    print(key, flush=True)

async def main():
    for at in range(first, end, 8):
        await asyncio.gather(*map(ask, keys[at:min(at + 8, end)]))

asyncio.run(main())
"""


def writer(store: ArtifactStore, study: str, first: int, end: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, store.uri, study, str(first), str(end)]
    folder = REPOSITORY
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)


def test_two_processes_at_once_and_one_killed_lose_what_was_under_way_alone(tmp_path: Path):
    store = ArtifactStore(str(tmp_path))
    whole, killed = writer(store, "study", 0, 200), writer(store, "study", 100, 5000)
    assert killed.stdout is not None
    heard = [killed.stdout.readline() for _ in range(60)]
    killed.send_signal(signal.SIGKILL)
    heard += killed.stdout.readlines()
    said, _ = whole.communicate(timeout=30)
    assert (whole.returncode, killed.wait()) == (0, -signal.SIGKILL)
    told = {line.strip() for line in heard if line.endswith("\n")}
    assert len(said.split()) == 200
    index = index_of(store)
    assert all(index.get(key) is not None for key in told | set(said.split())), "told, so durable"
    total = ledger(store, [JUDGE], "study")
    assert total == ledger(store, [JUDGE], "study"), "however often one counts"
    assert total.requests == total.judgments + total.lost
    assert 0 <= total.lost <= 8, "those under way"
    assert total.judgments >= 200 + len(told)
    assert total.dollars == pytest.approx(0.01 * total.judgments + 0.5 * total.lost)
    assert not [is_open for _, is_open, _ in JudgmentStore(store, JUDGE).journals() if is_open]


# What a study has paid.


def paid(store: ArtifactStore, judge: LlmJudge, payer: str, dollars: float) -> None:
    journal = JudgmentStore(store, judge).journal(payer)
    journal.append(judged_line(KEYS[0], dollars=dollars))
    journal.close()


def test_what_was_asked_under_other_settings_and_questions_was_paid_too(store: ArtifactStore):
    kind = LlmJudge(JUDGE.settings, metric_rubric("kindness", "Kind?", {"yes": 1.0, "no": 0.0}))
    paid(store, JUDGE, "study", 1.0)
    paid(store, judge_at("http://127.0.0.1:9/v1", max_tokens=64), "study", 2.0)
    paid(store, judge_at("http://127.0.0.1:8/v1", temperature=1.0), "study", 4.0)
    paid(store, kind, "study", 8.0)
    paid(store, JUDGE, "another", 16.0)
    paid(store, judge_at("http://127.0.0.1:9/v1", model="judge-2"), "study", 32.0)
    assert ledger(store, [JUDGE], "study").dollars == 1 + 2 + 4 + 8
    assert ledger(store, [JUDGE, kind], "study").judgments == 4, "each journal once"
    second = judge_at("http://127.0.0.1:9/v1", temperature=1.0)
    assert ledger(store, [JUDGE, kind], "study", [second]).dollars == 1 + 2 + 8
    assert ledger(store, [second], "study", [JUDGE, kind]).dollars == 2 + 4


# The index.


def test_the_first_verdict_of_a_key_stands():
    index = JudgmentIndex()
    first, second = judged_line(KEYS[0]), judged_line(KEYS[0], labels=[["persona", "absent", 1.0]])
    index.add(
        [{"journal": 1}, {"sent": KEYS[0]}, first, second, judged_line(KEYS[1], error="refusal")]
    )
    index.add([second])
    assert json.loads(index.get(KEYS[0]) or "") == first
    assert Judgment.of(index.get(KEYS[0]) or "").labels[0].label == "present"
    assert Judgment.of(index.get(KEYS[1]) or "").error == "refusal"
    assert index.get(KEYS[2]) is None
    index.close()
    assert not Path(index._folder.name).exists()
