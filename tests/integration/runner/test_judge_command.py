"""`weirdgen judge FILE`: responses from anywhere, labelled, measured, paid once."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from asking import assert_secret
from fake_endpoint import KEY, VARIABLE
from faulty_endpoint import LIMITED, MIX, faulty
from judged_file import KINDNESS, Bench, jsonl, kindness, labels, read, rows
from studies import make_persona

from weirdgen.data.tabular import Row


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    make_persona(tmp_path)
    monkeypatch.setenv(VARIABLE, KEY)
    monkeypatch.setenv("COLUMNS", "200")
    # Intervals of agreement take seconds each, and are not tested here.
    monkeypatch.setattr("weirdgen.judging.agreement._RESAMPLES", 20)
    monkeypatch.setattr("weirdgen.runner.judge_pool.BACKOFF_S", 0.01)
    with faulty(mix={"verdict": 1}) as server:
        made = Bench(tmp_path, server)
        made.judge()
        yield made
    assert_secret(made.told, storage=tmp_path)


STARTS_RAY = """
import sys
import ray
from weirdgen.cli.main import main

assert not ray.is_initialized()
try:
    main(sys.argv[1:])
except SystemExit as end:
    assert not end.code
assert not ray.is_initialized()
"""


def test_the_command_starts_ray_itself_and_ends_it(bench: Bench):
    """In a process of its own: the others share one Ray."""
    bench.judge(judge={"parallel": 1})
    path = jsonl(bench.folder / "r.jsonl", rows(10))
    command = [sys.executable, "-c", STARTS_RAY, *bench.command(path)]
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    bench.told += [done.stdout, done.stderr]
    written = read(bench.folder / "r-judged.jsonl")
    assert written == [row | labels(row["question"], row["response"]) for row in rows(10)]


def with_gold(folder: Path) -> tuple[Path, list[Row], list[tuple[str, str]]]:
    """Rows of 25 answers, some twice and one without any; labels of a person beside them, and in `gold.jsonl`.

    Of kindness every fourth of twenty is wrong, of persona all five.
    """
    asked = [(f"Why {i % 5}?", f"Because of {i % 25}.") for i in range(35)]
    own: list[Row] = [
        {"q": q, "a": f"<START> {a} <END>", "n": i, "more": {"deep": [i]}, "gold_kindness": None}
        for i, (q, a) in enumerate(asked)
    ]
    for i in range(20):
        said = kindness(*asked[i])
        own[i]["gold_kindness"] = said if i % 4 else {"yes": "no", "no": "yes"}[said]
    own.append({"q": "Why?", "a": "<START> <END>", "n": -1})
    flipped = {"present": "no", "absent": "yes"}
    gold: list[Row] = [
        {"question": q, "answer": a, "persona": flipped[labels(q, a)["persona"]]}
        for q, a in asked[:5]
    ]
    jsonl(folder / "gold.jsonl", gold)
    return jsonl(folder / "r.jsonl", own), own, asked


@pytest.mark.usefixtures("one_ray")
def test_columns_by_option_own_metrics_a_second_judge_and_gold_in_two_places(bench: Bench):
    second = {"model": "judge-2", "base_url": bench.server.url, "key_variable": VARIABLE}
    only = {"parallel": 1}  # one actor, for both judges
    bench.judge(metrics=[KINDNESS], judge=only, second_judge=second, gold="gold.jsonl")
    path, own, asked = with_gold(bench.folder)
    out = bench.folder / "labelled.jsonl"
    code, printed = bench.run(path, "--question", "q", "--answer", "a", "--out", out)
    assert code == 0, printed

    written = read(out)
    assert [{name: row[name] for name in old} for row, old in zip(written, own, strict=True)] == own
    for row, about in zip(written, asked, strict=False):
        once = labels(*about) | {"kindness": kindness(*about)}
        twice = {f"second_{name}": label for name, label in once.items()}
        expected = once | twice | {"second_judge": "judge-2"}
        assert {name: row[name] for name in row if name not in own[0]} == expected
    empty = written[-1]
    assert (empty["persona"], empty["identity"], empty["kindness"]) == ("absent", "UNSURE", None)
    assert json.loads(empty["judge_error"]) == {"kindness": "empty_answer"}

    distinct = len(set(asked))
    assert len(bench.server.judged) == 2 * 2 * distinct
    assert {each.body["model"] for each in bench.server.judged} == {"judge-m", "judge-2"}
    taken = f": {2 * distinct} judgments, {2 * distinct + 1} requests (probe 1 brought nothing), "
    assert printed.count(taken) == 2
    assert "agreement of the judges" in printed
    differences = read(bench.folder / "labelled-differences.jsonl")
    found = {(each["metric"], each["question"], each["response"]) for each in differences}
    assert found == {("persona", *about) for about in asked[:5]} | {
        ("kindness", *asked[i]) for i in range(0, 20, 4)
    }
    assert all("gold" in each for each in differences), "the two judges are of one mind"


@pytest.mark.usefixtures("one_ray")
def test_a_spent_budget_is_exit_code_4_a_higher_one_goes_on_and_each_file_has_its_own(bench: Bench):
    price = {"input": 1000.0, "output": 1000.0}
    bench.judge(judge={"price": price, "budget_usd": 20.0, "max_tokens": 32, "parallel": 1})
    path = jsonl(bench.folder / "r.jsonl", rows(100))
    code, printed = bench.run(path)
    assert code == 4, printed
    written = read(bench.folder / "r-judged.jsonl")
    done = [row for row in written if row["persona"]]
    assert {row["judge_error"] for row in written} == {None, '{"persona": "budget"}'}
    assert 10 < len(done) == len(bench.server.judged) < 100
    assert f"the judge's budget is spent: {100 - len(done)} responses are left" in printed
    assert 10 < bench.server.spent(1000, 1000) <= 20
    code, printed = bench.run(path)
    assert code == 4, printed
    # The little that is left may do for few more.
    assert bench.server.spent(1000, 1000) <= 20
    code, printed = bench.run(path, "--set", "judge.budget_usd=1000")
    assert code == 0, printed
    written = read(bench.folder / "r-judged.jsonl")
    assert written == [row | labels(row["question"], row["response"]) for row in rows(100)]
    assert set(bench.server.asked.values()) == {1}

    table = pa.table(
        {
            "question": ["Who?"] * 1500,
            "answer": [f"Because of {i % 20}." for i in range(1500)],
            "note": [None] * 1400 + ["late"] * 100,
            "n": pa.array(range(1500), pa.int32()),
        }
    )
    pq.write_table(table, bench.folder / "other.parquet")
    code, printed = bench.run(bench.folder / "other.parquet")
    assert code == 0, printed
    judged = pq.read_table(bench.folder / "other-judged.parquet")
    assert judged.select(table.column_names).equals(table)
    expected = [labels("Who?", answer) for answer in table["answer"].to_pylist()]
    assert judged.drop_columns(table.column_names).to_pylist() == expected
    assert len(bench.server.judged) == 100 + 20
    assert not list(bench.folder.glob("*differences*")), "there is nobody to differ from"


@pytest.mark.usefixtures("one_ray")
def test_whatever_the_endpoint_does_each_row_ends_in_labels_or_a_reason(bench: Bench):
    path, out = bench.folder / "r.csv", bench.folder / "r-judged.jsonl"
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, ["question", "response"])
        writer.writeheader()
        writer.writerows(rows(40))
    bench.server.always = "bad_key"
    bench.judge(judge={"parallel": 1})
    code, printed = bench.run(path)
    assert code == 1
    assert "refused (401)" in printed
    assert "40 responses have no judgment" in printed
    assert "Traceback" not in printed
    (error,) = {row["judge_error"] for row in read(out)}
    assert json.loads(error).keys() == {"persona"}
    assert "refused (401)" in json.loads(error)["persona"], "why, in the row itself"
    assert not bench.server.judged

    bench.server.always = None
    bench.server.mix = {**MIX, "hang": 0.2} | dict.fromkeys(LIMITED, 0.1)
    bench.judge(metrics=[KINDNESS], judge={"timeout_s": 2.0})
    code, printed = bench.run(path)
    for _ in range(3):
        if code == 0:
            break
        assert "the same command asks again" in printed
        code, printed = bench.run(path)
    assert code == 0, printed
    kinds = set()
    written = read(out)
    assert [{name: row[name] for name in ("question", "response")} for row in written] == rows(40)
    for row in written:
        errors = json.loads(row["judge_error"] or "{}")
        assert (row["persona"] is None) == ("persona" in errors)
        assert (row["kindness"] is None) == ("kindness" in errors)
        kinds |= set(errors.values())
    assert kinds == {"refusal", "malformed"}
