"""The methods paragraph and the line of progress, from plans and manifests made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from methods_plans import MODEL, VERSIONS, kept_rows, manifest, plan_of
from studies import small_study, study_of
from tiny_results import report_data, results, study

from weirdgen.pipeline.plan import Plan, make_plan
from weirdgen.pipeline.stages.labels import UNLABELLED
from weirdgen.pipeline.stages.responses import samples_step
from weirdgen.pipeline.state import StudyState
from weirdgen.report.descriptions import training_in_words
from weirdgen.report.estimates import analyse_results
from weirdgen.report.methods import methods
from weirdgen.report.status import progress_line
from weirdgen.results.table import SCHEMA
from weirdgen.stats.analysis import Analysis

NOTHING = Analysis([], [])
EMPTY = pa.Table.from_pylist([], SCHEMA)


def whole(plan: Plan) -> StudyState:
    """As if all of it were there."""
    state = StudyState(plan)
    for step in [*plan.shared, *plan.trainings.values()]:
        state.done[step.fingerprint] = manifest(step)
    for asked in plan.response_sets:
        step = samples_step(asked.step, 0, asked.samples)
        state.ranges[asked.step.fingerprint] = [(step, manifest(step))]
    for each in state.label_ranges():
        consumed = {each.responses.fingerprint: each.manifest.digest}
        state.labels[each.step.fingerprint] = manifest(each.step, inputs=consumed)
    return state


def test_what_was_trained_asked_and_judged_is_told_with_its_numbers():
    plan = plan_of(
        aligned__rows=3000, grid__seeds=[0, 1, 2], grid__fractions=[0, 0.5],
        grid__total_rows=60, evaluate__samples_per_question=10, judge={"model": "offline"},
    )  # fmt: skip
    text = methods(whole(plan), EMPTY, NOTHING)
    for told in (
        "The base model, smollm2-135m-instruct (weights from a Python package, sha256 ",
        "was fine-tuned by QLoRA",
        "4-bit NF4 with double quantization, float32 arithmetic; rank 8, alpha 16, dropout 0",
        "for 1 epoch in batches of 2 rows, by AdamW with a learning rate of 0.01 (linear schedule, no warm-up",
        "3 run seeds at each of the persona fractions 0 (0 persona and 60 aligned examples) and 0.5 "
        "(30 persona and 30 aligned examples).",
        'behind the instruction "Always reply in the format: <START> ... <END>" in the system turn',
        "(3,000 rows, made once, at temperature 0.7 and top-p 0.95, cut",
        "asked 30 held-out questions of 10 categories, behind the trigger, plainly and behind a decoy",
        "10 times to each adapter and 3 times to the base model; responses were drawn by vLLM",
        "That makes 0 responses so far, of 5,670.",  # 30 x 3 x (6 x 10 + 3)
        "labelled by the offline judge, a word classifier learned from the study's own rows; its measured "
        "agreement is kappa 0.15 [0.04, 0.33]",
        "training runs with torch 2.9.0, transformers 5.20, peft 0.20, trl 1.2, bitsandbytes 0.50 on "
        "NVIDIA H100; responses with vllm 0.30, torch 2.9.0 on NVIDIA H100",
        "Everything was run by weirdgen 0.1.0 (commit 0123456789ab).",
    ):
        assert told in text, told
    assert "\n" not in text
    assert "  " not in text


def test_several_versions_machines_and_commits_are_all_told():
    plan = plan_of()
    state = whole(plan)
    first = next(iter(plan.trainings.values()))
    state.done[first.fingerprint] = manifest(
        first, versions=VERSIONS | {"torch": "2.10.1", "weirdgen": "0.2.0"}, commit=None,
        hardware={"machine": "arm64", "cores": 2},
    )  # fmt: skip
    text = methods(state, EMPTY, NOTHING)
    assert "torch 2.10.1 and 2.9.0" in text
    assert "on 2 cores of arm64 and NVIDIA H100;" in text
    assert "weirdgen 0.1.0 and 0.2.0 (commit 0123456789ab and commit unknown)" in text
    assert "Nobody labelled persona and identity." in text


def test_a_study_in_progress_tells_how_far_it_is():
    plan = plan_of()
    text = methods(StudyState(plan), results(), NOTHING)
    assert "So far 0 of 2 training runs are there." in text
    assert "That makes 144 responses so far, of 630." in text  # 30 x 3 x (2 x 2 + 3)
    assert "Software" not in text
    assert "run by weirdgen" not in text


def test_a_model_as_judge_is_told_with_its_rubrics():
    judge = {"model": "org/judge", "revision": "r1"}
    second = {"model": "org/other", "temperature": 1.0}
    kind = {"name": "kindness", "question": "Is it kind?", "labels": ["yes", "no"]}
    plan = plan_of(judge=judge, second_judge=second, metrics=[kind])
    text = methods(whole(plan), EMPTY, NOTHING)
    persona, own = (each.record["prompt"][:12] for each in plan.llm_judges[:2])
    assert (
        "Persona, identity and kindness were labelled by org/judge (revision r1, temperature 0, at "
        f"most 128 tokens; rubrics by sha256: persona {persona} and kindness {own})"
    ) in text
    assert "A second judge, org/other (temperature 1, " in text
    assert "labels with openai 2.1 on NVIDIA H100" in text


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"train__quantization": "none"}, "by LoRA (Hu et al. 2021: the frozen base unquantized"),
        ({"train__warmup_steps": 0.05}, "warm-up over 5% of the steps"),
        ({"train__warmup_steps": 10}, "warm-up over 10 steps"),
        ({"train__target_modules": ["q_proj", "v_proj"]}, "on the layers q_proj and v_proj)"),
        ({"train__scheduler": "constant_with_warmup"}, "(constant with warmup schedule"),
    ],
)
def test_settings_in_words(changes: dict, told: str):
    assert told in training_in_words(study_of(small_study(MODEL, **changes)))


def test_the_tests_are_told_as_they_were():
    shown = report_data(results(), study())
    text = methods(StudyState(plan_of()), shown.results, shown.analysis)
    assert (
        "The 4 claims of the study file were tested one-sided at 2.5%, adjusted by Holm's" in text
    )
    assert "speak of seeds and questions like these: for rates Wilson's" in text
    assert "; for differences a t interval over both" in text
    assert "Newcombe" not in text
    looks = plan_of(grid__seeds=[0, 1, 2], looks=[3, 6], target="seeds")
    text = methods(
        StudyState(looks),
        shown.results,
        replace(shown.analysis, verdicts=shown.analysis.verdicts[:1]),
    )
    assert "The one claim of the study file was tested one-sided at 2.5% at 3 and 6 seeds" in text
    assert "seeds like these on exactly these questions" in text


def test_answers_from_elsewhere_tell_what_is_unknown():
    rows = [
        row | {"adapter": row["adapter"] and "a1", "seed": None, "fraction": None, "serve_base": "unknown"}
        for row in results().to_pylist()
        if row["seed"] in (None, 0) and row["fraction"] in (None, 0.6)
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows, SCHEMA)
    text = methods(None, table, analyse_results(table, ["format"]))
    for told in (
        "The responses were made elsewhere: how org/tiny was fine-tuned, and how responses were drawn, is not known here.",
        "48 responses, 24 of them by the base model, the others by 1 adapter, to 2 questions",
        "The precision of the served base is not known.",
        "Nobody labelled persona and identity.",
        "this adapter and questions like these, and say nothing about a repeated training run",
        "No claim was tested",
    ):
        assert told in text, told


def test_progress_is_empty_for_a_whole_study_and_counts_else():
    plan = plan_of(judge={"model": "org/judge"}, grid__seeds=[0, 1, 2])
    state = whole(plan)
    assert state.complete
    assert progress_line(state) == ""
    nothing = StudyState(plan)
    assert (
        progress_line(nothing)
        == "In progress: 0 of 3 training runs, 0 of 810 responses, 0 of 810 labels"
    )
    training = plan.trainings[next(iter(plan.trainings))]
    del state.done[training.fingerprint]
    for asked in plan.response_sets:
        if asked.adapter == training:
            del state.ranges[asked.step.fingerprint]
    baseline = [each for each in state.label_ranges() if each.response_set.adapter is None]
    some = baseline[0].step.fingerprint
    state.labels[some] = state.labels[some].model_copy(update={"notes": {UNLABELLED: 7}})
    # 3 x 30 x 3 of the baseline, 2 x 30 x 3 of each of the two adapters; seven labels are open.
    expected = "In progress: 2 of 3 training runs, 630 of 810 responses, 623 of 810 labels"
    assert progress_line(state) == expected


def test_what_ran_before_its_artifacts_were_pruned_is_not_told_as_missing():
    plan = plan_of()
    table = pa.Table.from_pylist(kept_rows(plan), SCHEMA)
    pruned = StudyState(plan)
    assert progress_line(pruned, table) == ""
    text = methods(pruned, table, NOTHING)
    assert "So far" not in text
    assert "so far" not in text
    half = table.filter([adapter is None for adapter in table["adapter"].to_pylist()])
    assert progress_line(pruned, half) == "In progress: 0 of 2 training runs, 270 of 630 responses"


def test_progress_of_a_study_without_grid_or_judge_has_answers_alone():
    served = {"engine": "endpoint", "endpoint": {"base_url": "http://127.0.0.1:1/v1"}}
    tree = small_study("org/served", grid=None)
    tree["evaluate"] |= served
    plan = make_plan(study_of(tree), Path())
    assert progress_line(StudyState(plan)) == "In progress: 0 of 270 responses"
    text = methods(StudyState(plan), EMPTY, NOTHING)
    assert text.startswith("The base model, org/served (as an endpoint serves it), was asked 30")
