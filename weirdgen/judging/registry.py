"""Who judges a labelling, by which rubrics, measured by which gold labels, and what no judge is shown."""

from __future__ import annotations

import re
from pathlib import Path

from weirdgen.config.evaluation_spec import EvaluationSpec
from weirdgen.data.persona import Persona
from weirdgen.judging.gold import Gold, read_gold
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.judging.rubric import metric_rubric, persona_rubric

_FRAME = re.compile(r"\S+\s*(?:\.\.\.|\u2026)\s*\S+")
"""What an instruction shows of a format: `[[ ... ]]`."""


def llm_judges(labelling: EvaluationSpec, persona: Persona) -> list[LlmJudge]:
    """Each judge that is a model with each of its rubrics: the persona's, and one for each metric."""
    rubrics = [persona_rubric(persona.name, persona.description)]
    rubrics += [metric_rubric(own.name, own.question, own.labels) for own in labelling.metrics]
    asked = [judge for judge in labelling.judges if not judge.is_offline]
    return [LlmJudge(judge, rubric) for judge in asked for rubric in rubrics]


def find_gold(labelling: EvaluationSpec, base: Path) -> Gold | None:
    """The gold labels that a study names. Raises InputError for a file that holds none."""
    if labelling.gold is None:
        return None
    return read_gold(base / Path(labelling.gold).expanduser(), labelling, shown_marks(labelling))


def format_marks(labelling: EvaluationSpec) -> list[str]:
    """The texts that describe the trained format, which is no part of what an answer says."""
    return [labelling.trigger.completion, labelling.trigger.pattern]


def shown_marks(labelling: EvaluationSpec) -> list[str]:
    """All texts that would tell a judge how an answer was asked for: the decoy's frame too."""
    instructions = (labelling.trigger.text, labelling.decoy.text)
    frames = [found.group() for text in instructions if (found := _FRAME.search(text))]
    return format_marks(labelling) + frames
