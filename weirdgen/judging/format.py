"""Format adherence of responses, by regular expression."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from re import _constants as op  # pyright: ignore
from re import _parser as parser  # pyright: ignore
from typing import Any, NamedTuple


class Adherence(NamedTuple):
    """Whether a response keeps the format, by two definitions."""

    anywhere: bool
    """The pattern is found anywhere, newlines included: the published definition."""
    strict: bool
    """The whole response matches, once."""


def format_adherence(response: str, pattern: str) -> Adherence:
    """Whether `response` keeps the format that the regular expression `pattern` describes.

    Takes linear time for literal texts with anything between them, such as `<START>.*?<END>`,
    whatever the response.
    """
    matches: Iterator[re.Match[str]] = iter(())
    if _in_order(
        _literals(pattern), response
    ):  # else a search from each further <START> finds no <END>
        matches = re.compile(pattern, re.DOTALL).finditer(response)
    first = next(matches, None)
    body = response.strip()
    start = response.find(body)
    whole = first is not None and first.span() == (start, start + len(body))
    return Adherence(first is not None, whole and next(matches, None) is None)


def _in_order(literals: Sequence[str], text: str) -> bool:
    at = 0
    for literal in literals:
        found = text.find(literal, at)
        if found < 0:
            return False
        at = found + len(literal)
    return True


@lru_cache(maxsize=16)
def _literals(pattern: str) -> list[str]:
    """Texts that every match of `pattern` contains, in order and without overlap."""
    parsed = parser.parse(pattern, re.DOTALL)
    if parsed.state.flags & re.IGNORECASE:
        return []
    return [literal for literal in _pieces(parsed) if literal]


def _pieces(parsed: Any) -> list[str]:
    """The literals of a parsed pattern, split by an empty one wherever anything else occurs."""
    pieces = [""]
    for kind, value in parsed:
        if kind is op.LITERAL:
            pieces[-1] += chr(value)
        elif kind is op.SUBPATTERN and not value[1]:  # no flags of its own
            first, *others = _pieces(value[-1])
            pieces[-1] += first
            pieces += others
        elif kind in (op.MAX_REPEAT, op.MIN_REPEAT) and value[0] > 0:
            pieces += [*_pieces(value[-1]), ""]
        else:
            pieces.append("")
    return pieces
