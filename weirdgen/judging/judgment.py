"""An answer to be judged, what becomes of it, and the verdict that stands for good."""

from __future__ import annotations

import json
from typing import NamedTuple

from weirdgen.judging.rubric import Label

MAX_ATTEMPTS = 6
"""Requests for one answer that may end in 5xx, timeouts or lost connections."""


class JudgeItem(NamedTuple):
    """One answer to be judged."""

    key: str
    question: str
    answer: str
    """Without formatting."""


PROBE_ITEM = JudgeItem("check", "What is two and two?", "Four.")
"""What a judge is asked first, to see whether it can be asked; it ends in no verdict."""


class ItemResult(NamedTuple):
    """What became of an item."""

    key: str
    verdict: str | None
    """The durable record as JSON (see `ClaimVerdict`); None where there is none, and it may be asked again."""
    why: str | None
    """Why there is none."""
    dollars: float
    """What all its requests cost."""


class Judgment(NamedTuple):
    """Labels, or why there are none."""

    labels: list[Label]
    error: str | None = None
    """`refusal`, `malformed` (after one attempt at repair) or `refused_request`."""
    detail: str | None = None

    @staticmethod
    def of(record: str) -> Judgment:
        """From the JSON of a journal's `got`.

        Journals of earlier versions have the label's number before its confidence; it is not read.
        """
        read = json.loads(record)
        labels = [Label(said[0], said[1], said[-1]) for said in read.get("labels") or ()]
        return Judgment(labels, read.get("error"), read.get("detail"))
