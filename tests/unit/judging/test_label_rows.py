"""The numbers of an own metric's labels: no part of a verdict, and looked up when it is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from asking import ask_all, index_of, items_for, journal_lines, judge_at
from fake_endpoint import KEY, VARIABLE
from faulty_endpoint import faulty
from studies import small_study, study_of

from weirdgen.judging.judgment import JudgeItem
from weirdgen.judging.label_rows import label_rows
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.judging.rubric import metric_rubric
from weirdgen.pipeline.plan import make_plan
from weirdgen.pipeline.stages.labels import labels_step
from weirdgen.pipeline.stages.responses import samples_step
from weirdgen.pipeline.state import scan
from weirdgen.report.judging import plan_lines
from weirdgen.storage.artifacts import ArtifactStore


def kind(url: str, **numbers: float | None) -> LlmJudge:
    return LlmJudge(judge_at(url).settings, metric_rubric("kindness", "Is it kind?", numbers))


def test_a_verdict_holds_the_label_alone_and_gets_its_number_when_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv(VARIABLE, KEY)
    store = ArtifactStore(str(tmp_path))
    with faulty(mix={"verdict": 1}) as server:
        judge = kind(server.url, yes=1.0, no=0.0)
        items = [JudgeItem(judge.key(each.question, each.response), *each[1:])
                 for each in items_for(judge, 20)]  # fmt: skip
        told = ask_all(judge, store, items).results
    kept = [line["labels"] for line in journal_lines(store) if "judged" in line]
    assert len(kept) == 20
    assert {len(label) for labels in kept for label in labels} == {3}, "metric, label, confidence"
    index = index_of(judge, store)
    for numbers in ({"yes": 1.0, "no": 0.0}, {"yes": 0.25, "no": 0.75}, {"yes": None, "no": None}):
        now = kind(server.url, **numbers)
        assert now.fingerprint == judge.fingerprint
        values = {}
        for each in told:
            (row,) = label_rows(now, "q", 0, index.get(each.key), "")
            values[row["label"]] = row["value"]
        assert values == numbers


def test_a_step_of_verdicts_is_another_where_a_label_counts_as_another_number():
    plan = make_plan(study_of(small_study("embedded:smollm2-135m-instruct")), Path())
    asked = plan.response_sets[0]
    answered = samples_step(asked.step, 0, 2)
    steps = [
        labels_step(kind("http://a", **numbers), asked, answered, [])
        for numbers in ({"yes": 1.0, "no": 0.0}, {"yes": 1.0, "no": 0.5}, {"yes": 1.0, "no": 0.0})
    ]
    first, other, again = (step.fingerprint for step in steps)
    assert first == again != other


def test_a_plan_says_about_what_judging_costs(tmp_path: Path):
    price = {"input": 1.0, "output": 1.0}
    judge = {"model": "judge-m", "max_tokens": 100, "price": price}
    tree = small_study("embedded:smollm2-135m-instruct", judge=judge)
    plan = make_plan(study_of(tree), Path())
    (line,) = plan_lines(scan(plan, ArtifactStore(str(tmp_path))))
    assert "responses to be asked about; about " in line
    assert "$" in line
    assert "at most" not in line, "what brings nothing is asked again"
