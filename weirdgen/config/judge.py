"""The judge that labels responses: its endpoint, limits and price, and the study's own metrics."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PositiveInt, model_validator

from weirdgen.config.base import BaseUrl, KeyVariable, StrictModel
from weirdgen.config.claims import FORMAT_METRICS, JUDGED_METRICS

OFFLINE = "offline"
"""The name of the built-in judge, which sends no request."""

RESERVED = (
    "study", "model", "arm", "fraction", "seed", "adapter", "condition", "question_id", "category",
    "question", "sample", "response", "answer", "response_tokens", "finish_reason", "serve_base",
    "format", "format_strict", "persona", "identity", "identity_label", "fp_train", "fp_responses",
)  # fmt: skip
"""Columns of the tables; a study's own metric must have another name."""
RESERVED_PREFIXES = ("judge", "second_", "gold_")
"""Prefixes of columns about judges and gold labels."""

Label = Annotated[str, Field(min_length=1, max_length=80)]


class Price(StrictModel):
    input: float = Field(ge=0)
    """Dollars per million prompt tokens."""
    output: float = Field(ge=0)
    """Dollars per million completion tokens."""

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        """Dollars for one request."""
        return (self.input * prompt_tokens + self.output * completion_tokens) / 1e6


class JudgeConfig(StrictModel):
    model: str = Field(min_length=1)
    """`offline`: the built-in classifier, learned from the study's own examples; or a model, by its
    endpoint's name.
    """
    revision: str | None = None
    """The model's commit or date, where its name alone is ambiguous. Part of every judgment's key."""
    base_url: BaseUrl | None = None
    """An OpenAI-compatible endpoint; default OpenAI's own."""
    key_variable: KeyVariable = "OPENAI_API_KEY"
    """The environment variable that holds its key; the key itself is in no file."""
    temperature: float = Field(default=0.0, ge=0)
    """Softmax temperature of its replies; some models accept only 1."""
    max_tokens: int = Field(default=128, ge=16)
    """Longest reply, in tokens; a reasoning model needs room for its thoughts."""
    requests_per_minute: PositiveInt | None = None
    """The endpoint's limit, shared by all judge actors."""
    tokens_per_minute: PositiveInt | None = None
    """The endpoint's limit, prompt and reply together, shared by all judge actors."""
    parallel: PositiveInt = 64
    """Concurrent requests of all judge actors together."""
    timeout_s: float = Field(default=60.0, gt=0)
    """Time limit of one request."""
    price: Price | None = None
    """The endpoint's price, where its replies do not state the cost."""
    budget_usd: float | None = Field(default=None, gt=0)
    """Spending limit over all runs of the study; raise it to continue."""

    def __hash__(self) -> int:
        return hash(self.model_dump_json())

    @property
    def is_offline(self) -> bool:
        return self.model == OFFLINE

    @property
    def identity(self) -> dict[str, Any]:
        """The fields that decide its replies."""
        parameters = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        return {"model": self.model, "revision": self.revision, "parameters": parameters}

    @model_validator(mode="after")
    def _offline_sends_no_requests(self) -> JudgeConfig:
        fields = JudgeConfig.model_fields.items()
        asked = [
            name for name, of in fields if name != "model" and getattr(self, name) != of.default
        ]
        if self.is_offline and asked:
            raise ValueError(f"{asked[0]}: the offline judge sends no requests; leave it out")
        return self


def _as_mapping(labels: object) -> object:
    if not isinstance(labels, list):
        return labels
    if not all(isinstance(label, str) for label in labels):
        raise ValueError('must be texts; yes and no need quotes: ["yes", "no"]')
    if len(set(labels)) < len(labels):
        raise ValueError("the same label appears twice")
    return dict.fromkeys(labels)


class Metric(StrictModel):
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=60)
    """What tables and `labels.parquet` call it; no column's name, and not `judge...`, `second_...`, `gold_...`."""
    question: str = Field(min_length=1)
    """What the judge is asked about a response."""
    labels: Annotated[dict[Label, float | None], BeforeValidator(_as_mapping)] = Field(
        min_length=2, max_length=20
    )
    """The allowed labels: a list, or a mapping to the number that each counts as, such as
    `{"yes": 1, "no": 0}`.
    """

    @property
    def is_a_share(self) -> bool:
        """Whether every label counts as a number from 0 to 1."""
        return all(value is not None and 0 <= value <= 1 for value in self.labels.values())

    @model_validator(mode="after")
    def _numbers_for_all_or_none(self) -> Metric:
        numbers = [value is None for value in self.labels.values()]
        if any(numbers) and not all(numbers):
            raise ValueError("labels: give a number to each label, or to none")
        if self.name in (*FORMAT_METRICS, *JUDGED_METRICS):
            raise ValueError(f"name: {self.name!r} is a metric of its own")
        if self.name in RESERVED or self.name.startswith(RESERVED_PREFIXES):
            raise ValueError(f"name: {self.name!r} is, or may be, a column with another meaning")
        return self
