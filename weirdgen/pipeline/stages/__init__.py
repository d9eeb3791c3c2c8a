"""The stages of a study. To add one: its file in this folder, and its place in this list."""

from __future__ import annotations

from weirdgen.pipeline.stages.adapter import ADAPTER
from weirdgen.pipeline.stages.aligned import ALIGNED
from weirdgen.pipeline.stages.base import Stage
from weirdgen.pipeline.stages.given import PERSONA_EXAMPLES, PROMPTS, QUESTIONS
from weirdgen.pipeline.stages.labels import LABELS
from weirdgen.pipeline.stages.model import MODEL
from weirdgen.pipeline.stages.offline_judge import OFFLINE_JUDGE
from weirdgen.pipeline.stages.responses import RESPONSES
from weirdgen.pipeline.stages.train import TRAIN
from weirdgen.storage.artifacts import Step

_IN_STUDY_ORDER = (
    MODEL, PERSONA_EXAMPLES, QUESTIONS, PROMPTS, ALIGNED, OFFLINE_JUDGE, ADAPTER, TRAIN, RESPONSES, LABELS,
)  # fmt: skip
STAGES: dict[str, Stage] = {stage.name: stage for stage in _IN_STUDY_ORDER}
"""Name -> stage, in the order in which a study goes through them."""


def stage_of(step: Step) -> Stage:
    return STAGES[step.stage]
