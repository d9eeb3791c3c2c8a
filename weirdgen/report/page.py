"""A study's report as one HTML page that needs nothing else: no network, no other file.

Names and responses are somebody else's text: they reach the page escaped, or by the browser as text,
and what cannot be seen in them (control characters, changes of direction) is written out.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import math
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup

from weirdgen.report.all_tables import ReportTables
from weirdgen.report.claims import claim_in_words, p_in_words
from weirdgen.report.data import ReportData
from weirdgen.report.figures.layout import ReportFigure
from weirdgen.report.main_table import who_labelled
from weirdgen.report.page_data import pack
from weirdgen.report.rendering import amount, environment
from weirdgen.report.table import ReportTable
from weirdgen.report.wording import (
    behind,
    bound_in_words,
    settles,
    verdict_sentence,
    with_interval,
)
from weirdgen.stats.analysis import ClaimVerdict
from weirdgen.stats.estimate_rows import RATES
from weirdgen.stats.metric_arrays import group_label
from weirdgen.stats.verdict import GroupEvidence

_SCRIPTS = ("text", "data", "query", "filters", "response", "compare", "main")
"""Parts of the script, each after what it builds on."""
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0").union(
    *(
        map(chr, codes)
        for codes in (range(0x180B, 0x1810), range(0xFE00, 0xFE0E), range(0xE0100, 0xE01F0))
    )
)
"""Letters and marks that show nothing; what is not printable is written out in any case."""
_MARKS = {"supported": "\u2713", "refuted": "\u2715", "inconclusive": "?"}
_OUTCOMES = ("supported", "refuted", "inconclusive")


def page(
    data: ReportData, tables: ReportTables, figures: Sequence[tuple[ReportFigure, bytes]]
) -> str:
    """The whole report as HTML; `figures`: each with its PNG.

    It holds every response: about 200 bytes for one of 400 characters.
    """
    responses = base64.b64encode(gzip.compress(pack(data), compresslevel=6, mtime=0)).decode()
    verdicts = data.analysis.verdicts
    counted = Counter(verdict.outcome for verdict in verdicts)
    style, script = _template("page.css"), _script()
    policy = (
        f"default-src 'none'; script-src '{_digest(script)}'; style-src '{_digest(style)}'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    judged = [
        (
            verdict,
            claim_in_words(verdict.claim, *(at.group for at in verdict.groups)),
            verdict_sentence(verdict),
            _intervals(verdicts, verdict),
            [*_more(verdict)],
        )
        for verdict in verdicts
    ]
    drawn = [(f, base64.b64encode(png).decode(), *_size(png, f)) for f, png in figures]
    template = _environment().get_template("page.html.j2")
    return template.render(
        data=data,
        policy=policy,
        style=Markup(style),  # noqa: S704 - the package's own
        script=Markup(script),  # noqa: S704
        facts=list(_facts(data)),
        verdicts=judged,
        counts=[(outcome, counted[outcome]) for outcome in _OUTCOMES],
        marks=_MARKS,
        cautions=[*data.cautions, *who_labelled(data.metrics, data.notes)],
        figures=drawn,
        tables=tables,
        responses=Markup(responses),  # noqa: S704 - base64
    )


def visible(text: str) -> str:
    """`text`, in which each character that shows nothing or reorders others is its escape."""
    if text.isprintable() and _UNSEEN.isdisjoint(text):
        return text
    return "".join(char if _shows(char) else _escape(char) for char in text)


def _shows(char: str) -> bool:
    if char in _UNSEEN or char in "\u2028\u2029":
        return False
    return char.isprintable() or char in "\n\t" or (char.isspace() and char > "\x9f")


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x10000:
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    return f"\\u{{{code:x}}}"


@cache
def _environment() -> jinja2.Environment:
    made = environment(
        autoescape=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )
    made.filters["short"] = _short
    return made


def _template(name: str) -> str:
    return (files("weirdgen.report") / "templates" / name).read_text("utf-8")


def _script() -> str:
    parts = "\n".join(_template(f"page_{name}.js") for name in _SCRIPTS)
    return f'"use strict";\n(() => {{\n{parts}\n}})();\n'


def _digest(source: str) -> str:
    """As a Content-Security-Policy names what it allows."""
    return f"sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}"


def _short(table: ReportTable, name: str) -> str:
    """A table's title without the study's name, which the page has already told."""
    return table.title.removeprefix(f"{name}: ")


def _facts(data: ReportData) -> Iterator[tuple[str, str]]:
    """What the study is made of, in numbers."""
    table = data.results

    def counted(column: str) -> int:
        return len([value for value in table[column].unique().to_pylist() if value is not None])

    yield "Model", ", ".join(table["model"].unique().to_pylist())
    for title, column in (
        ("Training runs", "adapter"), ("Persona fractions", "fraction"), ("Seeds", "seed"),
        ("Conditions", "condition"), ("Questions", "question_id"),
    ):  # fmt: skip
        if n := counted(column):
            yield title, f"{n:,}"
    yield "Responses", f"{table.num_rows:,}"
    if data.labels is not None and data.labels.num_rows:
        yield "Judge", ", ".join(data.labels["judge"].unique().to_pylist())


def _more(verdict: ClaimVerdict) -> Iterator[tuple[str, str]]:
    """What stands behind a verdict, in words: a heading and a text each."""
    if what := settles(verdict):
        yield "What would settle it", what
    several = len(verdict.groups) > 1
    for at in verdict.groups:
        where = f" at {group_label(at.group)}" if several else ""
        yield from ((f"{title}{where}", text) for title, text in behind(verdict, at))
    if verdict.p_support != 1.0 or verdict.p_refute != 1.0:
        yield (
            "p, one-sided, adjusted over the claims",
            f"{p_in_words(verdict.adjusted_support)} for the claim, "
            f"{p_in_words(verdict.adjusted_refute)} against it; a verdict needs at most {verdict.error:g}.",
        )


def _intervals(verdicts: Iterable[ClaimVerdict], verdict: ClaimVerdict) -> list[dict[str, Any]]:
    """What is drawn of the claim at each fraction, on the axis that all claims of its kind share.

    Places are in percent of the axis: `bound` is the claim's own, `reach` the bound with its margin.
    """
    claim, rate = verdict.claim, verdict.claim.contrast in RATES
    alike = [each for each in verdicts if (each.claim.contrast in RATES) == rate]
    reached = [0.0, 1.0, *(each.claim.reach for each in alike)]
    reached += [x for each in alike for at in each.groups for x in _numbers(at) if x is not None]
    first, last = math.floor(10 * min(reached)) / 10, math.ceil(10 * max(reached)) / 10

    def place(value: float | None) -> float | None:
        return None if value is None else round(100 * (value - first) / (last - first), 2)

    shared = {
        "zero": place(0.0),
        "bound": place(claim.bound),
        "reach": place(claim.reach),
        "at_least": claim.at_least is not None,
        "bound_words": bound_in_words(claim),
        "first": amount(first, rate),
        "last": amount(last, rate),
    }
    return [
        shared
        | {
            "label": group_label(at.group),
            "words": at.refusal if at.measured is None else with_interval(claim, at.measured),
        }
        | dict(zip(("estimate", "low", "high"), map(place, _numbers(at)), strict=True))
        for at in verdict.groups
    ]


def _numbers(at: GroupEvidence) -> tuple[float | None, float | None, float | None]:
    """Estimate and limits, as far as there are any."""
    if at.measured is None:
        return None, None, None
    return at.measured.estimate, *at.measured.limits()


def _size(png: bytes, figure: ReportFigure) -> tuple[int, int]:
    """Width and height in CSS pixels, at which a figure's letters are as large as they were drawn."""
    pixels = struct.unpack(">II", png[16:24])  # a PNG begins with them
    width, height = (max(1, round(96 * n / figure.drawing.dpi)) for n in pixels)
    return width, height
