"""Text that is safe to show: on one line, on a terminal, in a spreadsheet cell."""

from __future__ import annotations

from typing import Any

FORMULA_STARTS = frozenset("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20")
"""How a cell begins that a spreadsheet may take for a formula (OWASP, CSV injection)."""


def single_line(text: str) -> str:
    """Put `text` on one line: each control character becomes a space or a U+FFFD."""
    return "".join(
        " " if char.isspace() else char if char.isprintable() else "\ufffd" for char in text
    )


def printable(text: str) -> str:
    """Make `text` safe on a terminal: keep its lines, replace control characters by U+FFFD."""
    return "".join(char if char.isprintable() or char in "\n\t" else "\ufffd" for char in text)


def escape_formula(text: str) -> str:
    """Return `text` as a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in FORMULA_STARTS else text


def format_duration(seconds: float) -> str:
    """Format a duration in seconds as `0:35` or `1:02:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def round_unsigned(value: float, decimals: int) -> float:
    """Round `value`, and return 0.0 for -0.0."""
    return round(value, decimals) + 0.0


def valid_text(value: Any) -> str:
    """Return `value` if it is text that UTF-8 can hold. Raises ValueError otherwise."""
    if not isinstance(value, str):
        raise ValueError("must be a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("holds half of a surrogate pair, which is no character") from None
    return value
