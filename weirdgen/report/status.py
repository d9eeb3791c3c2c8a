"""Render a study's status: as a table and lines, as JSON, or as one line."""

from __future__ import annotations

import json
from dataclasses import astuple, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from weirdgen.judging.label_rows import NOT_JUDGED
from weirdgen.pipeline.state import StudyState
from weirdgen.pipeline.status import Counted, Status, count_labels, count_responses
from weirdgen.report.rendering import lines, prose
from weirdgen.results.labels import RESPONSE_KEY
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.run_record import RunningWork

_MOST = 40
"""Lines shown of one kind; `--json` has all."""


def status_report(status: Status, study: str, store: ArtifactStore, command: str) -> RenderableType:
    """`command`: what continues the study."""
    values = {"status": status, "study": study, "store": store, "command": command, "most": _MOST}
    headline, *others = lines("status", **values)
    return Group(Text(headline), _table(status), *map(Text, others))


def status_json(status: Status, study: str, store: ArtifactStore, command: str) -> str:
    """The same as one JSON object, in ASCII."""
    tree: dict[str, Any] = TypeAdapter(Status).dump_python(status, mode="json")
    return json.dumps({"study": study, "storage": store.uri, **tree, "continue": command}, indent=1)


def _table(status: Status) -> Table:
    labels = any(group.labels for group in status.groups)
    counts = ("done", "running", "failed", "to do")
    table = Table("", *counts, "responses", *(["labels"] if labels else []))
    for group in status.groups:
        steps = group.steps
        cells = astuple(steps) if steps else ("",) * 4
        of = [group.responses, group.labels] if labels else [group.responses]
        table.add_row(group.name, *map(str, cells), *map(_counted, of))
    return table


def _counted(counted: Counted | None) -> str:
    return f"{counted.done:,} of {counted.all:,}" if counted else ""


def running_line(each: RunningWork) -> str:
    """What runs, for how long, where, and how far it is."""
    return prose("running_work", each=each)


def count_trained(state: StudyState, results: pa.Table | None = None) -> int:
    """Training runs that are done, or whose responses are in `results` after their artifacts were pruned."""
    answered = set() if results is None else {*results["adapter"].unique().to_pylist()}
    trainings = state.plan.trainings.values()
    return sum(state.is_done(step) or step.folder in answered for step in trainings)


def progress_line(
    state: StudyState, results: pa.Table | None = None, labels: pa.Table | None = None
) -> str:
    """Such as `In progress: 5 of 8 training runs, 4,300 of 9,600 responses`; empty for a complete study.

    `results` and `labels`, the study's files, count where they hold more than the artifacts do: those
    may have been pruned.
    """
    if state.complete:
        return ""
    plan = state.plan
    responses = count_responses(state, plan.response_sets)
    labelled = count_labels(state, plan.response_sets)
    n_kept = 0 if results is None else results.num_rows
    if pruned := n_kept > responses.done:
        responses = replace(responses, done=n_kept)
    if pruned and labelled and labels is not None:
        given = labels.filter(pc.fill_null(pc.not_equal(labels["error"], NOT_JUDGED), True))  # pyright: ignore[reportAttributeAccessIssue]
        of_judges = given.group_by([*RESPONSE_KEY, "judge_fp"]).aggregate([])
        labelled = replace(labelled, done=max(labelled.done, of_judges.num_rows))
    trained = Counted(count_trained(state, results), len(plan.trainings))
    counts = {"training runs": trained, "responses": responses, "labels": labelled}
    shown = {what: counted for what, counted in counts.items() if counted and counted.all}
    if pruned and all(counted.done >= counted.all for counted in shown.values()):
        return ""
    return f"In progress: {', '.join(f'{_counted(of)} {what}' for what, of in shown.items())}"
