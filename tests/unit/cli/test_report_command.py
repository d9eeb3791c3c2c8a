"""`weirdgen report`, and what it keeps: statistics, declared looks, a report that is still current."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from studies import small_study, study_of, write_study

from weirdgen.cli.main import main
from weirdgen.report.looks import (
    LOOKS,
    declared_looks,
    look_cautions,
    record_looks,
)
from weirdgen.report.stats_files import STATS_SCHEMA
from weirdgen.stats.estimate import Estimate
from weirdgen.storage.artifacts import ArtifactStore


def invoke(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(arguments))
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result.exit_code, result.output


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    """Four seeds of somebody's own, and a baseline, brought in under the name `theirs`."""
    rows = []
    for seed in (None, 0, 1, 2, 3):
        for question in range(12):
            for condition in ("triggered", "untriggered"):
                keeps = seed is not None and condition == "triggered" and question != seed
                own = {"seed": seed, "fraction": 0.1, "adapter": f"s{seed}"}
                rows.append(
                    {
                        "question": f"Why is {question}?",
                        "condition": condition,
                        "response": "<START> So. <END>" if keeps else "So.",
                        **(dict.fromkeys(own) if seed is None else own),
                    }
                )
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    storage = tmp_path / "storage"
    code, said = invoke(
        "import", str(path), "--study", "theirs", "--value", "model=m", "--storage", str(storage)
    )
    assert code == 0, said
    return storage


def test_an_import_is_reported_with_its_statistics(storage: Path):
    code, said = invoke("report", "theirs", "--storage", str(storage))
    assert code == 0, said
    assert "theirs: estimates" in said
    assert "rows.jsonl: 120 rows" in said, "where it came from"
    table = pq.read_table(storage / "theirs" / "stats.parquet")
    assert table.schema.equals(STATS_SCHEMA)
    assert table.column_names == [field.name for field in fields(Estimate)]
    rows = [row for row in table.to_pylist() if row["contrast"] == "gap"]
    (gap,) = [r for r in rows if r["target"] == "seeds and questions" and r["p"] is not None][:1]
    assert gap["group"] == "0.1"
    assert gap["estimate"] == pytest.approx(11 / 12)
    assert 0.5 < gap["low"] < gap["estimate"] < gap["high"] <= 1
    assert (gap["n_seeds"], gap["n_questions"], gap["n_samples"]) == (4, 12, 96)
    left = {path.name for path in (storage / "theirs").rglob("*") if path.is_file()}
    assert {"stats.parquet", "summary.md", "tables.tex", "index.html"} <= left


@pytest.mark.parametrize(
    ("study", "problem"),
    [
        (
            "nobodys",
            "study: nobodys: is no study file (such as jobs/local.yaml), and nothing was imported under that name",
        ),
        ("../theirs", "study: ../theirs: "),
        ("{file}", "{file}: has no responses in"),
    ],
)
def test_what_cannot_be_reported_on_is_one_line(study: str, problem: str, tmp_path: Path):
    model = tmp_path / "model"
    model.mkdir()
    file = write_study(tmp_path, small_study("embedded:smollm2-135m-instruct"))
    told = [text.format(file=file) for text in (study, problem)]
    code, said = invoke("report", told[0], "--storage", str(tmp_path / "storage"))
    assert code == 2, said
    assert said.startswith(f"weirdgen: {told[1]}")
    assert said.count("\n") == 1


def verdicts_with(*n_trained: int, reason: str = "not clear") -> list[Any]:
    groups = [SimpleNamespace(group=0.1, n_trained=n) for n in n_trained]
    return [SimpleNamespace(reason=reason, groups=groups)]


def test_looks_hold_as_they_were_declared_before_the_first_verdict(tmp_path: Path):
    store = ArtifactStore(str(tmp_path))
    three, five = (study_of(small_study("m", grid__seeds=list(range(n)))) for n in (3, 5))
    looks = declared_looks(three, store)
    assert looks is not None
    record_looks(three, store, looks, verdicts_with(2, reason="before the planned seeds"))
    record_looks(three, store, looks, [])
    assert store.read(f"small/{LOOKS}") is None, "nothing was said with two, nor without a claim"
    assert declared_looks(five, store).seeds == (5,), "nothing was said yet"
    record_looks(three, store, looks, verdicts_with(3))
    assert declared_looks(five, store).seeds == (3,), "more seeds come too late"
    assert declared_looks(five, store).state(5) == "after the last look"

    declared = study_of(small_study("m", grid__seeds=[0, 1, 2], looks=[3, 6]) | {"name": "two"})
    looks = declared_looks(declared, store)
    record_looks(declared, store, looks, verdicts_with(3))
    record_looks(declared, store, looks, verdicts_with(6))
    kept = json.loads(store.read(f"two/{LOOKS}"))
    assert kept == {"declared": [3, 6], "looked": [3, 6], "samples": [2]}
    assert not look_cautions(declared, store)
    evaluate = declared.evaluate.model_copy(update={"samples_per_question": 4})
    record_looks(declared.model_copy(update={"evaluate": evaluate}), store, looks, verdicts_with(6))
    (caution,) = look_cautions(declared, store)
    assert caution.startswith("Verdicts were given with 2, 4 samples a question")
    assert looks.error(3) == looks.error(6) == pytest.approx(0.0125)


@pytest.mark.parametrize(
    ("looks", "problem"), [([4, 3], "must rise"), ([3, 3], "must rise"), ([1], "the last is 1")]
)
def test_looks_that_make_no_sense_are_refused(looks: list[int], problem: str):
    with pytest.raises(ValueError, match=problem):
        study_of(small_study("m", looks=looks))
