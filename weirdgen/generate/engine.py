"""The small protocol that every generation engine keeps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from weirdgen.data.messages import Messages


class Adapter(NamedTuple):
    """A LoRA adapter in PEFT format on this node."""

    fingerprint: str
    local_dir: Path


class Request(NamedTuple):
    """One conversation to be answered once."""

    messages: Messages
    adapter: Adapter | None
    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int


class Answer(NamedTuple):
    """What the model said: `finish_reason` is `stop`, or `length` where it was cut."""

    text: str
    tokens: int
    finish_reason: str


class Engine(Protocol):
    """A base model that answers, with or without an adapter, many conversations in one call."""

    def open(self, model_dir: Path, serve_base: str, max_rank: int) -> None:
        """Loads the base; adapters of up to `max_rank` can then be asked."""
        ...

    def answer(self, requests: Sequence[Request]) -> list[Answer]:
        """One answer per request, in order; the same call gives the same answers, whatever was asked before.

        What shares a call may move an answer by rounding, so a step always asks its own calls.
        """
        ...

    def first_token_logprobs(
        self, conversations: Sequence[Messages], adapter: Adapter | None
    ) -> list[dict[int, float]]:
        """Per conversation, the natural-log probabilities of the likeliest first tokens, by token id."""
        ...

    def close(self) -> None:
        """Lets go of the model. GPU memory is only free once the process has ended."""
        ...
