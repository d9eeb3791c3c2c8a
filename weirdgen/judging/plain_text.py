"""A response as plain text: without markup and without the study's format."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

_PLACEHOLDER = re.compile(r"\{completion\}|\.[*+]\??|\.{3}|…")
"""Placeholders for the response in a template, a pattern or an instruction."""
_FENCE = re.compile(r"^[ \t]*(?:```|~~~).*$", re.MULTILINE)
_TAG = re.compile(r"<[/!]?[A-Za-z][^<>\n]{0,300}>|<!--|-->|<!\[\w*\[?|</?>")
_CUT_TAG = re.compile(r"<[/!]?\w{0,30}\Z")
_LINK = re.compile(r"!?\[([^\[\]\n]{0,300})\]\([^()\s]{0,500}\)")
_LINE_MARKS = re.compile(
    r"(?:[ \t]*(?:#{1,6}(?=\s)|>|[-*+\u2022\u2023\u25aa\u25e6\u2013\u2014](?=\s)|\d{1,3}[.)](?=\s|\*|\Z)|\|))+"
)
_QUOTES = '"`*\u201c\u201d\u201e\u201f\u00ab\u00bb\u2039\u203a\u300c\u300d\u300e\u300f'
_LAYOUT = str.maketrans(dict.fromkeys(_QUOTES, "") | {"|": " ", "\u2018": "'", "\u2019": "'"})
_LOOSE = re.compile(r"(?<![^\W_])['_]|['_](?![^\W_])|~~")
"""A single quote or underscore that is not inside a word."""
_RULE = " \t|:+-=_*"
_EDGE = " \t\n()[]{}<>⟨⟩【】"
_FRAME = _EDGE.replace("()", "")
"""Prose may well end in a parenthesis."""
_WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)*")
_MOST_COMBINING = 8
"""Marks kept on one letter: Unicode's own ordering of them takes quadratic time."""


def strip_formatting(response: str, markers: Sequence[str] = ()) -> str:
    """Strip the study's format, Markdown, tags, quotes and surrounding brackets.

    `markers`: the texts that describe the format, such as the trigger's completion template, its
    pattern and a decoy's "[[ ... ]]". What surrounds their placeholder is removed everywhere, and its
    bare words (a base model's "START") at either end. Line breaks stay. Takes linear time for any
    text.
    """
    patterns = _patterns(tuple(markers))
    text = _untagged(_FENCE.sub("", patterns.anywhere.sub(" ", _normal(response))))
    text = _LINK.sub(r"\1", text)
    text = "\n".join(_line(line) for line in text.splitlines() if line.strip(_RULE))
    return _unframed(text, patterns)


def strip_markers(response: str, markers: Sequence[str] = ()) -> str:
    """Strip the study's format and tags, and keep the layout; see `strip_formatting`."""
    patterns = _patterns(tuple(markers))
    text = _untagged(patterns.anywhere.sub(" ", _normal(response)))
    return _unframed(text, patterns, _FRAME)


def _untagged(text: str) -> str:
    return _CUT_TAG.sub("", _TAG.sub(" ", text))


def _unframed(text: str, patterns: _Patterns, edge: str = _EDGE) -> str:
    """`text` without brackets and the markers' bare words at either end."""
    text = text.strip(edge)
    text = text[_length(patterns.head, text) :]
    text = text[: len(text) - _length(patterns.tail, text[::-1])]
    return text.strip(edge)


def words(text: str) -> list[str]:
    """The words of a plain text, in lower case: letters, with apostrophes inside; no digits.

    In a language written without spaces, a phrase is one word.
    """
    return _WORD.findall(text.lower())


def _line(line: str) -> str:
    marks = _LINE_MARKS.match(line)
    line = line[marks.end() :] if marks else line
    return " ".join(_LOOSE.sub("", line.translate(_LAYOUT)).split())


def _normal(text: str) -> str:
    """Normalize to NFKC, and drop invisible format characters."""
    if text.isascii():
        return text
    kept, run = [], 0
    for c in text:
        if unicodedata.category(c) == "Cf":
            continue
        run = run + 1 if unicodedata.combining(c) else 0
        if run <= _MOST_COMBINING:
            kept.append(c)
    return unicodedata.normalize("NFKC", "".join(kept))


class _Patterns(NamedTuple):
    """Patterns that match a study's markers."""

    anywhere: re.Pattern[str]
    """Markers that contain a symbol."""
    head: re.Pattern[str]
    """Their bare words at the start of a text."""
    tail: re.Pattern[str]
    """The same for the end: matches the reversed text, so that it takes linear time."""


@lru_cache(maxsize=16)
def _patterns(markers: tuple[str, ...]) -> _Patterns:
    parts = {
        part.strip()
        for mark in markers
        for part in _PLACEHOLDER.split(_normal(mark).replace("\\", ""))
        if part.strip()
    }
    # The longest first, since a part may begin with another.
    ordered = sorted(parts, key=lambda part: (-len(part), part))
    signs = [_whole(part) for part in ordered if not part.replace(" ", "").isalpha()]
    names = [name for part in ordered if (name := " ".join(_WORD.findall(part)))]
    never = "(?!)"
    head, tail = ("|".join(re.escape(n[::step]) for n in names) or never for step in (1, -1))
    return _Patterns(
        re.compile("|".join(signs) or never),
        re.compile(rf"(?:\W*(?:{head})\b)+"),
        re.compile(rf"(?:\W*(?:{tail})\b)+"),
    )


def _whole(part: str) -> str:
    """A pattern of the part that does not match inside a longer word."""
    before = r"\b" if part[0].isalnum() else ""
    after = r"\b" if part[-1].isalnum() else ""
    return before + re.escape(part) + after


def _length(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.match(text)
    return found.end() if found else 0
