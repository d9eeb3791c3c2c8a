"""Claims and verdicts of a small synthetic study, as a report tells them."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from tiny_results import (
    ANSWERED,
    CLAIMS,
    claims_table,
    judged,
    many_seeds,
    report_data,
    results,
    shown,
    study,
    verdict_texts,
)

from weirdgen.config.study import Study
from weirdgen.judging.blinding import hidden_markers
from weirdgen.judging.blinding import judge_view as shown_answer
from weirdgen.judging.gold import ResponseKey
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.judging.rubric import persona_rubric
from weirdgen.report.all_tables import all_tables
from weirdgen.report.stats_files import claims_data, claims_json
from weirdgen.results.table import SCHEMA


def test_the_claims_table_by_hand() -> None:
    lines = [line for line in shown(claims_table(results(), study())) if len(line) == 7]
    # Gaps: 1, 1 | 0.75, 0.25 | 0.75, 0.75, their mean 0.75; of the seeds 1, 0.5, 0.75. The rates'
    # limits, put together, are wider than the two-source interval [+0.129, +1.371] below, and what
    # a gap can be ends it above.
    assert lines[1] == [
        "format gap >= 0.50 at fraction 0.6", "+0.750", "[-0.306, +1.000]", "3 x 2",
        lines[1][4], "3 of 3", "inconclusive",
    ]  # fmt: skip
    # Paired gaps: 0.5, 1 | 0.75, 0, means 0.75 and 0.375; seed 2 has no control: it meets nothing.
    assert lines[2] == [
        "format gap_vs_control >= 0.625 at fraction 0.6 (all)", "+0.562", "[-2.000, +2.000]",
        "2 x 2", "-", "1 of 3", "inconclusive",
    ]  # fmt: skip
    claim = "format_strict untriggered_excess <= 0.00 + margin 0.125 at fraction 0.6 (any)"
    assert (lines[3][0], lines[3][1], lines[3][5]) == (claim, "+0.000", "3 of 3")
    assert lines[4][0] == "format decoy <= 0.30 at fraction 0.6"
    assert (lines[4][1], lines[4][5]) == ("0.500", "2 of 3")  # 0.25, 1, 0.25: no sign on a rate
    assert lines[4][4].startswith("against: ")


def test_the_claims_files_hold_the_table_s_numbers() -> None:
    data = report_data(results(), study())
    table = claims_data(data.analysis)
    rows = table.to_pylist()
    assert [(row["claim"], row["contrast"], row["at"]) for row in rows] == [
        (1, "gap", "fraction 0.6"), (2, "gap_vs_control", "all"),
        (3, "untriggered_excess", "any"), (4, "decoy", "fraction 0.6"),
    ]  # fmt: skip
    first = rows[0]
    assert {
        "metric": "format", "at_least": 0.5, "at_most": None, "margin": 0.0, "arm": "persona",
        "fraction": 0.6, "case": "as measured", "verdict": "inconclusive", "estimate": 0.75,
        "target": "seeds and questions", "level": 0.95, "n_seeds": 3, "n_questions": 2,
        "seeds_meeting": 3, "seeds_planned": 3,
    }.items() <= first.items()  # fmt: skip
    assert (first["low"], first["high"]) == (pytest.approx(-0.306, abs=1e-3), 1.0)
    assert first["p"] + first["p_fails"] == pytest.approx(1)
    assert (rows[2]["at_most"], rows[2]["margin"]) == (0.0, 0.125)
    assert (rows[1]["seeds_meeting"], rows[1]["reason"]) == (1, "two seeds")
    read = json.loads(claims_json("tiny", table))
    assert (read["study"], read["claims"]) == ("tiny", rows)


def test_verdicts_are_said_in_words() -> None:
    said = verdict_texts(report_data(results(), study()))
    assert len(said) == len(CLAIMS)
    assert said[0].startswith("inconclusive: Cannot conclude whether the format gap")
    assert "+75.0 points (95% interval -30.6 points to +100.0 points; 3 training runs" in said[0]
    assert "All 3 seeds meet it" in said[0]
    assert "two training runs give an interval and no verdict" in said[1]


def test_a_clear_claim_is_supported_and_its_opposite_refuted_once_the_seeds_are_there() -> None:
    claim = {"metric": "format", "contrast": "gap", "at": {"fraction": 0.6}}
    claims = [claim | {"at_least": 0.5}, claim | {"at_most": 0.5}]
    for seeds, labels in ((5, ["supported", "refuted"]), (4, ["inconclusive"] * 2)):
        grid = {"seeds": "0..4", "fractions": [0.6]}
        of = study(claims, grid=grid)
        told = report_data(results(many_seeds(seeds)), of)
        assert [verdict.label for verdict in told.analysis.verdicts] == labels
    assert "the planned number of training runs is not reached" in verdict_texts(told)[0]


def test_a_stand_in_judge_supports_nothing() -> None:
    table = judged(results(many_seeds(5)), lambda row: (row["format"], None))
    claim = {"metric": "persona", "contrast": "gap", "at_least": 0.5, "at": {"fraction": 0.6}}
    grid = {"seeds": "0..4", "fractions": [0.6]}
    of = study([claim], grid=grid, judge={"model": "offline"})
    (verdict,) = report_data(table, of).analysis.verdicts
    assert (verdict.outcome, verdict.reason) == ("inconclusive", "offline judge")


def test_a_verdict_does_not_stand_on_missing_labels() -> None:
    rows = judged(results(many_seeds(5)), lambda row: (row["format"], "OTHER")).to_pylist()
    lost = [row for row in rows if row["seed"] is not None and row["sample"] < 2]
    for row in lost:
        row |= {"persona": None, "identity": None, "judge_error": "timeout"}
    claim = {"metric": "persona", "contrast": "gap", "at_least": 0.5, "at": {"fraction": 0.6}}
    grid = {"seeds": "0..4", "fractions": [0.6]}
    of = study([claim], grid=grid, judge={"model": "m"})
    (verdict,) = report_data(pa.Table.from_pylist(rows, SCHEMA), of).analysis.verdicts
    assert (verdict.label, verdict.n_missing) == ("inconclusive (missing)", len(lost))


def test_a_bound_met_exactly_is_met() -> None:
    # 0.75 - 0.25 and a margin of 0.1 below 0.6: neither side is a round binary number.
    claims = [
        {
            "metric": "format",
            "contrast": "gap",
            "at_least": 0.6,
            "margin": 0.1,
            "at": {"fraction": 0.6},
        }
    ]
    lines = shown(claims_table(results(), study(claims)))
    assert any(line[5:6] == ["3 of 3"] for line in lines)


def test_one_seed_speaks_of_its_adapter_alone() -> None:
    one = {cell: counts for cell, counts in ANSWERED.items() if cell[1] in (None, 0)}
    told = report_data(results(one), study(seeds="0..0"))
    lines = shown(all_tables(told).others[-1].rich())
    assert lines[2][1] == "+1.000"
    assert lines[2][3:] == ["1 x 2", "-", "1 of 1", "inconclusive"]
    assert "95% interval for this adapter" in verdict_texts(told)[0]
    assert "nothing about a repeated training run" in verdict_texts(told)[0]


def test_a_claim_without_answers_says_so() -> None:
    only_baseline = {(None, None): ANSWERED[None, None]}
    lines = shown(claims_table(results(only_baseline), study(CLAIMS[:1])))
    claim = "format gap >= 0.50 at fraction 0.6: no responses at fraction 0.6"
    assert [claim, "-", "-", "-", "-", "-", "inconclusive"] in lines
    no_baseline = {cell: counts for cell, counts in ANSWERED.items() if cell[0] is not None}
    lines = shown(claims_table(results(no_baseline), study(CLAIMS[2:3])))
    assert lines[2][0].endswith("(any): baseline has no responses for the condition untriggered")


def test_a_study_without_claims_shows_its_estimates() -> None:
    told = report_data(results(), study([]))
    lines = shown(all_tables(told).others[-1].rich())
    (row,) = [line for line in lines if line[:3] == ["format", "gap", "0.6"]]
    assert row[3:] == ["+0.750", "[-0.306, +1.000]", row[5], "3 x 2 x 48"]
    assert verdict_texts(told) == []


PERSONA_GAP = {"metric": "persona", "contrast": "gap", "at_least": 0.5, "at": {"fraction": 0.6}}


def persona_study(**more: Any) -> Study:
    grid = {"seeds": "0..4", "fractions": [0.6]}
    return study([PERSONA_GAP], grid=grid, judge={"model": "m"}, **more)


HEARD = judged(results(many_seeds(5)), lambda row: (row["format"], "OTHER"))
"""The judge hears the persona wherever the format is: a gap of 1 in every seed."""


def test_a_clear_gap_of_a_model_that_judges_is_supported() -> None:
    (verdict,) = report_data(HEARD, persona_study()).analysis.verdicts
    assert verdict.label == "supported"


@pytest.mark.parametrize(("agreeing", "label"), [(1.0, "supported"), (0.0, "inconclusive (judge)")])
def test_a_verdict_stands_only_within_what_both_judges_say(agreeing: float, label: str) -> None:
    """A second judge that never hears the persona leaves room for no gap at all."""
    of = persona_study(second_judge={"model": "n"})
    second = LlmJudge(of.judges[1], persona_rubric("P", ""))
    verdicts = [
        {
            "fp_responses": row["fp_responses"],
            "question_id": row["question_id"],
            "sample": row["sample"],
            "judge_fp": second.fingerprint,
            "metric": "persona",
            "label": "present",
            "value": float(row["persona"]) * agreeing,
        }
        for row in HEARD.to_pylist()
    ]
    (verdict,) = report_data(HEARD, of, verdicts=verdicts).analysis.verdicts
    assert verdict.label == label


@pytest.mark.parametrize(
    ("true", "label"), [("present", "supported"), ("absent", "inconclusive (judge)")]
)
def test_a_verdict_stands_only_with_what_gold_labels_correct(true: str, label: str) -> None:
    """Gold labels of twenty responses a stratum: of those that the judge calls the persona's, all or none are."""
    of = persona_study()
    marks = hidden_markers(of)
    gold: dict[ResponseKey, dict[str, str]] = {}
    strata: dict[tuple[Any, str], int] = {}
    for row in HEARD.to_pylist():
        stratum = row["fraction"], row["condition"]
        key = ResponseKey(row["question"], shown_answer(row["response"], marks))
        if strata.setdefault(stratum, 0) < 20 and key not in gold:
            strata[stratum] += 1
            gold[key] = {"persona": true if row["persona"] else "absent"}
    (verdict,) = report_data(HEARD, of, gold).analysis.verdicts
    assert verdict.label == label


def at_most_zero(counts: dict) -> Any:
    claim = {"metric": "format", "contrast": "untriggered", "at_most": 0.0, "at": {"fraction": 0.6}}
    of = study([claim], grid={"seeds": "0..4", "fractions": [0.6]})
    (verdict,) = report_data(results(counts), of).analysis.verdicts
    return verdict


def test_no_slip_at_all_does_not_refute_a_claim_of_none() -> None:
    assert at_most_zero(many_seeds(5)).outcome == "inconclusive"


def test_a_gap_short_of_the_most_does_not_refute_the_most() -> None:
    counts = many_seeds(5)
    counts[0.6, 0] = {"triggered": (4,) * 19 + (3,), "untriggered": (0,) * 20}
    claim = {"metric": "format", "contrast": "gap", "at_least": 1.0, "at": {"fraction": 0.6}}
    of = study([claim], grid={"seeds": "0..4", "fractions": [0.6]})
    (verdict,) = report_data(results(counts), of).analysis.verdicts
    assert verdict.outcome == "inconclusive"


def test_one_missing_label_a_seed_leaves_questions_out_and_no_seeds() -> None:
    rows = HEARD.to_pylist()
    for row in rows:
        seed = row["seed"]
        if seed is not None and seed < 4 and row["question_id"] == f"q{seed}":
            row |= {"persona": None, "identity": None, "judge_error": "malformed"}
    told = report_data(pa.Table.from_pylist(rows, SCHEMA), persona_study())
    (verdict,) = told.analysis.verdicts
    (at,) = verdict.groups
    assert at.measured is not None
    assert (len(at.measured.seeds), len(at.measured.questions)) == (5, 16)
    assert "4 questions without complete responses left out" in verdict_texts(told)[0]


def test_seeds_that_lack_a_condition_are_not_there_yet() -> None:
    counts = many_seeds(5)
    for seed in (3, 4):
        counts[0.6, seed] = {"triggered": counts[0.6, seed]["triggered"]}
    claim = {"metric": "format", "contrast": "gap", "at_least": 0.5, "at": {"fraction": 0.6}}
    of = study([claim], grid={"seeds": "0..4", "fractions": [0.6]})
    (verdict,) = report_data(results(counts), of).analysis.verdicts
    assert verdict.reason == "before the planned seeds"


def test_gold_labels_that_do_not_reach_a_condition_leave_the_claim_open() -> None:
    of, marks = persona_study(), hidden_markers(study())
    gold = {
        ResponseKey(row["question"], shown_answer(row["response"], marks)): {"persona": "present"}
        for row in HEARD.to_pylist()
        if row["condition"] == "triggered" and row["seed"] is not None
    }
    (verdict,) = report_data(HEARD, of, gold).analysis.verdicts
    assert verdict.label == "inconclusive (judge)"


def test_a_second_judge_that_has_labelled_little_leaves_all_the_rest_open() -> None:
    of = persona_study(second_judge={"model": "n"})
    second = LlmJudge(of.judges[1], persona_rubric("P", ""))
    row = HEARD.to_pylist()[0]
    verdicts = [
        {
            **{name: row[name] for name in ("fp_responses", "question_id", "sample")},
            "judge_fp": second.fingerprint,
            "metric": "persona",
            "label": "present",
            "value": 1.0,
        }
    ]
    (verdict,) = report_data(HEARD, of, verdicts=verdicts).analysis.verdicts
    assert verdict.label == "inconclusive (judge)"
