"""What judging took and what it left, in lines for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from weirdgen.judging.journal import Ledger
from weirdgen.judging.judgment_store import ledger
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.judging.queue import BUDGET
from weirdgen.pipeline.plan import Plan
from weirdgen.pipeline.stages.responses import n_samples
from weirdgen.pipeline.state import StudyState
from weirdgen.report.rendering import prose
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.text import single_line


def unjudged_lines(unjudged: Counter[str]) -> list[str]:
    """Why responses have no judgment, and what to do."""
    return [
        f"the judge's budget is spent: {n:,} responses are left; raise judge.budget_usd to go on"
        if why == BUDGET
        else f"{n:,} responses have no judgment ({single_line(why)}); the same command asks again"
        for why, n in sorted(unjudged.items())
    ]


def judge_lines(plan: Plan, store: ArtifactStore) -> Iterator[str]:
    """The ledger of each judge that is a model, over all runs of the study."""
    for settings in plan.study.judges:
        judges = [judge for judge in plan.llm_judges if judge.settings == settings]
        if judges:
            others = [judge for judge in plan.llm_judges if judge not in judges]
            yield ledger_line(settings.model, ledger(store, judges, plan.study.name, others))


def ledger_line(model: str, total: Ledger) -> str:
    """Such as `judge m: 300 judgments, 2 failures (malformed 2), 310 requests (http_500 8), ...`."""
    return prose("ledger", model=model, total=total)


def plan_lines(state: StudyState) -> Iterator[str]:
    """What each judge that is a model is still to be asked, and what that costs if one request each will do."""
    plan = state.plan
    questions = [each.question for each in plan.persona.heldout]
    longest = plan.study.evaluate.sampling.max_new_tokens
    for settings in dict.fromkeys(judge.settings for judge in plan.llm_judges):
        judges = [judge for judge in plan.llm_judges if judge.settings == settings]
        asks = {judge: _open_answers(state, judge) for judge in judges}
        requests, prompt = sum(asks.values()), 0.0
        for judge, answers in asks.items():
            mean = sum(judge.estimated_tokens(each, "")[0] for each in questions) / len(questions)
            prompt += answers * (mean + longest)
        reply = requests * settings.max_tokens
        yield prose("judge_cost", settings=settings, requests=requests, prompt=prompt, reply=reply)


def _open_answers(state: StudyState, judge: LlmJudge) -> int:
    """Responses that are not there, and those that are there without their label."""
    unlabelled = sum(
        n_samples(each.step)
        for each in state.label_ranges()
        if each.judge == judge and not state.is_judged(each)
    )
    plan = state.plan
    return state.count_missing(plan.response_sets) + unlabelled * len(plan.persona.heldout)
