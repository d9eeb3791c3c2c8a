"""A response to be judged, what became of it, and the judgment that is kept."""

from __future__ import annotations

import json
from typing import NamedTuple

from weirdgen.judging.rubric import Label

MAX_ATTEMPTS = 6
"""Requests for one item that may end in 5xx, timeouts or lost connections."""


class JudgeItem(NamedTuple):
    """One response to be judged."""

    key: str
    question: str
    response: str
    """Without the study's formatting."""


PROBE_ITEM = JudgeItem("probe", "What is two and two?", "Four.")
"""Sent to a judge first, to learn whether it can be reached; it gets no judgment."""


class ItemResult(NamedTuple):
    """What became of an item."""

    key: str
    judgment: str | None
    """The durable record as JSON (see `Judgment`); None if there is none, and it may be asked for again."""
    reason: str | None
    """Why there is none."""
    dollars: float
    """Cost of all its requests."""


class Judgment(NamedTuple):
    """Labels, or why there are none."""

    labels: list[Label]
    error: str | None = None
    """`refusal`, `malformed` (after one attempt at repair) or `refused_request`."""
    detail: str | None = None

    @staticmethod
    def of(record: str) -> Judgment:
        """Parse the JSON of a journal's `judged` record."""
        read = json.loads(record)
        labels = [Label(*label) for label in read.get("labels") or ()]
        return Judgment(labels, read.get("error"), read.get("detail"))
