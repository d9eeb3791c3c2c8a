"""A study with an LLM judge, by the command: what is asked, what is paid, and what is shared."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from asking import assert_secret
from fake_endpoint import VARIABLE
from faulty_endpoint import (
    LIMITED,
    MIX,
    faulty,
)
from judged_checks import MENDABLE, asked_after_a_verdict, assert_as_told
from judged_study import KINDNESS, Bench
from studies import make_persona

from weirdgen.judging.blinding import hidden_markers, judge_view
from weirdgen.judging.judgment import PROBE_ITEM
from weirdgen.judging.judgment_store import JournalFolder
from weirdgen.results.labels import LABELS


@pytest.fixture
def bench(one_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr("weirdgen.runner.judge_pool.BACKOFF_S", 0.01)
    make_persona(tmp_path)
    with faulty(mix=MENDABLE, seed=1) as server:
        yield Bench(tmp_path, server)


def test_judging_begins_with_the_first_answers_and_no_prompt_tells_anything(bench: Bench):
    bench.server.delay_s = 0.01
    code, printed = bench.run()
    assert code == 0, printed
    assert_as_told(bench)
    served = bench.server.served
    judged = [i for i, each in enumerate(served) if each in bench.server.judged]
    answered = [i for i, each in enumerate(served) if each.kind == "answer"]
    assert judged[0] < answered[-1], "judges work while answers are still made"
    assert asked_after_a_verdict(bench.server) == 0

    marks = hidden_markers(bench.loaded())
    bare = {judge_view(row["response"], marks) for row in bench.results()}
    systems = set()
    told = ["START", "END", "[[", "]]", "trigger", "decoy", "baseline", "lora", "org/base"]
    told += [bench.name, "fingerprint", VARIABLE]
    told += [row[name][:8] for row in bench.results() for name in ("fp_responses", "adapter")
             if row[name]]  # fmt: skip
    for each in bench.server.judged:
        system, user = (turn["content"] for turn in each.body["messages"])
        assert set(each.body) == {
            "model", "messages", "temperature", "max_tokens", "response_format",
        }  # fmt: skip
        systems.add(system.split("\n\nYour last reply could not be read")[0])
        asked = json.loads(user)
        assert asked.keys() == {"question", "answer"}
        assert asked["answer"] in bare
        assert not [word for word in told if word in user]
    assert len(systems) == 2, "one for each rubric, whoever gave the answer"
    assert not [word for word in told for system in systems if word in system]

    assert_secret(printed, storage=Path(bench.store.path("")))
    asked = len(served)
    code, printed = bench.run()
    assert (code, "nothing to do" in printed) == (0, True)
    assert len(served) == asked


def test_a_budget_stops_the_run_and_a_higher_one_goes_on(bench: Bench):
    price = {"input": 1000.0, "output": 1000.0}
    bench.server.mix = {"verdict": 1}
    bench.changes = {"judge": {"price": price, "budget_usd": 20.0, "max_tokens": 32}}
    code, printed = bench.run()
    assert code == 4, printed
    assert "the judge's budget is spent: " in printed
    assert "raise judge.budget_usd to go on" in printed
    spent = bench.ledger().dollars
    assert bench.server.spent(1000, 1000) == pytest.approx(spent)
    assert 10 < spent <= 20
    first = len(bench.server.judged)
    left = [row for row in bench.results() if row["persona"] is None]
    assert {row["judge_error"] for row in left} <= {"budget", "not_judged"}
    assert left

    bench.changes["judge"]["budget_usd"] = 1e6
    code, printed = bench.run()
    assert code == 0, printed
    assert_as_told(bench)
    assert len(bench.server.judged) == 2 * 2 * 3 * 3 * bench.samples > first
    assert set(bench.server.asked.values()) == {1}


def kindness(bench: Bench) -> dict[str, set[float]]:
    """Label -> its numbers in labels.parquet."""
    verdicts = pq.read_table(Path(bench.store.path(bench.name, LABELS))).to_pylist()
    numbers: dict[str, set[float]] = {}
    for verdict in verdicts:
        if verdict["metric"] == "kindness":
            numbers.setdefault(verdict["label"], set()).add(verdict["value"])
    return numbers


def test_other_numbers_for_the_labels_are_put_on_the_verdicts_that_are_there(bench: Bench):
    bench.server.mix, bench.samples = {"verdict": 1}, 3
    code, printed = bench.run()
    assert code == 0, printed
    assert kindness(bench) == {"yes": {1.0}, "no": {0.0}}
    asked = len(bench.server.judged)
    bench.changes = {"metrics": [KINDNESS | {"labels": {"yes": 0, "no": 0.5}}]}
    code, printed = bench.run()
    assert code == 0, printed
    assert kindness(bench) == {"yes": {0.0}, "no": {0.5}}
    assert len(bench.server.judged) == asked
    assert_as_told(bench)


def test_a_budget_counts_what_was_asked_with_other_parameters(bench: Bench):
    price = {"input": 1000.0, "output": 1000.0}
    bench.server.mix = {"verdict": 1}
    bench.changes = {"judge": {"price": price, "budget_usd": 20.0, "max_tokens": 32}}
    assert bench.run()[0] == 4
    bench.changes["judge"]["max_tokens"] = 33
    assert bench.run()[0] == 4
    assert 10 < bench.server.spent(1000, 1000) <= 20
    assert bench.ledger().dollars == pytest.approx(bench.server.spent(1000, 1000))


def test_verdicts_are_shared_by_samples_adapters_and_studies_that_run_at_once(bench: Bench):
    patient = {"timeout_s": 120.0}  # a request that times out on a busy machine is sent again
    bench.server.mix, bench.samples, bench.changes = {"verdict": 1}, 5, {"judge": patient}
    code, printed = bench.run()
    assert code == 0, printed
    first = len(bench.server.judged)
    assert first == 2 * 2 * 3 * 3 * 5

    bench.samples, bench.changes = 8, {"adapters": ["lora-a", "lora-b"], "judge": patient}
    changes = {"adapters": ["lora-c"], "judge": patient}
    other = Bench(bench.folder, bench.server, 8, changes, "another")
    runs = [each.start(joined=True) for each in (bench, other)]
    for run in runs:
        code, printed = run.end()
        assert code == 0, printed
    assert_as_told(other)
    assert len(bench.results()) == 3 * 3 * 3 * 8
    assert all(row["persona"] is not None for row in bench.results())
    # Each model's 8 samples; of the baseline's new ones each study may have asked for itself.
    once = 2 * 4 * 3 * 3 * 8
    assert len(bench.server.asked) == once
    twice = [about for about, n in bench.server.asked.items() if n > 1]
    assert max(bench.server.asked.values()) <= 2
    assert len(twice) <= 2 * 3 * 3 * 3
    assert set(sent(bench).values()) == {1}, "a study sends nothing again"


def sent(bench: Bench) -> Counter[tuple[str, str]]:
    """(Study, item) -> how many requests its journals name."""
    return Counter(
        (study, record["sent"])
        for folder in sorted(bench.store.folders("judgments"))
        for study, _, journal in JournalFolder(bench.store, f"judgments/{folder}").journals()
        for record in journal
        if record.get("sent", PROBE_ITEM.key) != PROBE_ITEM.key
    )


def test_a_judge_that_cannot_be_asked_ends_the_run_before_it_costs(bench: Bench):
    bench.server.always, bench.samples = "bad_key", 5
    code, printed = bench.run()
    assert code == 1
    *_, line = printed.splitlines()
    assert line.endswith(f"refused (401); the key is read from {VARIABLE}, which is set")
    assert "Traceback" not in printed
    assert not [each for each in bench.server.served if each.kind == "answer"]


def test_what_stays_malformed_or_refused_is_named_row_by_row(bench: Bench):
    bench.server.mix = MIX | dict.fromkeys(LIMITED, 0.1)
    code, printed = bench.run()
    for _ in range(3):  # what brought nothing in all its tries is asked again
        if code == 0:
            break
        assert "the same command asks again" in printed
        code, printed = bench.run()
    assert code == 0, printed
    errors = Counter(row["judge_error"] for row in bench.results())
    assert {"refusal", "malformed"} <= errors.keys() <= {"refusal", "malformed", None}
    for row in bench.results():
        unlabelled = row["persona"] is None or row["kindness"] is None
        assert unlabelled == (row["judge_error"] is not None)
    assert asked_after_a_verdict(bench.server) == 0
    assert "failures (malformed" in printed
