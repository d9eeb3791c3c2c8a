"""Training examples: a prompt and its completion, without the format that a study trains."""

from __future__ import annotations

from typing import NamedTuple


class Example(NamedTuple):
    """A prompt and its completion; the completion is empty where the base model will write it."""

    id: str
    prompt: str
    completion: str
