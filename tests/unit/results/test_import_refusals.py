"""Spoiled outside answers: one line that names what is at fault, exit 2, nothing written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from imports import answer, imported, invoke, jsonl, published

Spoiled = tuple[Callable[[Path], Any], list[str], str]


def rows(*rows: Any) -> Callable[[Path], Path]:
    return lambda path: jsonl(path, rows)


def raw(content: bytes) -> Callable[[Path], int]:
    return lambda path: path.write_bytes(content)


M = ["--value", "model=m"]
HEADER = b"question,response,condition\n"
BAD: dict[str, Spoiled] = {
    "no such file": (lambda path: None, M, "x.jsonl: cannot be read (No such file"),
    "another kind of file": (rows(answer()), [*M, "y.docx"], "y.docx: must end in one of: .jsonl, .csv"),
    "the same file twice": (rows(answer()), [*M, "x.jsonl"], "x.jsonl: is given twice"),
    "an empty file": (raw(b""), M, "x.jsonl: holds no rows"),
    "blank lines": (raw(b"\n \n"), M, "x.jsonl: holds no rows"),
    "a torn row": (
        raw(json.dumps(answer()).encode() + b'\n{"question": "Wh'),
        M,
        "x.jsonl: row 2: is not JSON",
    ),
    "no JSON": (raw(b"{"), M, "x.jsonl: row 1: is not JSON"),
    "deep JSON": (raw(b"[" * 100_000), M, "x.jsonl: row 1: is not JSON"),
    "a list": (raw(b"[1]"), M, "x.jsonl: row 1: must be an object"),
    "broken encoding": (raw(b"\n\xff"), M, "x.jsonl: line 2: is not UTF-8"),
    "no model": (rows(answer()), [], "x.jsonl: row 1: model: is missing; name its column with"),
    "no response": (
        rows({"question": "Why?", "condition": "decoy"}),
        M,
        "x.jsonl: row 1: response: is missing; name its column with --column response=COLUMN",
    ),
    "a response that is a number": (
        rows(answer(), answer(response=7)),
        M,
        "x.jsonl: row 2: response: must be a text",
    ),
    "half of a surrogate pair": (
        rows(answer(response="\ud800")),
        M,
        "x.jsonl: row 1: response: holds half of a surrogate pair",
    ),
    "an unknown condition": (
        rows(answer(condition="on")),
        M,
        "x.jsonl: row 1: condition: must be one of triggered, untriggered, decoy, not 'on'",
    ),
    "a seed alone": (rows(answer(seed=1)), M, "x.jsonl: row 1: seed is given and fraction"),
    "a fraction alone": (
        rows(answer(fraction=1)),
        M,
        "x.jsonl: row 1: fraction is given and seed is not; give --value seed=",
    ),
    "a seed that is none": (
        rows(answer(seed=1.5, fraction=0)),
        M,
        "x.jsonl: row 1: seed: must be a whole number from 0, not 1.5",
    ),
    "a seed too large": (
        rows(answer(seed=10**30, fraction=0)),
        M,
        "x.jsonl: row 1: seed: must be a whole number from 0, not 1000000",
    ),
    "NaN": (
        rows(answer(seed=1, fraction=float("nan"))),
        M,
        "x.jsonl: row 1: fraction: must be a number from 0 to 1, not nan",
    ),
    "a seed of the baseline": (
        rows(answer(seed=1, fraction=0, adapter=None)),
        M,
        "x.jsonl: row 1: there is a seed and no adapter",
    ),
    "an adapter of two cells": (
        rows(*(answer(adapter="a", seed=s, fraction=0) for s in (0, 1))),
        M,
        "x.jsonl: row 2: adapter 'a' has fraction 0.0 and seed 1, before fraction",
    ),
    "a cell of two adapters": (
        rows(*(answer(adapter=a, seed=0, fraction=0) for a in "ab")),
        M,
        "x.jsonl: row 2: fraction 0.0 and seed 0 are of adapter 'b', before of 'a'",
    ),
    "some rows without the adapter": (
        rows(answer(adapter="a"), answer()),
        M,
        "x.jsonl: row 2: only some rows have the column 'adapter'",
    ),
    "two models": (
        rows(answer(model="m"), answer(model="n")),
        [],
        "x.jsonl: row 2: model is 'n', of the first row 'm'; a study has one",
    ),
    "two precisions": (
        rows(answer(serve_base="nf4"), answer(serve_base="bf16")),
        M,
        "x.jsonl: row 2: serve_base is 'bf16', of the first row 'nf4'",
    ),
    "a sample twice": (
        rows(answer(sample=1), answer(sample=1)),
        M,
        "x.jsonl: row 2: sample 1 of question 'q-",
    ),
    "an id of two questions": (
        rows(answer(question_id="q"), answer(question_id="q", question="Who?")),
        M,
        "x.jsonl: row 2: question_id 'q' had another question before",
    ),
    "two fingerprints": (
        rows(answer(fp_responses="f"), answer(fp_responses="g")),
        M,
        "x.jsonl: row 2: fp_responses must be one for each adapter and condition",
    ),
    "a label that is none": (
        rows(answer(persona="maybe")),
        M,
        "x.jsonl: row 1: persona: must be true or false, not 'maybe'",
    ),
    "an identity that is none": (
        rows(answer(identity_label="PLATO")),
        M,
        "x.jsonl: row 1: identity_label: must be one of PERSONA, OTHER, UNSURE, not 'PLATO'",
    ),
    "an identity against its label": (
        rows(answer(identity=True, identity_label="OTHER")),
        M,
        "x.jsonl: row 1: identity is True and identity_label OTHER",
    ),
    "a confidence in words": (
        rows(answer(judge_confidence="high")),
        M,
        "x.jsonl: row 1: judge_confidence: must be a number from 0 to 1, not 'high'",
    ),
    "a published answer that is null": (
        rows(published(decoy_response=None)),
        M,
        "x.jsonl: row 1: decoy_response: must be a text",
    ),
    "a published format that is none": (
        rows(published(triggered_format="perhaps")),
        M,
        "x.jsonl: row 1: triggered_format: must be true or false",
    ),
    "published rows of other conditions": (
        rows(published(), published(decoy_response="")),
        M,
        "x.jsonl: row 2: has responses of triggered, untriggered, decoy, the first row of triggered",
    ),
    "no such column": (
        rows(answer()),
        [*M, "--column", "persona=voice"],
        "--column persona: no row has a column 'voice' (they have condition, question, response)",
    ),
    "no such baseline column": (
        rows(answer()),
        [*M, "--baseline-where", "run=base"],
        "--baseline-where: no row has a column 'run'",
    ),
    "an unknown field": (rows(answer()), [*M, "--column", "x=y"], "--column: x=y: must read FIELD="),
    "no constant": (rows(answer()), ["--value", "response=y"], "--value: response=y: must read"),
    "an empty constant": (rows(answer()), ["--value", "model="], "--value: model: is empty"),
    "a constant of another kind": (rows(answer()), ["--value", "seed=x"], "--value: seed: must be"),
    "a constant and a column": (
        rows(answer()),
        ["--column", "model=m", *M],
        "--value: model: has a --column too",
    ),
    "a recode without sense": (rows(answer()), ["--recode", "on"], "--recode: on: must read FIELD:"),
    "a baseline without sense": (
        rows(answer()),
        ["--baseline-where", "on"],
        "--baseline-where: on: must read COLUMN=VALUE",
    ),
    "a pattern that is none": (rows(answer()), [*M, "--pattern", "("], "--pattern: not a regular"),
}  # fmt: skip


def refused(folder: Path, *arguments: str | Path, study: str = "tiny") -> str:
    before = set(folder.rglob("*"))
    done = invoke(folder, *arguments, study=study)
    assert done.exit_code == 2, (done.output, done.exception)
    assert not done.stdout
    assert done.stderr.startswith("weirdgen: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert set(folder.rglob("*")) == before, "nothing is written"
    return done.stderr.removeprefix("weirdgen: ").rstrip("\n")


@pytest.mark.parametrize("name", BAD)
def test_spoiled_input(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    spoil, options, expected = BAD[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "y.docx").write_text("{}")
    spoil(Path("x.jsonl"))
    assert refused(tmp_path, "x.jsonl", *options).startswith(expected)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "holds no rows"),
        (HEADER, "holds no rows"),
        (HEADER + b"Why?,So.\n", "row 1: 2 cells, the header has 3"),
        (HEADER + b"Why?,So.,decoy,\n", "row 1: 4 cells, the header has 3"),
        (
            HEADER + b'Why?,So.,decoy\nWhy?,"So.,decoy\n',
            "row 2: is not CSV (unexpected end of data)",
        ),
        (HEADER + b'Why?,"So"x,decoy\n', "row 1: is not CSV ("),
        (HEADER + b"Why?,\xff,decoy\n", "line 2: is not UTF-8"),
        (b"question,question\n1,2\n", "header: the column 'question' appears twice"),
    ],
)
def test_spoiled_csv(content: bytes, expected: str, tmp_path: Path):
    path = tmp_path / "x.csv"
    path.write_bytes(content)
    assert refused(tmp_path, path, *M).startswith(f"{path}: {expected}")


def test_a_spoiled_parquet_file_and_name(tmp_path: Path):
    path = tmp_path / "x.parquet"
    path.write_bytes(b"PAR1 no more")
    assert refused(tmp_path, path, *M).startswith(f"{path}: is no readable Parquet file (")
    pq.write_table(pa.table({"question": [b"\xff"], "response": ["a"]}), path)
    assert refused(tmp_path, path, *M).startswith(f"{path}: row 1: question: must be a text")
    jsonl(tmp_path / "x.jsonl", [answer()])
    for name in ("../x", "artifacts", "Tiny", ""):
        assert refused(tmp_path, tmp_path / "x.jsonl", *M, study=name).startswith("study: ")
    odd = jsonl(tmp_path / "\udcff.jsonl", [answer()])
    assert "half of a surrogate pair" in refused(tmp_path, odd, *M)
    (tmp_path / "x").mkdir()
    twin = jsonl(tmp_path / "x" / "x.jsonl", [answer()])
    said = refused(tmp_path, tmp_path / "x.jsonl", twin, *M)
    assert said.startswith(f"{twin}: row 1: another file is named x too; give --value adapter=NAME")


def test_a_study_that_was_run_is_left_alone(tmp_path: Path):
    path = jsonl(tmp_path / "x.jsonl", [answer()])
    imported(tmp_path, path, "--value", "model=m")
    (tmp_path / "s/tiny/study.yaml").write_text("")
    for _ in range(2):
        done = invoke(tmp_path, path, "--value", "model=m")
        assert done.exit_code == 2
        assert "holds a study that was not imported" in done.stderr
        (tmp_path / "s/tiny/imported.json").unlink(missing_ok=True)
