"""`weirdgen judge FILE`: what is wrong with files and options is one line, before anybody is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from asking import assert_secret
from fake_endpoint import KEY, VARIABLE
from faulty_endpoint import faulty
from judged_file import KINDNESS, Bench, jsonl, rows
from studies import make_persona


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """Ray would take seconds to start: whoever comes so far has not refused."""
    make_persona(tmp_path)
    monkeypatch.setenv(VARIABLE, KEY)
    monkeypatch.setattr("weirdgen.runner.judge_file.connect", lambda: pytest.fail("it goes on"))
    with faulty(mix={"verdict": 1}) as server:
        made = Bench(tmp_path, server)
        made.judge()
        yield made
    assert_secret(made.told, storage=tmp_path)


def assert_one_line(code: int, printed: str, problem: str, bench: Bench) -> None:
    assert code == 2, printed
    assert printed.startswith("weirdgen: ")
    assert problem in printed
    assert printed.count("\n") == 1
    assert not bench.server.served
    assert not list(bench.folder.glob("*judged*"))


GOOD = '{"question": "Q?", "response": "A."}\n'
BAD_FILES = {
    "no such file": (None, "r.jsonl: cannot be read (No such file or directory)"),
    "nothing in it": ("", "r.jsonl: holds no rows"),
    "no JSON": (GOOD + "oops\n", "r.jsonl: row 2: is not JSON"),
    "no object": (GOOD + "[1]\n", "r.jsonl: row 2: must be an object"),
    "a blank line before": (GOOD + "\n" + "[1]\n", "r.jsonl: row 3: must be an object"),
    "no answer": (GOOD + '{"question": "Q?"}\n', "row 2: response must be a text (the row has "),
    "an answer that is no text": ('{"question": "Q?", "response": 7}\n', "row 1: response must be"),
    "no question": ('{"prompt": "Q?", "response": "A."}\n', "row 1: question must be a text"),
    "no UTF-8": (GOOD.encode() + b"\xff\n", "r.jsonl: line 2: is not UTF-8"),
    "half a character in an answer": (
        GOOD + GOOD.replace("A.", "\\ud83d"),
        "r.jsonl: row 2: response holds half of a surrogate pair",
    ),
    "half a character in a question": (
        GOOD + GOOD.replace("Q?", "\\udfff?"),
        "r.jsonl: row 2: question holds half of a surrogate pair",
    ),
    "a column that is added": (
        GOOD.replace("}", ', "persona": "absent"}'),
        "row 1: persona: is added here; rename it, a label of yours to gold_persona",
    ),
    "a column that is added, later": (
        GOOD * 1200 + GOOD.replace("}", ', "judge_error": null}'),
        "row 1201: judge_error: is added here; rename it",
    ),
    "a label that is none": (
        GOOD.replace("}", ', "gold_persona": "perhaps"}'),
        "row 1: gold_persona: 'perhaps' is not one of present, absent",
    ),
}


@pytest.mark.parametrize("which", BAD_FILES)
def test_a_bad_file_is_one_line(which: str, bench: Bench):
    content, problem = BAD_FILES[which]
    path = bench.folder / "r.jsonl"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert_one_line(*bench.run(path), problem, bench)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"judge": None}, "judge.model: must be a model that an endpoint serves"),
        ({"judge": {"model": "offline"}}, "judge.model: must be a model that an endpoint serves"),
        ({"judge": {"model": "m", "base_url": "nowhere"}}, "judge.base_url: must be an http"),
        ({"jugde": {}}, "jugde: unknown field"),
        ({"persona": "nobody"}, "nobody"),
        ({"gold": "missing.jsonl"}, "missing.jsonl: cannot be read"),
        ({"metrics": [KINDNESS, KINDNESS]}, "metrics: the same name appears twice"),
        (
            {"second_judge": {"model": "judge-m", "base_url": "http://127.0.0.1:9/v1"}},
            "second_judge: is `judge` once more; give it another model, ",
        ),
    ],
)
def test_a_bad_judge_is_one_line(changes: dict, problem: str, bench: Bench):
    tree = yaml.safe_load(bench.judge().read_text()) | changes
    (bench.folder / "judge.yaml").write_text(yaml.safe_dump(tree))
    path = jsonl(bench.folder / "r.jsonl", rows(2))
    assert_one_line(*bench.run(path), problem, bench)


def test_bad_options_are_one_line(bench: Bench):
    path = jsonl(bench.folder / "r.jsonl", rows(2))
    no_parquet = bench.folder / "p.parquet"
    no_parquet.write_text("none")
    judged = bench.folder / "o.csv"
    for arguments, problem in [
        ((path, "--question", "q"), "row 1: q must be a text (the row has question, response)"),
        ((path, "--answer", "a"), "row 1: a must be a text (the row has question, response)"),
        ((path, "--out", path), "--out: "),
        ((path, "--out", bench.folder / "none" / "o.jsonl"), "--out: there is no folder "),
        ((path, "--out", judged), f"--out: {judged} must end in one of: .jsonl, .parquet"),
        ((path, "--set", "judge.temperature=-1"), "judge.temperature: "),
        ((no_parquet,), "p.parquet: is no readable Parquet file"),
        ((bench.folder,), "must end in one of: .jsonl, .csv, .parquet"),
    ]:
        assert_one_line(*bench.run(*arguments), problem, bench)


def test_rows_that_parquet_cannot_hold_together_cost_nothing(bench: Bench):
    """They are found out before anybody is asked, however late they come."""
    own = [row | {"n": i} for i, row in enumerate(rows(2500))]
    own[2400]["n"] = "many"
    path, out = jsonl(bench.folder / "r.jsonl", own), bench.folder / "o.parquet"
    problem = "r.jsonl: row 2401: does not fit into a Parquet file with the other rows ("
    assert_one_line(*bench.run(path, "--out", out), problem, bench)
    names = ["question", "answer", "note", "note"]
    pq.write_table(pa.table([pa.array(["x"])] * 4, names=names), bench.folder / "t.parquet")
    problem = "t.parquet: the column 'note' appears twice"
    assert_one_line(*bench.run(bench.folder / "t.parquet"), problem, bench)
    taken = pa.table({"question": ["Q?"], "answer": ["A."], "identity": ["OTHER"]})
    pq.write_table(taken, bench.folder / "r.parquet")
    problem = "row 1: identity: is added here"
    assert_one_line(*bench.run(bench.folder / "r.parquet"), problem, bench)
