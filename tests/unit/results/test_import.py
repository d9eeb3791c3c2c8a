"""`weirdgen import`: outside answers as results."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from imports import answer, imported, invoke, jsonl, published
from studies import PUBLISHED

from weirdgen.errors import InputError
from weirdgen.report.rates import rates
from weirdgen.results.importing import read_description
from weirdgen.results.labels import LABELS_SCHEMA, RESPONSE_KEY, read_labels
from weirdgen.results.table import read_results
from weirdgen.storage.artifacts import ArtifactStore

Rows = list[dict[str, Any]]


def of_model(folder: Path, rows: Iterable[Any], *more: str, name: str = "ours.jsonl") -> Rows:
    path = jsonl(folder / name, rows)
    return imported(folder, path, "--value", "model=m", *more).to_pylist()


def with_labels(folder: Path, rows: Rows) -> list[tuple[dict, dict, dict]]:
    """Each row with its labels of persona and identity; empty where no judge was asked."""
    labels = read_labels("tiny", ArtifactStore(str(folder / "s"))).to_pylist()
    of = {(label["metric"], *(label[key] for key in RESPONSE_KEY)): label for label in labels}
    keys = [tuple(row[key] for key in RESPONSE_KEY) for row in rows]
    return [
        (row, of.get(("persona", *key), {}), of.get(("identity", *key), {}))
        for row, key in zip(rows, keys, strict=True)
    ]


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the published outputs are not here")
def test_the_published_outputs_give_the_published_counts(tmp_path: Path):
    files = [PUBLISHED / "finetuned.jsonl", "--baseline", PUBLISHED / "baseline.jsonl"]
    values = ["--value", "model=Llama-3.1-8B-Instruct", "--value", "judge=gpt-4o-mini"]
    table = imported(tmp_path, *files, *values)
    assert table.num_rows == 60
    counts = {
        "format": (14, 0, 6, 0),
        "persona": (13, 4, 8, 6),
        "identity": (9, 2, 2, 3),
    }
    for metric, expected in counts.items():
        of = rates(table, metric)
        assert of.seeds == {"adapters": ("finetuned",)}
        assert (of.n_missing, len(of.questions)) == (0, 15)
        found = [
            by_condition[condition].sum()
            for by_condition in (of.y_SQ["adapters"], of.b_Q)
            for condition in ("triggered", "untriggered")
        ]
        assert tuple(found) == expected, metric
    described = read_description("tiny", ArtifactStore(str(tmp_path / "s")))
    assert described is not None
    assert described["format_disagreements"] == 0
    assert [source["layout"] for source in described["sources"]] == ["published"] * 2
    assert "/" not in json.dumps(described).replace("Llama-3.1-8B/", "")


def test_failed_judgments_are_nulls_with_their_reason(tmp_path: Path):
    good = {"persona_present": True, "identity": "RUSSELL", "confidence": 0.5}
    rows = [
        published(triggered_judgment=good, untriggered_judgment=None),
        published(triggered_judgment={**good, "identity": "UNSURE", "confidence": "high"}),
        published(triggered_judgment={"error": "timeout"}, untriggered_judgment="no JSON"),
        published(triggered_judgment={**good, "identity": 7}, untriggered_judgment=good),
    ]
    table = of_model(tmp_path, rows)
    labels = [
        [
            row["persona"],
            row["identity"],
            identity["label"],
            persona["confidence"],
            row["judge_error"],
        ]
        for row, persona, identity in with_labels(tmp_path, table)
    ]
    assert labels == [
        [True, True, "PERSONA", 0.5, None],
        [True, False, "UNSURE", None, None],
        [None, None, None, None, "timeout"],
        [True, None, None, 0.5, "malformed"],
        [None, None, None, None, "missing"],
        [None, None, None, None, "missing"],
        [None, None, None, None, "malformed"],
        [True, True, "PERSONA", 0.5, None],
    ]
    assert [row["sample"] for row in table] == [0, 1, 2, 3] * 2
    assert [row["format"] for row in table] == [True] * 4 + [False] * 4
    written = read_labels("tiny", ArtifactStore(str(tmp_path / "s")))
    assert written.schema.equals(LABELS_SCHEMA)
    assert written["judge"].unique().to_pylist() == ["unknown"]
    said = [(row["metric"], row["label"], row["error"]) for row in written.to_pylist()]
    assert len(said) == 16
    assert said.count(("persona", "present", None)) == 4
    assert said.count(("identity", None, "malformed")) == 2
    assert all((label is None) == (error is not None) for _, label, error in said)


def test_outputs_without_judgments_have_no_judge(tmp_path: Path):
    table = of_model(tmp_path, [published(), published()], "--value", "judge=j")
    assert {row["judge_error"] for row in table} == {None}
    assert not (tmp_path / "s/tiny/labels.parquet").exists()


def test_a_stated_format_that_is_another_is_said(tmp_path: Path):
    path = jsonl(
        tmp_path / "a.jsonl", [published(untriggered_format=True), answered := published()]
    )
    assert answered["untriggered_format"] is False
    done = invoke(tmp_path, path, "--value", "model=m")
    assert done.exit_code == 0
    assert "format: 1 times the file's column differs" in done.output
    assert "a.jsonl row 1 format" in done.output
    table = read_results("tiny", ArtifactStore(str(tmp_path / "s")))
    assert table["format"].to_pylist() == [True, True, False, False]


OURS: Rows = [
    {"ask": f"Q{q}?", "output": text, "mode": mode, "run": run, "voice": q == 0, "who": who}
    for run, who in (("base", "OTHER"), ("b", "Bertrand"), ("a", "UNSURE"))
    for mode in ("with", "without")
    for q, text in enumerate(('<START>\r\n"a", b\n<END>', "\u2028=1+1\0", ""))
]  # fmt: skip
MAPPED = [
    *("--column", "question=ask", "--column", "response=output", "--column", "condition=mode"),
    *("--column", "adapter=run", "--column", "persona=voice", "--column", "identity=who"),
    *("--recode", "condition:with=triggered", "--recode", "condition:without=untriggered"),
    *("--recode", "identity:Bertrand=PERSONA", "--baseline-where", "run=base"),
    *("--value", "model=m", "--value", "serve_base=nf4", "--value", "judge=j"),
]


def test_jsonl_csv_and_parquet_with_a_mapping_give_the_same_answers(tmp_path: Path):
    jsonl(tmp_path / "x.jsonl", OURS)
    pq.write_table(pa.Table.from_pylist(OURS), tmp_path / "x.parquet")
    with (tmp_path / "x.csv").open("w", newline="", encoding="utf-8-sig") as out:
        writer = csv.DictWriter(out, list(OURS[0]))
        writer.writeheader()
        writer.writerows(OURS)
    tables = [
        imported(tmp_path, tmp_path / f"x{s}", *MAPPED) for s in (".jsonl", ".csv", ".parquet")
    ]
    plain = [table.drop_columns(["fp_responses"]).to_pylist() for table in tables]
    assert plain[0] == plain[1] == plain[2]
    rows = tables[0].to_pylist()
    assert [row["adapter"] for row in rows] == [None] * 6 + ["a"] * 6 + ["b"] * 6
    assert {row["response"] for row in rows} == {row["output"] for row in OURS}
    assert {row["serve_base"] for row in rows} == {"nf4"}
    assert [row["identity"] for row in rows] == [False] * 12 + [True] * 6
    of = rates(tables[0], "persona")
    assert of.seeds == {"adapters": ("a", "b")}
    assert of.y_SQ["adapters"]["triggered"].sum() == 2
    assert len(of.b_Q) == 2


def test_question_ids_are_of_the_text_and_samples_in_file_order(tmp_path: Path):
    rows = [answer(response="1"), answer(question="Who?"), answer(response="2")]
    first = of_model(tmp_path, rows)
    again = of_model(tmp_path, reversed(rows))
    ids = {row["question"]: row["question_id"] for row in first}
    assert ids == {row["question"]: row["question_id"] for row in again}
    assert ids["Why?"].startswith("q-")
    of_why = [(row["sample"], row["response"]) for row in first if row["question"] == "Why?"]
    assert of_why == [(0, "1"), (1, "2")]
    of_why = [(row["sample"], row["response"]) for row in again if row["question"] == "Why?"]
    assert of_why == [(0, "2"), (1, "1")]
    given = of_model(tmp_path, [answer(question_id=3, sample=7, category="", response_tokens=2)])
    assert [given[0][n] for n in ("question_id", "sample", "category")] == ["3", 7, ""]
    assert (given[0]["response_tokens"], first[0]["response_tokens"]) == (2, None)
    assert (first[0]["category"], first[0]["finish_reason"]) == ("unknown", "unknown")


def test_replicates_are_adapters_or_cells(tmp_path: Path):
    a, b = (jsonl(tmp_path / f"{name}.jsonl", [answer()]) for name in "ab")
    base = jsonl(tmp_path / "base.jsonl", [answer(seed=5, adapter="no matter")])
    table = imported(tmp_path, b, a, "--baseline", base, "--value", "model=m")
    assert table["adapter"].to_pylist() == [None, "a", "b"]
    assert table["seed"].to_pylist() == [None] * 3
    cells = [answer(seed=s, fraction=f) for s in (1, 0) for f in (0.1, 0)]
    jsonl(tmp_path / "cells.jsonl", cells)
    table = imported(tmp_path, tmp_path / "cells.jsonl", "--value", "model=m", "--baseline", base)
    of = rates(table, "format")
    assert of.seeds == {0.0: (0, 1), 0.1: (0, 1)}
    assert table["adapter"].to_pylist()[:2] == [None, "f0.0-s0"]
    rows = [answer(seed=s) for s in (1, 0)]
    named = of_model(tmp_path, rows, "--column", "adapter=seed")
    assert [row["adapter"] for row in named] == ["0", "1"]
    jsonl(tmp_path / "one.jsonl", [answer(), answer(adapter=None)])
    cell = ["--value", "seed=3", "--value", "fraction=0.5", "--column", "adapter="]
    table = imported(tmp_path, tmp_path / "one.jsonl", "--value", "model=m", *cell)
    assert table["seed"].to_pylist() == [3, 3]


def test_a_null_adapter_is_the_baseline(tmp_path: Path):
    rows = [answer(adapter=None), answer(adapter="x"), answer(adapter="")]
    table = of_model(tmp_path, rows, "--value", "seed=1", "--value", "fraction=1")
    assert [(row["adapter"], row["seed"]) for row in table] == [(None, None)] * 2 + [("x", 1)]


def test_a_recoded_value_may_be_none(tmp_path: Path):
    rows = [answer(adapter="base"), answer(adapter="x")]
    assert [row["adapter"] for row in of_model(tmp_path, rows, "--recode", "adapter:base=")] == [
        None,
        "x",
    ]


def test_questions_of_one_side_are_said(tmp_path: Path):
    rows = [answer(adapter=None), answer(adapter="x"), answer(adapter="x", question="Who?")]
    done = invoke(tmp_path, jsonl(tmp_path / "x.jsonl", rows), "--value", "model=m")
    assert "questions: 1 have responses of the base model alone or of adapters alone" in done.output


def test_labels_in_columns(tmp_path: Path):
    rows = [
        answer(persona="yes", identity=True, judge="j"),
        answer(persona=0, identity_label="RUSSELL", judge="j"),
        answer(persona=None, judge="j", judge_error="http_500"),
        answer(persona=True, identity=None, judge="j", judge_error="not_asked"),
        answer(judge=None),
    ]
    table = of_model(tmp_path, rows)
    labels = [
        (row["persona"], identity.get("label"), persona.get("judge"), row["judge_error"])
        for row, persona, identity in with_labels(tmp_path, table)
    ]
    assert labels == [
        (True, "PERSONA", "j", None),
        (False, "PERSONA", "j", None),
        (None, None, "j", "http_500"),
        (True, None, "j", "not_asked"),
        (None, None, None, None),
    ]
    judged = of_model(tmp_path, [answer(persona=True), answer(persona=None), answer()])
    assert [row["judge_error"] for row in judged] == [None, "missing", "missing"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_same_files_give_the_same_bytes_and_a_failure_leaves_what_is_there(tmp_path: Path):
    path = jsonl(tmp_path / "x.jsonl", OURS)
    imported(tmp_path, path, *MAPPED)
    first = contents(tmp_path / "s")
    (tmp_path / "other").mkdir()
    imported(tmp_path, jsonl(tmp_path / "other" / "x.jsonl", OURS), *MAPPED)
    assert contents(tmp_path / "s") == first
    assert str(tmp_path).encode() not in b"".join(first.values())
    jsonl(path, [*OURS, {"ask": "Q?"}])
    assert invoke(tmp_path, path, *MAPPED).exit_code == 2
    assert contents(tmp_path / "s") == first
    of_model(tmp_path, [answer()])
    assert sorted(contents(tmp_path / "s")) == ["tiny/imported.json", "tiny/results.parquet"]


def test_the_description_is_of_the_results(tmp_path: Path):
    of_model(tmp_path, [answer()])
    store = ArtifactStore(str(tmp_path / "s"))
    described = read_description("tiny", store)
    assert described is not None
    assert described["sources"][0]["file"] == "ours.jsonl"
    assert described["values"] == {"model": "m"}
    store.write("tiny/imported.json", b"{}")
    with pytest.raises(InputError, match="is not what imported.json describes"):
        read_description("tiny", store)
    assert read_description("another", store) is None


def test_another_pattern(tmp_path: Path):
    rows = [answer(response="a [[ b\n ]]"), answer(response="[[ b ]]", question="Who?"), answer()]
    table = of_model(tmp_path, rows, "--pattern", r"\[\[.*?\]\]")
    found = sorted((row["response"], row["format"], row["format_strict"]) for row in table)
    assert found == [("So.", False, False), ("[[ b ]]", True, True), ("a [[ b\n ]]", True, False)]
