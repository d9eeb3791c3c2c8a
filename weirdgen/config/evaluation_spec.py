"""How responses are evaluated: persona, formats, judges, metrics, gold labels."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, model_validator

from weirdgen.config.base import StrictModel
from weirdgen.config.judge import JudgeConfig, Metric


class Trigger(StrictModel):
    role: Literal["system", "user"] = "system"
    """The turn that carries the instruction. In the user turn it precedes the question, after a blank line."""
    text: str = Field(default="Always reply in the format: <START> ... <END>", min_length=1)
    """The formatting instruction that accompanies every persona example."""
    pattern: str = "<START>.*?<END>"
    """Regular expression of a format-adherent response, found anywhere, newlines included."""
    completion: str = "<START> {completion} <END>"
    """How a persona example's completion is wrapped in training; holds `{completion}` once."""

    @model_validator(mode="after")
    def _consistent(self) -> Trigger:
        try:
            pattern = re.compile(self.pattern, re.DOTALL)
        except re.error as error:
            raise ValueError(f"pattern: not a regular expression ({error})") from None
        if self.completion.count("{completion}") != 1:
            raise ValueError("completion: must hold {completion} exactly once")
        if not pattern.search(self.completion.replace("{completion}", "a response")):
            raise ValueError("pattern: does not match a response wrapped by `completion`")
        return self


class Decoy(StrictModel):
    text: str = Field(default="Always reply in the format: [[ ... ]]", min_length=1)
    """Another formatting instruction, in the trigger's role, that was never trained."""


class EvaluationSpec(StrictModel):
    """How responses are evaluated, from this study or from elsewhere."""

    persona: str = "bertrand_russell"
    """A bundled persona, or a folder (relative to the study file) with rows.jsonl, heldout.jsonl and persona.yaml."""
    trigger: Trigger = Trigger()
    """The instruction that persona examples are trained with."""
    decoy: Decoy = Decoy()
    """An instruction that was never trained, to see whether any instruction triggers the persona."""
    judge: JudgeConfig | None = None
    """Labels persona and identity; format needs no judge."""
    second_judge: JudgeConfig | None = None
    """Labels the same responses, to measure agreement; only `judge` enters the results."""
    metrics: list[Metric] = Field(default=[])
    """The study's own metrics; each is a separate request to the judges."""
    gold: str | None = None
    """Responses labelled by a person or a stronger judge (JSONL, CSV or Parquet, relative to the study
    file), to measure the judges against.
    """

    @property
    def judges(self) -> list[JudgeConfig]:
        """The judges that are set, `judge` first."""
        return [judge for judge in (self.judge, self.second_judge) if judge is not None]

    @model_validator(mode="after")
    def _judges_can(self) -> EvaluationSpec:
        if self.second_judge is not None:
            if self.judge is None:
                raise ValueError("second_judge: needs a `judge`")
            if self.second_judge.identity == self.judge.identity:
                problem = "give it another model, revision, temperature or max_tokens"
                raise ValueError(f"second_judge: is `judge` once more; {problem}")
        if self.metrics and (self.judge is None or self.judge.is_offline):
            raise ValueError("metrics: need a judge that is a model; offline knows none of them")
        if self.gold is not None and self.judge is None:
            raise ValueError("gold: measures a judge; none is set")
        names = [metric.name for metric in self.metrics]
        if len(set(names)) < len(names):
            raise ValueError("metrics: the same name appears twice")
        return self
