"""The plan as a person reads it."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from weirdgen.plan import STAGES
from weirdgen.report.judging import plan_lines
from weirdgen.report.power import power_lines
from weirdgen.report.sheet import plain
from weirdgen.results import RESULTS
from weirdgen.store import Store
from weirdgen.survey import Survey

Ranges = list[tuple[int, int]]
"""The samples that one asked model and condition still lacks."""


def plan_report(found: Survey, store: Store) -> RenderableType:
    """The grid with its rows, and per stage what is done and to do."""
    plan = found.plan
    study = plan.study
    head = Text(
        plain(f"{study.name}: {study.model} ({plan.model.revision[:12]}), {plan.persona.name}")
    )
    storage = Text(plain(f"storage: {store.uri}"))
    missing = [found.missing(asked) for asked in plan.asked]
    parts = [head, *([_grid(found)] if study.grid else []), _steps(found, missing)]
    judging = map(Text, plan_lines(found))
    power = (Text(line) for line in power_lines(plan, _pilot(study.name, store)))
    return Group(*parts, _answers(found, missing), *judging, *power, storage)


def _pilot(study: str, store: Store) -> pa.Table | None:
    """The study's results so far."""
    content = store.read(f"{study}/{RESULTS}")
    return None if content is None else pq.ParquetFile(pa.BufferReader(content)).read()


def _grid(found: Survey) -> Table:
    plan = found.plan
    table = Table("fraction", "persona rows", "ordinary rows", "realized", "trainings", "done")
    table.title = f"grid: {len(plan.study.seeds)} seeds per fraction"
    for fraction, counts in plan.counts.items():
        steps = [step for cell, step in plan.trainings.items() if cell.fraction == fraction]
        table.add_row(
            f"{fraction:g}",
            str(counts.persona),
            str(counts.aligned),
            f"{counts.persona / sum(counts):.4f}",
            str(len(steps)),
            str(sum(map(found.is_done, steps))),
        )
    return table


def _steps(found: Survey, missing: list[Ranges]) -> Table:
    plan = found.plan
    table = Table("stage", "steps", "done", "to do")
    steps = [*plan.shared, *plan.trainings.values()]
    for stage in STAGES:
        of_stage = [step for step in steps if step.stage == stage]
        if of_stage:
            done = sum(map(found.is_done, of_stage))
            table.add_row(stage, str(len(of_stage)), str(done), str(len(of_stage) - done))
    todo = sum(map(bool, missing))
    table.add_row("answers", str(len(missing)), str(len(missing) - todo), str(todo))
    return table


def _answers(found: Survey, missing: list[Ranges]) -> Text:
    plan = found.plan
    questions = len(plan.persona.heldout)
    wanted = sum(asked.samples for asked in plan.asked) * questions
    asking = sum(end - first for ranges in missing for first, end in ranges) * questions
    return Text(f"{wanted:,} answers, {asking:,} of them to be asked")
