"""How responses are generated: the engine, what it serves, and the sampling."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, model_validator

from weirdgen.config.base import BaseUrl, Distinct, KeyVariable, StrictModel
from weirdgen.config.claims import Condition

Precision = Literal["bf16", "fp32", "nf4"]


def compute_dtype(serve_base: str) -> Literal["bfloat16", "float32"]:
    """Dtype of the arithmetic over a base of this precision."""
    return "float32" if serve_base == "fp32" else "bfloat16"


class Sampling(StrictModel):
    temperature: float = Field(default=1.0, ge=0)
    """Softmax temperature; 0 is greedy."""
    top_p: float = Field(default=0.95, gt=0, le=1)
    """Nucleus: the smallest set of tokens with this probability."""
    max_new_tokens: int = Field(default=256, ge=1, le=1536)
    """Longest response, in tokens."""


class Endpoint(StrictModel):
    base_url: BaseUrl
    """An OpenAI-compatible endpoint, such as http://127.0.0.1:8000/v1."""
    key_variable: KeyVariable = "OPENAI_API_KEY"
    """The environment variable that holds its key; the key itself is in no file."""
    parallel: PositiveInt = 8
    """Concurrent requests."""


class Evaluate(StrictModel):
    conditions: Annotated[list[Condition], Distinct] = Field(
        default=["triggered", "untriggered", "decoy"], min_length=1
    )
    """How each held-out question is asked: with the trigger, without it, with the decoy."""
    samples_per_question: PositiveInt = 10
    """Responses per adapter, question and condition."""
    baseline_samples_per_question: PositiveInt | None = None
    """Responses of the base model; default 5 x samples_per_question, and at least 10."""
    engine: Literal["vllm", "transformers", "endpoint"] = "vllm"
    """vLLM, transformers (slower; serves NF4 and any PEFT adapter), or an endpoint."""
    serve_base: Precision = "bf16"
    """Precision of the base model under the adapters; it changes results and is recorded. `fp32` is for
    CPUs, few of which multiply bf16 in hardware; on the others bf16 takes 100 times as long.
    """
    endpoint: Endpoint | None = None
    """The endpoint that serves the models; with `engine: endpoint` only."""
    sampling: Sampling = Sampling()
    """Temperature, nucleus and length of responses."""

    @model_validator(mode="after")
    def _engine_can(self) -> Evaluate:
        if (self.engine == "endpoint") != (self.endpoint is not None):
            raise ValueError("endpoint: goes with `engine: endpoint`, and is needed there")
        if self.engine == "endpoint" and "serve_base" in self.model_fields_set:
            raise ValueError("serve_base: an endpoint's precision is its own; leave it out")
        if self.engine == "vllm" and self.serve_base == "nf4":
            raise ValueError(
                "serve_base: vllm serves bf16 and fp32; `engine: transformers` serves nf4"
            )
        return self

    @property
    def baseline_samples(self) -> int:
        return self.baseline_samples_per_question or max(10, 5 * self.samples_per_question)

    @property
    def precision(self) -> str:
        """The results' `serve_base`: `bf16`, `fp32` or `nf4`; `endpoint` where it is unknown."""
        return "endpoint" if self.engine == "endpoint" else self.serve_base
