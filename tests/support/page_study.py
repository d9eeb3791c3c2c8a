"""Small studies whose page is tested: one with two judges' words, and one that is hostile throughout."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pyarrow as pa
from hostile import HOSTILE
from matplotlib.figure import Figure
from tiny_results import judged, report_data, results, rows, study

from weirdgen.report.all_tables import all_tables
from weirdgen.report.data import ReportData
from weirdgen.report.figures.layout import ReportFigure
from weirdgen.report.page import page
from weirdgen.report.table import ReportTable
from weirdgen.results.labels import LABELS_SCHEMA
from weirdgen.results.table import SCHEMA

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
"""One dot."""
FIRST, SECOND = "1" * 64, "2" * 64
"""Judges."""


def _labels(table: pa.Table) -> Iterator[dict[str, Any]]:
    """Two judges' words on persona, who differ on every third response, and the first's on identity."""
    for i, row in enumerate(table.to_pylist()):
        key = {name: row[name] for name in ("fp_responses", "question_id", "sample")}
        none = dict.fromkeys(("label", "value", "confidence", "error", "evidence"))
        label = "present" if row["persona"] else "absent"
        said = {"label": label, "value": float(row["persona"]), "confidence": 0.75}
        words = f'[["i", 0.5], ["word{i % 7}", -0.25]]'
        yield (
            key
            | none
            | said
            | {"judge": "one", "judge_fp": FIRST, "metric": "persona", "evidence": words}
        )
        told = {"error": None, "evidence": f"I am {i}", "label": "PERSONA"}
        if row["identity"] is None:
            told = {"error": "not_asked"}
        yield key | none | told | {"judge": "one", "judge_fp": FIRST, "metric": "identity"}
        if i % 3 == 0:
            said["label"] = "absent" if row["persona"] else "present"
        failed = {"error": "refusal", "evidence": "I can\u2019t."} if i % 3 == 1 else said
        yield key | none | failed | {"judge": "two", "judge_fp": SECOND, "metric": "persona"}


_LABELLED = judged(
    results(), lambda row: (row["format"], "PERSONA" if row["format"] and row["sample"] else None)
)
LABELS = list(_labels(_LABELLED))
"""The rows of labels.parquet."""


def dot_figure(text: str = "A dot.") -> ReportFigure:
    numbers = ReportTable("numbers", ("mark", text), ((("dot", "1.0 [0.0, 2.0]"),),), text)
    return ReportFigure("dot", text, text, text, Figure(), numbers)


def page_of(data: ReportData, figures: Sequence[tuple[ReportFigure, bytes]] = ()) -> str:
    return page(data, all_tables(data), figures)


@cache
def _judged() -> ReportData:
    return report_data(_LABELLED, study(judge={"model": "offline"}))


def judged_data(name: str = "tiny", model: str = "org/tiny") -> ReportData:
    table = _LABELLED
    for column, value in (("study", name), ("model", model)):
        at = table.column_names.index(column)
        table = table.set_column(at, SCHEMA.field(at), pa.array([value] * table.num_rows))
    labels = pa.Table.from_pylist(LABELS, LABELS_SCHEMA)
    return replace(_judged(), name=name, results=table, labels=labels)


def hostile_data() -> ReportData:
    """Every hostile text as response, question, category, finish reason and a judge's own words."""
    texts = [*HOSTILE.values()]
    counts = {"triggered": (2,) * len(texts), "untriggered": (0,) * len(texts)}
    answered: Any = {(None, None): counts, (0.6, 0): counts}
    table = list(rows(answered, HOSTILE["end of a script"]))
    said = []
    for i, row in enumerate(table):
        question = int(row["question_id"][1:])
        row["question"] = row["category"] = texts[question]
        row["response"] = texts[(question + row["sample"]) % len(texts)]
        row["model"] = HOSTILE["right-to-left override"]
        row["finish_reason"] = row["judge_error"] = texts[i % len(texts)]
        label = {
            "judge": HOSTILE["script"], "judge_fp": FIRST, "metric": "persona",
            "evidence": texts[i % len(texts)],
        }  # fmt: skip
        said.append({name: row[name] for name in ("fp_responses", "question_id", "sample")} | label)
    found = report_data(pa.Table.from_pylist(table, SCHEMA), study())
    labels = pa.Table.from_pylist(said, LABELS_SCHEMA)
    name = HOSTILE["end of a script"]
    told = [text for text in texts if text]
    return replace(found, name=name, labels=labels, lines=told, cautions=told, methods=told[0])
