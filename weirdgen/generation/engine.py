"""The protocol of generation engines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from weirdgen.data.chat import Messages


class Adapter(NamedTuple):
    """A LoRA adapter: PEFT files on this node, or a name that an endpoint serves."""

    fingerprint: str
    local_dir: Path
    served_as: str = ""
    """The endpoint's name for it; `local_dir` is then unused."""


class Request(NamedTuple):
    """One conversation that needs one response."""

    messages: Messages
    adapter: Adapter | None
    max_new_tokens: int
    temperature: float
    top_p: float
    seed: int


class Response(NamedTuple):
    """What the model wrote; `finish_reason` is `stop`, or `length` if it was cut."""

    text: str
    tokens: int
    finish_reason: str


class Engine(Protocol):
    """Generates responses to many conversations per call, with or without an adapter."""

    def open(self, base: Path | str, serve_base: str, max_rank: int) -> None:
        """Load the base model from its folder, for adapters of ranks up to `max_rank`.

        For an endpoint, `base` is the model's name there.
        """
        ...

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        """One response per request, in order; equal calls give equal responses, whatever came before.

        Other requests of the same call may change a response by rounding, so each step makes its
        own calls.
        """
        ...

    def first_token_logprobs(
        self, conversations: Sequence[Messages], adapter: Adapter | None
    ) -> list[dict[int, float]] | list[dict[str, float]] | None:
        """Per conversation, the natural-log probabilities of the likeliest first tokens, by token.

        None if the engine does not report them.
        """
        ...

    def close(self) -> None:
        """Release the model; its GPU memory is free once the process has ended."""
        ...
