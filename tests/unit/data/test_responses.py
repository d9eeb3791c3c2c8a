"""Files of responses: read from any format with their rows' numbers, written with nothing lost."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from weirdgen.data.responses import check_added, parquet_schema, read_responses, write_rows
from weirdgen.errors import InputError

LABEL = {"persona": pa.string(), "judge_confidence": pa.float64()}


def jsonl(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(at: int = 0, **more: Any) -> dict[str, Any]:
    return {"question": "Q?", "response": f"A{at}.", **more}


def failure(call: Any) -> str:
    with pytest.raises(InputError) as failed:
        call()
    assert "\n" not in str(failed.value)
    return str(failed.value)


# Read.


def test_the_same_rows_from_every_format_with_the_numbers_that_a_reader_finds(tmp_path: Path):
    own = [row(i) for i in range(3)]
    lines = [json.dumps(each) for each in own]
    (tmp_path / "r.jsonl").write_text("\n".join([lines[0], "", *lines[1:]]))
    (tmp_path / "r.csv").write_text('question,response\nQ?,A0.\nQ?,A1.\nQ?,"A2."\n')
    pq.write_table(pa.Table.from_pylist(own), tmp_path / "r.parquet")
    for name, numbers in (("jsonl", [1, 3, 4]), ("csv", [1, 2, 3]), ("parquet", [1, 2, 3])):
        responses = read_responses(tmp_path / f"r.{name}")
        assert list(responses.numbered()) == list(zip(numbers, own, strict=True))
        assert list(responses.rows()) == own


@pytest.mark.parametrize("column", ["question", "response"])
def test_half_a_character_names_its_row(column: str, tmp_path: Path):
    path = jsonl(tmp_path / "r.jsonl", row(), row() | {column: "so \ud83d"})
    responses = read_responses(path)
    problem = f"row 2: {column} holds half of a surrogate pair, which is no character"
    assert failure(lambda: list(responses.rows())) == f"{path}: {problem}"


def test_a_column_that_is_there_already_is_found_in_any_row(tmp_path: Path):
    responses = read_responses(jsonl(tmp_path / "r.jsonl", row(), row(persona="absent")))
    assert ": row 2: persona: is added here; rename it" in failure(
        lambda: check_added(responses, LABEL)
    )
    check_added(responses, ["identity"])


# Written as Parquet.


def round_trip(path: Path) -> pa.Table:
    """The rows of `path` as Parquet, with labels."""
    responses = read_responses(path)
    schema = parquet_schema(responses, LABEL)
    labels = {"persona": "present", "judge_confidence": 0.5}
    out = path.with_name("out.parquet")
    write_rows(out, (each | labels for each in responses.rows()), schema)
    written = pq.read_table(out)
    assert written.column_names[-2:] == list(LABEL)
    assert written.column("persona").to_pylist() == ["present"] * len(written)
    assert [each.name for each in path.parent.iterdir() if each.name.startswith(".")] == []
    return written.drop_columns(list(LABEL))


def test_parquet_keeps_its_types_whatever_its_first_rows_hold(tmp_path: Path):
    count = 2100
    table = pa.table(
        {
            "question": pa.array(["Q?"] * count, pa.large_string()),
            "response": pa.array(["A."] * count).dictionary_encode(),
            "late": [None] * 2050 + ["here"] * 50,
            "never": pa.nulls(count, pa.list_(pa.struct([("a", pa.int8())]))),
            "n": pa.array(range(count), pa.int32()),
            "at": pa.array(range(count), pa.timestamp("ns", "UTC")),
            "day": pa.array([datetime.date(2020, 1, 1)] * count),
            "map": pa.array([[("a", 1)]] * count, pa.map_(pa.string(), pa.int8())),
            "raw": pa.array([b"\xff"] * count),
        }
    )
    pq.write_table(table, tmp_path / "r.parquet")
    assert round_trip(tmp_path / "r.parquet").equals(table)


def test_jsonl_has_the_columns_and_types_of_all_its_rows(tmp_path: Path):
    own = [row(i, n=i, late=None, deep={"a": None}, many=[]) for i in range(2100)]
    own[1500] |= {"late": "here", "n": 0.5, "deep": {"a": 1, "b": ["x"]}, "many": ["y"]}
    own[2050]["new"] = True
    table = round_trip(jsonl(tmp_path / "r.jsonl", *own))
    assert table.schema.field("n").type == pa.float64()
    assert table.column_names == ["question", "response", "n", "late", "deep", "many", "new"]
    expected = [each | {"deep": {"b": None} | each["deep"]} for each in own]
    assert table.to_pylist() == [{"new": None} | each for each in expected]


@pytest.mark.parametrize(
    ("late", "early", "problem"),
    [
        (
            {"n": "many"},
            {"n": 1},
            "row 1202: does not fit into a Parquet file with the other rows (",
        ),
        ({"n": 1}, {"n": True}, "row 1202: does not fit"),
        ({"n": {"a": 1}}, {"n": [1]}, "row 1202: does not fit"),
        ({"n": 0.5}, {"n": 2**60 + 1}, "row 1: does not fit"),
        ({"n": 2**70}, {}, "row 1202: does not fit"),
        ({"n": "\ud800"}, {}, "row 1202: does not fit"),
        ({"\ud800": 1}, {}, "row 1202: does not fit"),
        ({"n": {}}, {}, "cannot be written as Parquet (Cannot write struct type 'n' with no child"),
    ],
    ids=str,
)
def test_what_parquet_cannot_hold_together_is_told_at_once(late, early, problem, tmp_path: Path):
    own = [row(**early), *(row(i) for i in range(1200)), row(**late)]
    responses = read_responses(jsonl(tmp_path / "r.jsonl", *own))
    assert problem in failure(lambda: parquet_schema(responses, LABEL))


# Written as JSONL.


def test_jsonl_holds_even_half_a_character(tmp_path: Path):
    own = [row(note="é\u2028"), row(note="\ud83d half", more={"\udfff": 1}), row(note="whole")]
    responses = read_responses(jsonl(tmp_path / "r.jsonl", *own))
    write_rows(tmp_path / "o.jsonl", responses.rows())
    lines = (tmp_path / "o.jsonl").read_text("utf-8").split("\n")
    assert [json.loads(line) for line in lines if line] == own
    assert "é" in lines[0]


def test_a_file_that_fails_half_way_is_not_there(tmp_path: Path):
    def rows():
        yield row()
        raise RuntimeError("no more")

    for out, schema in (("o.jsonl", None), ("o.parquet", pa.schema([("question", pa.string())]))):
        with pytest.raises(RuntimeError):
            write_rows(tmp_path / out, rows(), schema)
    assert list(tmp_path.iterdir()) == []
