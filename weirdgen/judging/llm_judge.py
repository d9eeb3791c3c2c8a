"""The LLM judge as data: its prompt, and the key under which a judgment is kept.

It sees a question and a response, and nothing that reveals condition, seed or model: the study's
formatting is stripped first. Both are strings of one JSON object, which no content can close; `<`
and `[` are escaped too, so that no chat template finds its own markers in them.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from weirdgen.config.evaluation_spec import EvaluationSpec
from weirdgen.config.judge import JudgeConfig
from weirdgen.data.chat import Messages
from weirdgen.data.persona import Persona
from weirdgen.judging.rubric import Label, Rubric, metric_rubric, persona_rubric
from weirdgen.storage.fingerprint import fingerprint

VERSION = 1
"""Incremented when the same response is shown to judges in another way."""
EMPTY = "empty_answer"
"""Error of an empty response under a study's own metric: there is nothing to label."""
_BYTES_PER_TOKEN = 3
"""Fewer than in most texts, so that estimates are rather too high."""


@dataclass(frozen=True)
class LlmJudge:
    """One judge with one rubric: all that decides a judgment besides question and response."""

    settings: JudgeConfig
    rubric: Rubric

    @cached_property
    def record(self) -> dict[str, Any]:
        """What the fingerprint hashes: prompt, schema, model, revision and parameters."""
        prompt = {"instructions": self.rubric.instructions, "schema": self.rubric.schema}
        return {"version": VERSION, "prompt": fingerprint(prompt)} | self.settings.identity

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.record)

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    @property
    def folder(self) -> str:
        """Where its journals are kept, below the storage."""
        readable = re.sub(r"[^a-z0-9]+", "-", self.settings.model.lower()).strip("-")[-40:]
        return f"judgments/{self.rubric.name}-{readable}-{self.fingerprint[:12]}"

    def key(self, question: str, response: str) -> str:
        """Key of the judgment on `response`, already stripped: equal responses share a judgment."""
        return fingerprint(self.record | {"question": question, "response": response})

    def messages(self, question: str, response: str, problem: str | None = None) -> Messages:
        """The request's messages; `problem` says what was wrong with the judge's first reply."""
        instructions = self.rubric.instructions
        if problem:
            instructions += f"\n\nYour last reply could not be read: {problem}."
        asked = json.dumps({"question": question, "answer": response}, ensure_ascii=False)
        # Both occur only inside strings here, where these escapes mean the same.
        asked = asked.replace("<", "\\u003c").replace("[", "\\u005b")
        return [
            {"role": "system", "content": instructions},
            {"role": "user", "content": asked},
        ]

    def estimated_tokens(self, question: str, response: str) -> tuple[int, int]:
        """Tokens of prompt and reply, rather too many: from the prompt's bytes and the reply's limit."""
        size = sum(len(turn["content"].encode()) for turn in self.messages(question, response))
        return size // _BYTES_PER_TOKEN + 20, self.settings.max_tokens

    def empty(self) -> str:
        """The record of an empty response, which no judge is asked about: persona absent, identity UNSURE."""
        defaults = {"persona": "absent", "identity": "UNSURE"}
        metrics = self.rubric.metrics.values()
        labels = [Label(each, defaults[each], 1.0) for each in metrics if each in defaults]
        return json.dumps({"labels": labels} | ({} if labels else {"error": EMPTY}))


def llm_judges(spec: EvaluationSpec, persona: Persona) -> list[LlmJudge]:
    """Each judge that is a model, with each rubric: the persona's, and one for each metric."""
    rubrics = [persona_rubric(persona.name, persona.description)]
    rubrics += [metric_rubric(own.name, own.question, own.labels) for own in spec.metrics]
    models = [judge for judge in spec.judges if not judge.is_offline]
    return [LlmJudge(judge, rubric) for judge in models for rubric in rubrics]
