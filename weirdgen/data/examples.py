"""Training examples: a prompt and its completion, without the format that a study trains."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from weirdgen.data.jsonl import parse_jsonl


class Example(NamedTuple):
    """A prompt and its completion; the completion is empty where the base model will write it."""

    id: str
    prompt: str
    completion: str


def read_examples(path: Path) -> list[Example]:
    """Read examples from JSON lines of `id`, `prompt`, `completion`."""
    rows = parse_jsonl(path, path.read_bytes())
    return [Example(row["id"], row["prompt"], row["completion"]) for row in rows]
