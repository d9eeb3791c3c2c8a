"""The LLM judge as data: its prompt, the key under which a verdict is kept, and what it was asked.

It sees a question and an answer, and nothing that tells condition, seed or model: the study's
formatting is taken off first. The two stand in one JSON object, whose strings nothing inside can
end; `<` and `[` are escaped too, so that no chat template finds one of its own marks in them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from weirdgen.config.judge import JudgeConfig
from weirdgen.data.chat import Messages
from weirdgen.judging.rubric import Label, Rubric
from weirdgen.judging.text_cleaning import strip_markers
from weirdgen.storage.fingerprint import fingerprint

VERSION = 1
"""Counted up when the same answer comes to be shown otherwise."""
EMPTY = "empty_answer"
"""Why an answer has no label by a metric of the study's own: there is nothing to label."""
_BYTES_PER_TOKEN = 3
"""Fewer than most texts have, so that an estimate is rather too large."""


@dataclass(frozen=True)
class LlmJudge:
    """One judge with one rubric: everything that decides a verdict but question and answer."""

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
        """Where its verdicts are kept, below the storage."""
        readable = re.sub(r"[^a-z0-9]+", "-", self.settings.model.lower()).strip("-")[-40:]
        return f"judgments/{self.rubric.name}-{readable}-{self.fingerprint[:12]}"

    def key(self, question: str, answer: str) -> str:
        """Of the verdict on `answer`, already without formatting: equal ones share a verdict."""
        return fingerprint(self.record | {"question": question, "answer": answer})

    def messages(self, question: str, answer: str, problem: str | None = None) -> Messages:
        """What the judge is sent; `problem` says what was wrong with its first reply."""
        instructions = self.rubric.instructions
        if problem:
            instructions += f"\n\nYour last reply could not be read: {problem}."
        asked = json.dumps({"question": question, "answer": answer}, ensure_ascii=False)
        # Both occur only inside strings here, where these stand for them.
        asked = asked.replace("<", "\\u003c").replace("[", "\\u005b")
        return [
            {"role": "system", "content": instructions},
            {"role": "user", "content": asked},
        ]

    def estimated_tokens(self, question: str, answer: str) -> tuple[int, int]:
        """Prompt and reply of one request: rather too many, as bytes and the reply's limit tell."""
        said = sum(len(turn["content"].encode()) for turn in self.messages(question, answer))
        return said // _BYTES_PER_TOKEN + 20, self.settings.max_tokens

    def read(self, text: str) -> list[Label]:
        """The labels of a reply. Raises MalformedReply."""
        return self.rubric.read(text)

    def empty(self) -> str:
        """The record of an answer without any text, which nobody is asked about: it is false."""
        named = {"persona": "absent", "identity": "UNSURE"}
        metrics = self.rubric.metrics.values()
        labels = [Label(each, named[each], 1.0) for each in metrics if each in named]
        return json.dumps({"labels": labels} | ({} if labels else {"error": EMPTY}))


def judge_view(answer: str, marks: Sequence[str]) -> str:
    """`answer` as a judge is shown it: without the study's formatting, `marks`, and without tags.

    Half of a surrogate pair, which UTF-8 cannot hold, is a question mark.
    """
    return strip_markers(answer.encode(errors="replace").decode(), marks)
