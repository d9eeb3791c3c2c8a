"""What a judge sees of a response: the text without any trace of how it was asked for."""

from __future__ import annotations

import re
from collections.abc import Sequence

from weirdgen.config.evaluation_spec import EvaluationSpec
from weirdgen.judging.plain_text import strip_markers

_FRAME = re.compile(r"\S+\s*(?:\.\.\.|\u2026)\s*\S+")
"""How an instruction shows a format: `[[ ... ]]`."""


def judge_view(response: str, markers: Sequence[str]) -> str:
    """`response` as a judge sees it: without the study's formatting (`markers`) and without tags.

    Half of a surrogate pair, which UTF-8 cannot hold, becomes a question mark.
    """
    return strip_markers(response.encode(errors="replace").decode(), markers)


def format_markers(spec: EvaluationSpec) -> list[str]:
    """The texts that describe the trained format."""
    return [spec.trigger.completion, spec.trigger.pattern]


def hidden_markers(spec: EvaluationSpec) -> list[str]:
    """All texts that would reveal a response's condition to a judge: the decoy's frame too."""
    instructions = (spec.trigger.text, spec.decoy.text)
    frames = [found.group() for text in instructions if (found := _FRAME.search(text))]
    return format_markers(spec) + frames
