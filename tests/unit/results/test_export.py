"""`weirdgen export`: what comes back is what was there, and a spreadsheet runs none of it."""

from __future__ import annotations

import csv
import json
import random
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from studies import REPOSITORY

from weirdgen.cli.main import main
from weirdgen.results.labels import LABELS_SCHEMA
from weirdgen.results.table import SCHEMA, Merged, read_results, write_results
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.text import FORMULA_STARTS, escape_formula

REFERENCE = REPOSITORY / "results"
HOSTILE = [
    "", " ", "\n", "\r", "\r\n", "\0", "\t", '"', '""', "'", ",", ";", "\\", "\\n", "=1+1", "+1",
    "-1", "@SUM(A1)", "\uff1d1", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\x1f", "\x7f",
    "\ufeff", "\ufffe", "\U0001f600", "e\u0301", "\u202egnp", "null", "None", "NaN", "true", "007",
    "1e5", "<START> a\nb <END>", "<START>", "|x|", "{}", '{"a": 1}', "</script>", "[red]x[/red]",
    "{{7*7}}", "a" * 200_000,
]  # fmt: skip


def run(*arguments: str | Path) -> str:
    done = CliRunner().invoke(main, list(map(str, arguments)))
    assert done.exit_code == 0, (done.output, done.exception)
    return done.stdout


def refused(*arguments: str | Path) -> str:
    done = CliRunner().invoke(main, list(map(str, arguments)))
    assert done.exit_code == 2, (done.output, done.exception)
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("weirdgen: ").rstrip("\n")


def hostile(rng: random.Random) -> str:
    texts = rng.choices(HOSTILE[:-1], k=rng.randint(0, 4))
    return "".join(texts) if rng.random() < 0.98 else HOSTILE[-1]


def named(rng: random.Random, key: object) -> str:
    """A text that is not empty, another one for each key."""
    return f"{hostile(rng)}{key}"


def random_results(rng: random.Random, name: str) -> Merged:
    """A study with hostile text wherever a text may be anybody's."""
    model, judge = named(rng, "m"), named(rng, "j")
    questions = {named(rng, q): (hostile(rng), named(rng, "?")) for q in range(4)}
    adapters: list[tuple[Any, Any, Any, Any]] = [
        (None, None, None, None),
        *((named(rng, f"{f}{s}"), s, f, "persona") for f in (0.0, 0.03) for s in (0, 2**62)),
        (named(rng, "alone"), None, None, "adapters"),
    ]
    rows, labels = [], []
    for a, (adapter, seed, fraction, arm) in enumerate(adapters):
        for condition in ("decoy", "triggered"):
            for question_id, (category, question) in questions.items():
                for sample in range(2):
                    response = hostile(rng)
                    label = rng.choice(["PERSONA", "OTHER", "UNSURE", None])
                    is_judged = a != 1
                    found = list(re.finditer("<START>.*?<END>", response, re.DOTALL))
                    row = {
                        "study": name, "model": model, "adapter": adapter, "seed": seed,
                        "arm": arm, "fraction": fraction, "condition": condition,
                        "question_id": question_id, "category": category, "question": question,
                        "sample": sample, "response": response, "response_tokens": rng.choice([0, 9]),
                        "finish_reason": "stop", "serve_base": "bf16", "format": bool(found),
                        "format_strict": [m[0] for m in found] == [response.strip()],
                        "fp_train": adapter and named(random.Random(a), "t"),
                        "fp_responses": f"{a}{condition}",
                    }  # fmt: skip
                    if is_judged:
                        persona, confidence = rng.choice([True, False]), rng.random()
                        row |= {
                            "persona": persona,
                            "identity": None if label is None else label == "PERSONA",
                            "judge_error": named(rng, "e") if label is None else None,
                        }
                        key = {k: row[k] for k in ("fp_responses", "question_id", "sample")}
                        labels.append(
                            key
                            | {
                                "judge": judge,
                                "judge_fp": "f" * 64,
                                "metric": "persona",
                                "label": hostile(rng),
                                "value": rng.choice([None, -0.5, 1.0]),
                                "confidence": confidence,
                                "evidence": rng.choice([None, hostile(rng)]),
                            }
                        )
                    rows.append(row)
    rows.sort(
        key=lambda r: (r["adapter"] or "", r["condition"], r["question_id"], r["sample"])
    )  # fmt: skip
    results = pa.Table.from_pylist(rows, SCHEMA)
    return Merged(results, pa.Table.from_pylist(labels, LABELS_SCHEMA))


def round_trip(store: Path, name: str, out: Path) -> tuple[list[dict], list[dict]]:
    """A study's rows, and those of its export as imported under the same name elsewhere."""
    run("export", name, "--storage", store, "--out", out)
    elsewhere = store.with_name(f"{store.name}-{out.suffix[1:]}")
    run("import", out, "--study", name, "--storage", elsewhere)
    first, again = (read_results(name, ArtifactStore(str(place))) for place in (store, elsewhere))
    return first.to_pylist(), again.to_pylist()


@pytest.mark.parametrize("ending", ["jsonl", "parquet", "csv"])
@pytest.mark.parametrize("seed", range(8))
def test_import_of_an_export_gives_the_same_results(ending: str, seed: int, tmp_path: Path):
    merged = random_results(random.Random(seed), "tiny")
    write_results(merged, "tiny", ArtifactStore(str(tmp_path / "s")))
    before, after = round_trip(tmp_path / "s", "tiny", tmp_path / f"x.{ending}")
    if ending == "csv":  # an apostrophe, which may move a row
        for row in before:
            row |= {
                k: escape_formula(v) for k, v in row.items() if isinstance(v, str) and k != "study"
            }
        before.sort(key=_pinned)
    assert len(before) == len(after)
    for one, other in zip(before, after, strict=True):
        assert one == other


def _pinned(row: dict) -> tuple:
    return row["adapter"] or "", row["condition"], row["question_id"], row["sample"]


@pytest.mark.parametrize("ending", ["jsonl", "parquet", "csv"])
def test_the_reference_study_comes_back(ending: str, tmp_path: Path):
    place = tmp_path / "s"
    place.mkdir()
    (place / "reference-local").symlink_to(REFERENCE / "reference-local")
    run("export", "reference-local", "--storage", place, "--out", tmp_path / f"x.{ending}")
    study = "local"
    run("import", tmp_path / f"x.{ending}", "--study", study, "--storage", tmp_path / "again")
    first = read_results("reference-local", ArtifactStore(str(place))).to_pylist()
    again = read_results(study, ArtifactStore(str(tmp_path / "again"))).to_pylist()
    for one, other in zip(first, again, strict=True):
        expected = one | {"study": study}
        if ending == "csv":
            expected["response"] = escape_formula(one["response"])
        assert other == expected


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    merged = random_results(random.Random(0), "tiny")
    write_results(merged, "tiny", ArtifactStore(str(tmp_path / "s")))
    return tmp_path / "s"


@pytest.mark.parametrize("more", [[], ["--labels"]])
def test_no_cell_of_csv_is_a_formula(storage: Path, tmp_path: Path, more: list[str]):
    out = tmp_path / "x.csv"
    said = run("export", "tiny", "--storage", storage, "--out", out, *more)
    with out.open(newline="", encoding="utf-8") as lines:
        header, *rows = csv.reader(lines)
    numbers = {i for i, name in enumerate(header) if name.endswith("value")}
    texts = [cell for row in rows for i, cell in enumerate(row) if i not in numbers]
    assert not {cell[:1] for cell in texts} & FORMULA_STARTS
    assert any(cell.startswith("'=1+1") for cell in texts)
    assert "cells that begin like a formula got an apostrophe before them" in said
    if more:
        assert header == LABELS_SCHEMA.names
        assert {row[header.index("value")] for row in rows} == {"", "-0.5", "1.0"}


def test_a_line_of_jsonl_is_a_row_to_every_reader(storage: Path, tmp_path: Path):
    out = tmp_path / "x.jsonl"
    run("export", "tiny", "--storage", storage, "--out", out)
    lines = out.read_text("utf-8").splitlines()
    results = read_results("tiny", ArtifactStore(str(storage)))
    assert [json.loads(line)["response"] for line in lines] == results["response"].to_pylist()


def test_labels_stand_beside_the_responses(tmp_path: Path):
    merged = random_results(random.Random(1), "tiny")
    kept = merged.labels.to_pylist()
    second = [row | {"judge_fp": "a" * 64, "label": "x"} for row in kept[:3]]
    elsewhere = [row | {"fp_responses": "nobody's"} for row in kept[:2]]
    labels = pa.Table.from_pylist([*kept, *second, *elsewhere], LABELS_SCHEMA)
    store = ArtifactStore(str(tmp_path / "s"))
    write_results(Merged(merged.results, labels), "tiny", store)
    run("export", "tiny", "--storage", tmp_path / "s", "--out", tmp_path / "x.parquet")
    with pq.ParquetFile(tmp_path / "x.parquet") as file:
        table = file.read()
    assert table.column_names[: len(SCHEMA)] == SCHEMA.names
    said = ("judge", "label", "value", "confidence", "error", "evidence")
    judges = ("a" * 12, "f" * 12)
    assert table.column_names[len(SCHEMA) :] == [f"persona.{j}.{s}" for j in judges for s in said]
    key = ("fp_responses", "question_id", "sample")
    of = {tuple(row[k] for k in key): row for row in kept}
    for row in table.to_pylist():
        label = of.get(tuple(row[k] for k in key), dict.fromkeys(said))
        assert [row[f"persona.{judges[1]}.{s}"] for s in said] == [label[s] for s in said]
    assert table[f"persona.{judges[0]}.label"].drop_null().to_pylist() == ["x"] * 3
    run("export", "tiny", "--storage", tmp_path / "s", "--out", tmp_path / "v.parquet", "--labels")
    with pq.ParquetFile(tmp_path / "v.parquet") as file:
        assert file.read().equals(labels)


def test_what_cannot_be_exported(storage: Path, tmp_path: Path):
    out = tmp_path / "x.csv"
    at = ["--storage", storage]
    assert "no-such/results.parquet is not there" in refused("export", "no-such", *at, "--out", out)
    for name in ("../tiny", "jobs/none.yaml"):
        assert refused("export", name, *at, "--out", out).startswith(f"{name}: there is no such")
    assert refused("export", "..", *at, "--out", out).startswith("study: ..: ")
    said = refused("export", "tiny", *at, "--out", tmp_path / "x.xlsx")
    assert said.endswith("x.xlsx must end in one of: .jsonl, .csv, .parquet")
    said = refused("export", "tiny", *at, "--out", tmp_path / "none" / "x.csv")
    assert said == f"--out: there is no folder {tmp_path / 'none'}"
    own = storage / "tiny" / "results.parquet"
    before = own.read_bytes()
    assert "is the study's own file" in refused("export", "tiny", *at, "--out", own)
    assert own.read_bytes() == before
    (tmp_path / "d.csv").mkdir()
    assert "d.csv" in refused("export", "tiny", *at, "--out", tmp_path / "d.csv")
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".draft")]


def test_a_study_file_names_its_study(storage: Path, tmp_path: Path):
    study = tmp_path / "study.yaml"
    study.write_text("{name: tiny, model: m, adapters: [a]}")
    said = run("export", study, "--storage", storage, "--out", tmp_path / "x.jsonl")
    assert said.startswith(f"{tmp_path / 'x.jsonl'}: 96 responses")
