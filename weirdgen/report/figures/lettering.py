"""Text of known width, in characters that the font has."""

from __future__ import annotations

from functools import cache

from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.textpath import text_to_path

from weirdgen.report.figures.style import FONT
from weirdgen.text import single_line


def legible(text: str) -> str:
    """`text` on one line, with a U+FFFD for each character that the font cannot draw."""
    known = _characters()
    return "".join(char if ord(char) in known else "\ufffd" for char in single_line(text))


@cache
def _characters() -> frozenset[int]:
    return frozenset(get_font(findfont(FONT)).get_charmap())


@cache
def _advance(char: str) -> float:
    """The width of a character in font sizes."""
    properties = FontProperties(family=FONT, size=100)
    width, _, _ = text_to_path.get_text_width_height_descent(char, properties, ismath=False)
    return width / 100


def text_width(text: str, size: float) -> float:
    """Inches that one line of `size` points takes, and a little more."""
    # Drawn, each character is set to whole pixels.
    return 1.03 * sum(map(_advance, text)) * size / 72


def wrapped(text: str, inches: float, size: float, most: int | None = None) -> list[str]:
    """`text` in lines that fit `inches`; words that do not fit are cut; after `most` lines an ellipsis."""
    lines = [""]
    for word in legible(text).split():
        rest = word
        while rest:
            line = f"{lines[-1]} {rest}".strip()
            if text_width(line, size) <= inches:
                lines[-1], rest = line, ""
            elif lines[-1] and (text_width(rest, size) <= inches or len(rest) < 12):
                lines.append("")
            else:  # a word longer than a line
                taken = _fitting(f"{lines[-1]} ".lstrip(), rest, inches, size)
                lines[-1] = f"{lines[-1]} {rest[:taken]}".strip()
                rest = rest[taken:]
                if rest:
                    lines.append("")
        if most is not None and len(lines) > most:
            break
    if most is not None and len(lines) > most:
        lines = lines[:most]
        lines[-1] = lines[-1][: max(len(lines[-1]) - 3, 0)].rstrip() + "..."
    return lines


def _fitting(before: str, word: str, inches: float, size: float) -> int:
    """How many of the word's characters fit behind `before`; at least one on an empty line.

    A word is rather broken behind a `_`, `-` or `/` than anywhere, if that is not too early.
    """
    for taken in range(len(word), 0, -1):
        if text_width(before + word[:taken], size) <= inches:
            joint = max(word.rfind(mark, 0, taken) for mark in "_-/") + 1
            return joint if joint > taken / 2 else taken
    return 0 if before else 1
