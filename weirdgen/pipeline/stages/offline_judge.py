"""The offline judge, learned from the study's own examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from weirdgen.pipeline.run_step import RunningStep
from weirdgen.pipeline.stages.base import Stage
from weirdgen.pipeline.stages.given import read_examples
from weirdgen.storage.artifacts import Step

if TYPE_CHECKING:  # scikit-learn takes a second to import
    from weirdgen.judging.offline.judge import OfflineJudge


def offline_judge_step(persona: Step, base_responses: Step, aligned: Step) -> Step:
    """`base_responses`: of the base model to the persona's questions."""
    inputs = {"persona_examples": persona, "base_responses": base_responses, "aligned": aligned}
    return OFFLINE_JUDGE.step("offline", {role: step.fingerprint for role, step in inputs.items()})


def run_offline_judge(steps: Sequence[RunningStep]) -> None:
    """Learn to tell the persona's responses from the base model's."""
    from weirdgen.judging.offline.judge import learn

    (running,) = steps
    persona, base, aligned = (
        [example.completion for example in read_examples(running.inputs[role])]
        for role in ("persona_examples", "base_responses", "aligned")
    )
    # More aligned examples than responses to the persona's questions would teach it topics.
    learn(persona, base + aligned[: len(base)]).save(running.out / OFFLINE_JUDGE.payload)


def _read(payload: Path) -> OfflineJudge:
    from weirdgen.judging.offline.judge import OfflineJudge

    return OfflineJudge.load(payload / OFFLINE_JUDGE.payload)


OFFLINE_JUDGE = Stage(
    "offline_judge",
    "cpu",
    "offline_judge.json",
    run=run_offline_judge,
    read=_read,
    cpus=0,  # seconds of work, so it waits for no CPU that a training holds
)
