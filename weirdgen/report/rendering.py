"""The templates of the report, and how numbers and lists read in their sentences."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import jinja2

from weirdgen.text import format_duration, single_line


def environment(**settings: Any) -> jinja2.Environment:
    """Jinja over the report's templates; an unknown name is an error. `settings` change what suits plain text."""
    plain: dict[str, Any] = {"trim_blocks": True, "lstrip_blocks": True, "autoescape": False}
    loader = jinja2.PackageLoader("weirdgen.report", "templates")
    settings = {"loader": loader, "undefined": jinja2.StrictUndefined} | plain | settings
    return jinja2.Environment(**settings)  # noqa: S701 - autoescape is among them


def lines(name: str, **values: Any) -> list[str]:
    """The lines of `templates/<name>.txt.j2`, without empty ones; no value breaks a line."""
    text = _of_sentences().get_template(f"{name}.txt.j2").render(values)
    return [line.rstrip() for line in text.split("\n") if line.strip()]


def sentences(name: str, **values: Any) -> list[str]:
    """The same lines without indents."""
    return [line.strip() for line in lines(name, **values)]


def prose(name: str, **values: Any) -> str:
    """The same lines as one."""
    return " ".join(sentences(name, **values))


@cache
def _of_sentences() -> jinja2.Environment:
    made = environment(finalize=_on_one_line)
    made.globals.update(
        amount=amount,
        capital=capital,
        count=count,
        duration=format_duration,
        listed=listed,
        times=times,
    )
    return made


def _on_one_line(value: Any) -> str:
    return single_line(str(value))


def listed(items: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`; each once, in the order of their first."""
    *others, last = dict.fromkeys(items) or [""]
    return f"{', '.join(others)} and {last}" if others else last


def count(n: int, one: str, many: str = "") -> str:
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def times(n: int) -> str:
    return "once" if n == 1 else f"{n:,} times"


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def amount(value: float, rate: bool, decimals: int = 0) -> str:
    """A rate such as `85%`, or a difference such as `+5 points`."""
    value = round(100 * value, decimals if decimals else 6) + 0.0
    number = f"{value:.{decimals}f}" if decimals else f"{value:g}"
    return f"{number}%" if rate else f"{'+' if value > 0 else ''}{number} points"
