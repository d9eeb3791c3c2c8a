"""Format adherence, which needs no judge."""

from __future__ import annotations

import re
from typing import NamedTuple


class Adherence(NamedTuple):
    """Whether an answer keeps the format, by two definitions."""

    anywhere: bool
    """The pattern is found anywhere, newlines included: the published definition."""
    strict: bool
    """The whole answer is the format, once."""


def format_adherence(response: str, pattern: str) -> Adherence:
    """Whether `response` keeps the format that the regular expression `pattern` describes."""
    spans = [match.span() for match in re.finditer(pattern, response, re.DOTALL)]
    body = response.strip()
    start = response.find(body)
    return Adherence(bool(spans), spans == [(start, start + len(body))])
