"""The small protocol that every generation engine keeps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from weirdgen.data.chat import Messages


class Adapter(NamedTuple):
    """A LoRA adapter: in PEFT format on this node, or a name that an endpoint serves."""

    fingerprint: str
    local_dir: Path
    served_as: str = ""
    """The endpoint's name for it; `local_dir` is not read then."""


class Request(NamedTuple):
    """One conversation to be answered once."""

    messages: Messages
    adapter: Adapter | None
    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int


class Response(NamedTuple):
    """What the model said: `finish_reason` is `stop`, or `length` where it was cut."""

    text: str
    tokens: int
    finish_reason: str


class Engine(Protocol):
    """A base model that answers, with or without an adapter, many conversations in one call."""

    def open(self, base: Path | str, serve_base: str, max_rank: int) -> None:
        """Loads the base from its folder; adapters of up to `max_rank` can then be asked.

        For an endpoint `base` is the model's name there.
        """
        ...

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        """One answer per request, in order; the same call gives the same answers, whatever was asked before.

        What shares a call may move an answer by rounding, so a step always asks its own calls.
        """
        ...

    def first_token_logprobs(
        self, conversations: Sequence[Messages], adapter: Adapter | None
    ) -> list[dict[int, float]] | list[dict[str, float]] | None:
        """Per conversation, the natural-log probabilities of the likeliest first tokens, by token.

        None where what serves the model does not tell them.
        """
        ...

    def close(self) -> None:
        """Lets go of the model. GPU memory is only free once the process has ended."""
        ...


class Streaming(Protocol):
    """An engine that can also answer word by word."""

    def stream(self, request: Request) -> Iterator[str]:
        """One answer, piece by piece as it is generated."""
        ...
