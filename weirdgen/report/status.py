"""Render a study's status: as a table and lines, as JSON, or as one line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
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
from weirdgen.pipeline.status import Counted, Status, count_responses
from weirdgen.results.labels import RESPONSE_KEY
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.run_record import FailedStep, JudgeProgress, RunningWork
from weirdgen.text import format_duration, single_line

_MOST = 40
"""Lines shown of one kind; `--json` has all."""


def status_report(status: Status, study: str, store: ArtifactStore, command: str) -> RenderableType:
    """`command`: what continues the study."""
    parts: list[RenderableType] = [
        Text(single_line(f"{study}: {_headline(status)}")),
        _table(status),
    ]
    for title, items, line_of in _sections(status, store):
        if items:
            lines = [line_of(item) for item in items[:_MOST]]
            if len(items) > _MOST:
                lines.append(f"and {len(items) - _MOST:,} more")
            parts.append(Text(title))
            parts += (Text(single_line(f"  {line}")) for line in lines)
    parts += (Text(single_line(line)) for line in _last_lines(status, store, command))
    return Group(*parts)


def status_json(status: Status, study: str, store: ArtifactStore, command: str) -> str:
    """The same as one JSON object, in ASCII."""
    tree: dict[str, Any] = TypeAdapter(Status).dump_python(status, mode="json")
    return json.dumps({"study": study, "storage": store.uri, **tree, "continue": command}, indent=1)


def _headline(status: Status) -> str:
    record = status.record
    of = f"on {status.host} (process {status.pid})"
    if status.state == "done":
        return "done"
    if record is None:
        return f"a run {of} has just begun" if status.state == "running" else "no run is alive"
    after = format_duration(record.elapsed_s)
    if status.state == "running":
        known = record.left_s is not None
        left = f"about {format_duration(record.left_s or 0)} left" if known else "time left unknown"
        return f"a run {of} is alive; as it last said {after} in, {left}"
    last = f"no run is alive; the last, {of},"
    if record.ended is None:
        return f"{last} was killed or cut off, last heard {after} in"
    why = f": {record.ended.reason}" if record.ended.reason else ""
    return f"{last} ended {after} in with exit code {record.ended.code}{why}"


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


def _sections(
    status: Status, store: ArtifactStore
) -> Iterator[tuple[str, Sequence[Any], Callable[[Any], str]]]:
    """Each with its title, what is in it, and what makes a line of that."""
    record, alive = status.record, status.state == "running"
    if record is not None and record.ended is None:
        title = "running" if alive else "under way when it was last heard"
        yield title, record.running, running_line
    yield "failed", status.failed, lambda each: _failed(each, store)
    if record is not None:
        given_up = {each.step for each in record.failed}
        retried = [each for each in record.retried.items() if each[0] not in given_up]
        yield "retried", retried, _retried
        yield "nodes excluded", [*record.excluded_nodes.items()], ": ".join
    yield "not run: a step that they need failed", status.not_run, str
    if record is not None and alive:
        yield "lately", record.events, lambda each: f"{format_duration(each[0])}  {each[1]}"


def running_line(each: RunningWork) -> str:
    """What runs, for how long, where, and how far it is."""
    what = ", ".join(each.steps) or f"engine {each.engine}, starting"
    parts = [f"{what}  {format_duration(each.for_s)}"]
    if each.updates:
        parts.append("update {} of {}".format(*each.updates))
    if each.waits:
        parts.append("waiting for room on a node")
    elif each.node:
        parts.append(f"on {each.node}" + (f", GPU {each.gpu}" if each.gpu else ""))
    if each.tries > 1:
        parts.append(f"try {each.tries}")
    return "  ".join(parts)


def _failed(each: FailedStep, store: ArtifactStore) -> str:
    log = store.display_path(each.log)
    where = f"log: {log}" if store.exists(each.log) else f"its log was never written: {log}"
    return f"{each.step}: {each.reason} ({_times(each.tries)}; {where})"


def _retried(each: tuple[str, list[str]]) -> str:
    key, reasons = each
    return f"{key}: {_times(len(reasons))} before, last: {'; '.join(reasons[-1:])}"


def _times(tries: int) -> str:
    return "tried once" if tries == 1 else f"tried {tries} times"


def _last_lines(status: Status, store: ArtifactStore, command: str) -> Iterator[str]:
    if status.record is not None and status.record.judged is not None:
        yield _judged(status.record.judged)
    if status.failed_elsewhere:
        yield f"{status.failed_elsewhere:,} more failed that are not in this plan"
    yield from status.problems
    if status.state in ("failed", "stopped"):
        yield f"to continue: {command}"
    yield f"storage: {store.uri}"


def _judged(judged: JudgeProgress) -> str:
    parts = [f"{judged.judged:,} judgments"]
    if judged.unjudged:
        kinds = ", ".join(f"{why} {n:,}" for why, n in sorted(judged.unjudged.items()))
        parts.append(f"{sum(judged.unjudged.values()):,} responses without ({kinds})")
    if judged.dollars:
        parts.append(f"${judged.dollars:.4f} over all runs")
    if judged.stopped:
        parts.append(f"stopped: {judged.stopped}")
    return f"judging in that run: {', '.join(parts)}"


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
    responses, labelled = count_responses(state, plan.response_sets)
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
