"""What the user gives: the persona's examples, the held-out questions, the prompts of aligned examples."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from weirdgen.data.examples import Example
from weirdgen.data.examples import read_examples as read_file
from weirdgen.data.jsonl import to_jsonl
from weirdgen.data.persona import HELDOUT, Question, read_questions
from weirdgen.pipeline.stages.base import Stage
from weirdgen.storage.artifacts import Step

EXAMPLES = "examples.jsonl"
"""The payload of every stage that holds examples."""


class GivenStep(NamedTuple):
    """A step that the driver writes, from what the user gave."""

    step: Step
    write: Callable[[Path], None]
    """Writes the payload into a folder."""


def read_examples(payload: Path) -> list[Example]:
    """The examples of a payload, in their order."""
    return read_file(payload / EXAMPLES)


def _read_questions(payload: Path) -> list[Question]:
    return read_questions(payload / HELDOUT)


PERSONA_EXAMPLES = Stage("persona_examples", "driver", EXAMPLES, read=read_examples)
QUESTIONS = Stage("questions", "driver", HELDOUT, read=_read_questions)
PROMPTS = Stage("prompts", "driver", EXAMPLES, read=read_examples)


def given_step(stage: Stage, name: str, rows: Sequence[NamedTuple]) -> GivenStep:
    """A step whose payload is these rows; its identity is their content."""
    content = to_jsonl(rows)
    files = {stage.payload: hashlib.sha256(content).hexdigest()}

    def write(out: Path) -> None:
        (out / stage.payload).write_bytes(content)

    return GivenStep(stage.step(name, {}, files=files), write)
