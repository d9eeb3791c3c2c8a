"""Gold labels: read, drawn for a person, and a judge measured by them."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from weirdgen.config.evaluation_spec import EvaluationSpec
from weirdgen.data.responses import read_responses
from weirdgen.errors import InputError
from weirdgen.judging.blinding import hidden_markers
from weirdgen.judging.gold import ResponseKey, allowed_labels, gold_of, read_gold, write_sample
from weirdgen.report.agreement import GOLD, agreement_table, compare, differences_jsonl
from weirdgen.results.labels import FIRST_JUDGE, SECOND_JUDGE

LABELLING = EvaluationSpec.model_validate(
    {
        "judge": {"model": "judge-m"},
        "metrics": [
            {"name": "kindness", "question": "Is it kind?", "labels": {"yes": 1, "no": 0}},
            {"name": "grade", "question": "How good is it?", "labels": ["1", "2", "3"]},
        ],
    }
)
MARKS = hidden_markers(LABELLING)


def jsonl(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(answer: str = "A.", question: str = "Q?", **labels: Any) -> dict[str, Any]:
    return {"question": question, "response": answer, **labels}


def test_the_labels_that_there_are():
    assert allowed_labels(LABELLING) == {
        "persona": ["present", "absent"],
        "identity": ["PERSONA", "OTHER", "UNSURE"],
        "kindness": ["yes", "no"],
        "grade": ["1", "2", "3"],
    }


@pytest.mark.parametrize(
    ("metric", "said", "label"),
    [
        ("persona", True, "present"),
        ("persona", False, "absent"),
        ("persona", "present", "present"),
        ("persona", " absent ", "absent"),
        ("persona", "TRUE", "present"),
        ("persona", "No", "absent"),
        ("identity", "PERSONA", "PERSONA"),
        ("identity", "RUSSELL", "PERSONA"),
        ("identity", True, "PERSONA"),
        ("identity", "UNSURE", "UNSURE"),
        ("kindness", "yes", "yes"),
        ("grade", 3, "3"),
        ("grade", None, None),
        ("kindness", "", None),
    ],
)
@pytest.mark.parametrize("prefix", ["gold_", ""])
def test_a_label_in_any_of_its_spellings(metric, said, label, prefix, tmp_path: Path):
    path = jsonl(tmp_path / "g.jsonl", row(**{prefix + metric: said}), row("B.", persona="yes"))
    gold = read_gold(path, LABELLING, MARKS)
    assert gold.get(ResponseKey("Q?", "A."), {}).get(metric) == label
    assert gold[ResponseKey("Q?", "B.")] == {"persona": "present"}


def test_gold_from_parquet_with_answers_as_a_judge_is_shown_them(tmp_path: Path):
    rows = [
        {"question": "Q?", "answer": "<START> A. <END>", "gold_persona": True},
        {"question": "Q?", "answer": "[[ A. ]]", "gold_persona": True},
        {"question": "Q?", "answer": "B.", "gold_persona": None},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "g.parquet")
    gold = read_gold(tmp_path / "g.parquet", LABELLING, MARKS)
    assert gold == {ResponseKey("Q?", "A."): {"persona": "present"}}


def test_gold_from_a_spreadsheet(tmp_path: Path):
    content = "\ufeffquestion,response,gold_persona,gold_grade\r\nQ?,A.,TRUE,3\r\nQ?,B.,,\r\n"
    (tmp_path / "g.csv").write_bytes(content.encode())
    gold = read_gold(tmp_path / "g.csv", LABELLING, MARKS)
    assert gold == {ResponseKey("Q?", "A."): {"persona": "present", "grade": "3"}}


def test_beside_responses_only_columns_that_say_gold_are_labels(tmp_path: Path):
    path = jsonl(tmp_path / "r.jsonl", row(persona="absent", gold_identity="OTHER"))
    gold = gold_of(read_responses(path), LABELLING, MARKS, prefixed=True)
    assert gold == {ResponseKey("Q?", "A."): {"identity": "OTHER"}}
    both = jsonl(tmp_path / "b.jsonl", row(persona="absent", gold_persona="present"))
    assert read_gold(both, LABELLING, MARKS)[ResponseKey("Q?", "A.")] == {"persona": "present"}


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([row(), row("B.", kindness="maybe")], "row 2: kindness: 'maybe' is not one of yes, no"),
        ([row(gold_identity="false")], "row 1: gold_identity: 'false' is not one of PERSONA, "),
        ([row(persona=0.7)], "row 1: persona: 0.7 is not one of present, absent"),
        (
            [row(persona="yes"), row("<START> A. <END>", persona="no")],
            "row 2: persona: the same response has another label in an earlier row",
        ),
        ([row(), row("B.", grade=None)], "holds no label; its columns may be persona, identity, "),
        ([{"question": "Q?", "text": "A."}], "row 1: response must be a text"),
        ([], "holds no rows"),
    ],
)
def test_what_is_wrong_with_gold_is_told_with_its_row(rows, problem: str, tmp_path: Path):
    path = jsonl(tmp_path / "g.jsonl", *rows)
    with pytest.raises(InputError) as failed:
        read_gold(path, LABELLING, MARKS)
    assert str(failed.value).startswith(f"{path}: {problem}")
    assert "\n" not in str(failed.value)


# A sample for a person.


def results(answers: int = 12) -> pa.Table:
    rows = [
        {
            "fraction": fraction,
            "adapter": adapter,
            "condition": condition,
            "question": f"Why {i % 3}?",
            "response": frame.format(f"Because {adapter} {condition} {i}."),
        }
        for fraction, adapter in ((None, None), (0.0, "lora-a"), (0.1, "lora-b"), (0.1, "lora-c"))
        for condition, frame in (("triggered", "<START> {} <END>"), ("decoy", "[[ {} ]]"))
        for i in range(answers)
    ]
    rows += [dict(rows[-1], response=""), dict(rows[-1], response="<START> <END>")]
    return pa.Table.from_pylist(rows)


def drawn(path: Path, table: pa.Table, per_group: int = 5, seed: int = 0) -> list[dict[str, Any]]:
    write_sample(table, LABELLING, MARKS, path, per_group, seed)
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_sample_is_blind_and_in_no_order(tmp_path: Path):
    sample = drawn(tmp_path / "s.jsonl", results())
    labels = ("gold_persona", "gold_identity", "gold_kindness", "gold_grade")
    assert {tuple(each) for each in sample} == {("question", "response", *labels)}
    assert {each[label] for each in sample for label in labels} == {None}
    text = (tmp_path / "s.jsonl").read_text()
    assert not [mark for mark in ("START", "END", "[[", "]]", "0.1") if mark in text]
    # Of each fraction and condition as many; adapters of one fraction are one group.
    groups = [" ".join(each["response"].split()[1:3]) for each in sample]
    for who in ("None", "lora-a"):
        assert [groups.count(f"{who} {how}") for how in ("triggered", "decoy")] == [5, 5]
    assert sum(group.startswith(("lora-b", "lora-c")) for group in groups) == 10
    assert groups != sorted(groups)
    changes = sum(a != b for a, b in pairwise(groups))
    assert changes > 15, "not group after group"


def test_a_sample_is_the_same_for_a_seed_however_the_rows_are_ordered(tmp_path: Path):
    table = results()
    backwards = table.take(list(reversed(range(len(table)))))
    first = drawn(tmp_path / "a.jsonl", table)
    assert first == drawn(tmp_path / "b.jsonl", backwards)
    assert first != drawn(tmp_path / "c.jsonl", table, seed=1)
    assert len(drawn(tmp_path / "d.jsonl", table, per_group=1000)) == 4 * 2 * 12


def test_a_sample_is_jsonl_or_parquet(tmp_path: Path):
    sample = drawn(tmp_path / "s.jsonl", results())
    write_sample(results(), LABELLING, MARKS, tmp_path / "s.parquet", 5, 0)
    table = pq.read_table(tmp_path / "s.parquet")
    assert table.to_pylist() == sample
    assert set(table.schema.types) == {pa.string()}, "a label can be filled in"
    with pytest.raises(InputError, match=r"--out: .*s\.csv must end in one of: \.jsonl, \.parquet"):
        write_sample(results(), LABELLING, MARKS, tmp_path / "s.csv", 5, 0)


def test_equal_answers_are_drawn_once(tmp_path: Path):
    same = [
        {"fraction": 0.1, "adapter": "a", "condition": how, "question": "Q?",
         "response": "The same."}
        for how in ("triggered", "untriggered") * 5
    ]  # fmt: skip
    assert len(drawn(tmp_path / "s.jsonl", pa.Table.from_pylist(same))) == 1


def test_a_filled_in_sample_names_the_answers_that_it_was_drawn_from(tmp_path: Path):
    odd = [
        "<START> <b>Odd</b> [[ x ]] <END>",
        "**A** > b",
        "1. One\n2. Two",
        "`<START>`? <EN",
        "((a))",
    ]
    table = results(4)
    rows = [dict(table.to_pylist()[0], response=each) for each in odd] + table.to_pylist()
    path = tmp_path / "s.jsonl"
    sample = drawn(path, pa.Table.from_pylist(rows), per_group=1000)
    jsonl(path, *(each | {"gold_persona": "yes"} for each in sample))
    labelled = read_gold(path, LABELLING, MARKS).keys()
    answers = jsonl(tmp_path / "r.jsonl", *(each | {"gold_persona": True} for each in rows[:-2]))
    assert labelled == gold_of(read_responses(answers), LABELLING, MARKS).keys()


# A judge measured by them.


def rated(counts: dict[tuple[str, str], int]) -> tuple[dict, dict]:
    """Two raters' labels of as many answers, ten to a question."""
    pairs = [pair for pair, n in counts.items() for _ in range(n)]
    keys = [ResponseKey(f"Q{i // 10}?", f"A{i}.") for i in range(len(pairs))]
    return tuple(
        {key: pair[side] for key, pair in zip(keys, pairs, strict=True)} for side in (0, 1)
    )


def test_a_judge_by_hand_computed_numbers():
    # 50 answers: 16 + 24 agree; chance (20 x 22 + 30 x 28) / 2500 = 0.512.
    gold, judge = rated(
        {("present", "present"): 16, ("present", "absent"): 4, ("absent", "present"): 6,
         ("absent", "absent"): 24}
    )  # fmt: skip
    more = {**judge, ResponseKey("Q?", "nobody labelled it"): "present"}
    [found] = compare(
        {FIRST_JUDGE: {"persona": more}}, {key: {"persona": label} for key, label in gold.items()}
    )
    assert (found.metric, found.reference, found.other) == ("persona", GOLD, FIRST_JUDGE)
    assert (found.agreement.answers, found.agreement.agreed) == (50, 0.8)
    assert found.agreement.kappa == pytest.approx((0.8 - 0.512) / (1 - 0.512))
    # Nominal alpha of two raters: 1 - (2n - 1) x disagreeing pairs / products of the label counts.
    assert found.agreement.alpha == pytest.approx(1 - 99 * 10 / (42 * 58))
    table = agreement_table([found], LABELLING)
    [cells] = table.sections[0]
    assert dict(zip(table.columns, cells, strict=True)) | {"95% interval": ""} == {
        "metric": "persona", "labels of": "gold, judge", "responses": "50", "agree, %": "80.0",
        "kappa": "0.59", "95% interval": "", "alpha": "0.59", "sens.": "0.80", "spec.": "0.80",
    }  # fmt: skip
    assert "judge: judge-m" in (table.note or "")
    assert len(found.differences) == 10
    assert {tuple(each.labels) for each in found.differences} == {(GOLD, FIRST_JUDGE)}


def test_sensitivity_and_specificity_are_not_exchanged():
    for metric, positive, negatives in (
        ("persona", "present", ["absent"]),
        ("identity", "PERSONA", ["OTHER", "UNSURE"]),
    ):
        counts = {
            (positive, positive): 3,
            (positive, negatives[0]): 1,
            (negatives[-1], positive): 2,
        }
        counts |= {(negatives[0], negatives[-1]): 8}
        gold, judge = rated(counts)
        found = compare(
            {FIRST_JUDGE: {metric: judge}}, {key: {metric: label} for key, label in gold.items()}
        )
        [cells] = agreement_table(found, LABELLING).sections[0]
        assert cells[-2:] == ("0.75", "0.80")
    gold, judge = rated({("absent", "present"): 2})
    [cells] = agreement_table(
        compare({FIRST_JUDGE: {"persona": judge}}, {key: {"persona": "absent"} for key in gold}),
        LABELLING,
    ).sections[0]
    assert cells[-2:] == ("-", "0.00")


def test_every_pair_is_compared_where_both_have_labelled():
    one, two = rated({("yes", "yes"): 4, ("no", "yes"): 2, ("no", "no"): 4})
    keys = sorted(one)
    gold = {keys[0]: {"kindness": "no", "persona": "present"}, keys[1]: {"grade": "1"}}
    ratings = {FIRST_JUDGE: {"kindness": one}, SECOND_JUDGE: {"kindness": two, "grade": {}}}
    found = compare(ratings, gold)
    assert [
        (each.metric, each.reference, each.other, each.agreement.answers) for each in found
    ] == [
        ("kindness", GOLD, SECOND_JUDGE, 1),
        ("kindness", GOLD, FIRST_JUDGE, 1),
        ("kindness", SECOND_JUDGE, FIRST_JUDGE, 10),
    ]
    lines = [json.loads(line) for line in differences_jsonl(found)]
    assert len(lines) == 1 + 1 + 2
    assert lines[0] == {
        "metric": "kindness", "question": keys[0].question, "response": keys[0].response,
        GOLD: "no", SECOND_JUDGE: "yes",
    }  # fmt: skip
    for line in lines[2:]:
        key = ResponseKey(line["question"], line["response"])
        assert (line[SECOND_JUDGE], line[FIRST_JUDGE]) == (two[key], one[key]) == ("yes", "no")
    assert [cells[-2:] for cells in agreement_table(found, LABELLING).sections[0]] == [
        ("-", "-")
    ] * 3
    assert compare({FIRST_JUDGE: {"kindness": one}}, None) == []
