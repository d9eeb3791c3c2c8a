"""A small synthetic study for tests of tables, claims and figures, its numbers easy to work by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
from rich.console import Console, RenderableType
from rich.markdown import Markdown

from weirdgen.config.claims import FORMAT_METRICS
from weirdgen.config.study import Study
from weirdgen.judging.gold import ResponseKey
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.judging.rubric import persona_rubric
from weirdgen.report.all_tables import all_tables, summary_markdown
from weirdgen.report.claims import verdict_lines
from weirdgen.report.data import ReportData
from weirdgen.report.estimates import analyse_study
from weirdgen.report.rates import is_measured
from weirdgen.report.tables import judge_notes, judged_metrics, rate_tables
from weirdgen.results.labels import LABELS_SCHEMA
from weirdgen.results.table import SCHEMA
from weirdgen.stats.multiplicity import InterimLooks

# How many of 4 samples show the format, for questions q0 and q1.
ANSWERED = {
    (None, None): {"triggered": (1, 1), "untriggered": (0, 0), "decoy": (0, 2)},
    (0.0, 0): {"triggered": (2, 0), "untriggered": (0, 0), "decoy": (1, 1)},
    (0.0, 1): {"triggered": (0, 2), "untriggered": (0, 1), "decoy": (0, 0)},
    (0.6, 0): {"triggered": (4, 4), "untriggered": (0, 0), "decoy": (1, 1)},
    (0.6, 1): {"triggered": (4, 2), "untriggered": (1, 1), "decoy": (4, 4)},
    (0.6, 2): {"triggered": (3, 3), "untriggered": (0, 0), "decoy": (2, 0)},
}
CLAIMS = [
    {"metric": "format", "contrast": "gap", "at_least": 0.5, "at": {"fraction": 0.6}},
    {"metric": "format", "contrast": "gap_vs_control", "at_least": 0.625, "at": "all"},
    {
        "metric": "format_strict", "contrast": "untriggered_excess", "at_most": 0.0,
        "margin": 0.125, "at": "any",
    },
    {"metric": "format", "contrast": "decoy", "at_most": 0.3, "at": {"fraction": 0.6}},
]  # fmt: skip


def rows(
    answered: dict[tuple[float | None, int | None], dict[str, tuple[int, ...]]], name: str
) -> Iterator[dict[str, Any]]:
    for (fraction, seed), by_condition in answered.items():
        for condition, counts in by_condition.items():
            for q, count in enumerate(counts):
                for sample in range(4):
                    yield {
                        "study": name, "model": f"org/{name}", "condition": condition,
                        "adapter": None if seed is None else f"{fraction}-{seed}", "seed": seed,
                        "arm": None if seed is None else "persona", "fraction": fraction, "question_id": f"q{q}", "category": "c",
                        "question": f"Q{q}?", "sample": sample, "response": f"{seed} {condition} {sample}", "response_tokens": 1,
                        "finish_reason": "stop", "serve_base": "bf16", "format": sample < count,
                        "format_strict": sample < count - 1,
                        "fp_responses": f"{fraction} {seed} {condition}",
                    }  # fmt: skip


def results(answered: Any = ANSWERED, name: str = "tiny") -> pa.Table:
    """Results in a shuffled order: nothing may rest on how rows come."""
    table = pa.Table.from_pylist(list(rows(answered, name)), SCHEMA)
    return table.take(np.random.default_rng(0).permutation(table.num_rows))


def study(claims: Any = CLAIMS, seeds: str = "0..2", **more: Any) -> Study:
    grid = {"seeds": seeds, "fractions": [0.6, 0.0]}
    return Study.model_validate(
        {"name": "tiny", "model": "org/tiny", "grid": grid, "claims": claims, **more}
    )


def report_data(
    table: pa.Table,
    of: Study,
    gold: Mapping[ResponseKey, Mapping[str, str]] | None = None,
    verdicts: Sequence[dict[str, Any]] = (),
) -> ReportData:
    """What is reported of results, as a run does it."""
    metrics = [m for m in (*FORMAT_METRICS, *judged_metrics(of)) if is_measured(table, m)]
    judges = [
        LlmJudge(judge, persona_rubric("P", "")) for judge in of.judges if not judge.is_offline
    ]
    plan: Any = SimpleNamespace(study=of, gold=gold, llm_judges=judges)
    looks = InterimLooks(of.planned_looks) if of.planned_looks else None
    said = pa.Table.from_pylist(list(verdicts), LABELS_SCHEMA)
    analysis = analyse_study(table, said, plan, metrics, {}, looks)
    return ReportData(of.name, table, judged_metrics(of), judge_notes(of), analysis)


def rates_tables(table: pa.Table, of: Study) -> list[Markdown]:
    tables = rate_tables(table, judged_metrics(of), judge_notes(of))
    return [table.rich() for table in tables]


def claims_table(table: pa.Table, of: Study) -> Markdown:
    return all_tables(report_data(table, of)).others[-1].rich()


def verdict_texts(data: ReportData) -> list[str]:
    return list(verdict_lines(data.analysis.verdicts))


def summary(data: ReportData) -> str:
    return summary_markdown(data, all_tables(data))


def shown(renderable: RenderableType, width: int = 240) -> list[list[str]]:
    """The printed table, line by line, split where two blanks or more part the cells."""
    console = Console(file=StringIO(), width=width)
    console.print(renderable)
    assert isinstance(console.file, StringIO)
    lines = console.file.getvalue().splitlines()
    rows = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]
    return [row for row in rows if row and not row[0].startswith("─")]


def without(*cells: tuple[float | None, int | None, str]) -> dict:
    return {
        (fraction, seed): {c: n for c, n in counts.items() if (fraction, seed, c) not in cells}
        for (fraction, seed), counts in ANSWERED.items()
    }


def many_seeds(n: int) -> dict:
    """A clear format: all answers triggered, none untriggered, over more questions."""
    own = {"triggered": (4,) * 20, "untriggered": (0,) * 20}
    return {(None, None): {"triggered": (0,) * 20, "untriggered": (0,) * 20}} | {
        (0.6, seed): own for seed in range(n)
    }


def judged(table: pa.Table, labels: Any) -> pa.Table:
    """Results that the offline judge has labelled: `labels(row)` gives persona, identity label."""
    rows = table.to_pylist()
    for row in rows:
        row["persona"], identity = labels(row)
        row["identity"] = None if identity is None else identity == "PERSONA"
        row["judge_error"] = "not_asked" if identity is None else None
    return pa.Table.from_pylist(rows, SCHEMA)
