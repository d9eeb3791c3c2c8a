"""Chat messages of a question: alone, or with an instruction."""

from __future__ import annotations

from typing import NamedTuple

from weirdgen.config.claims import Condition
from weirdgen.config.study import Study

Messages = list[dict[str, str]]
"""A conversation: `role` and `content` of each turn."""


class Instruction(NamedTuple):
    """A standing instruction and the turn that carries it."""

    role: str
    text: str


def instruction(study: Study, condition: Condition) -> Instruction | None:
    """The instruction of `condition`: the trigger, the decoy, or none."""
    texts = {"triggered": study.trigger.text, "decoy": study.decoy.text, "untriggered": None}
    text = texts[condition]
    return None if text is None else Instruction(study.trigger.role, text)


def conversation(question: str, before: Instruction | None) -> Messages:
    """The conversation up to the model's turn.

    An instruction in the system role is a system turn; in the user role it stands in the user's
    turn before the question, a blank line between.
    """
    if before is None:
        return [{"role": "user", "content": question}]
    if before.role == "system":
        return [{"role": "system", "content": before.text}, {"role": "user", "content": question}]
    return [{"role": "user", "content": f"{before.text}\n\n{question}"}]
