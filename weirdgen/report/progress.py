"""How far a study is that still runs, or was stopped."""

from __future__ import annotations

from weirdgen.pipeline.state import StudyState


def progress_line(state: StudyState) -> str:
    """Such as `In progress: 5 of 8 trainings, 4,300 of 9,600 answers`; empty where the study is whole.

    Labels are counted where a model judges: one for each answer, judge and rubric. The offline
    judge labels whatever is there.
    """
    if state.complete:
        return ""
    plan = state.plan
    questions = len(plan.persona.heldout)
    wanted = sum(asked.samples for asked in plan.response_sets)
    missing = sum(
        end - first for asked in plan.response_sets for first, end in state.missing(asked)
    )
    parts = [f"{(wanted - missing) * questions:,} of {wanted * questions:,} answers"]
    if plan.trainings:
        done = sum(map(state.is_done, plan.trainings.values()))
        parts.insert(0, f"{done:,} of {len(plan.trainings):,} trainings")
    if plan.llm_judges:
        labels = wanted * questions * len(plan.llm_judges)
        parts.append(f"{state.count_labels():,} of {labels:,} labels")
    return f"In progress: {', '.join(parts)}"
