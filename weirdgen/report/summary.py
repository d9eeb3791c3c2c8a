"""What a run leaves and prints: results.parquet, stats.parquet, the tables, the verdicts, the figures."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.markdown import Markdown
from rich.text import Text

from weirdgen.criterion import FORMAT_METRICS, JUDGED_METRICS
from weirdgen.fingerprint import fingerprint
from weirdgen.report.sheet import Sheet, escape_markdown, plain
from weirdgen.report.tables import (
    is_measured,
    judge_notes,
    judged_metrics,
    length_sheet,
    rate_sheets,
)
from weirdgen.results import RESULTS, current_results, merge, sources_digest, write_results
from weirdgen.store import Store
from weirdgen.study_file import resolved_yaml
from weirdgen.survey import Survey
from weirdgen.verdicts import VERDICTS, labels_by_rater, read_verdicts, with_own_metrics

if TYPE_CHECKING:  # the statistics take a moment to import
    from weirdgen.plan import Plan
    from weirdgen.report.agreement import Compared
    from weirdgen.stats.analysis import Analysis

Training = tuple[float, int]
"""A fraction and a run seed."""

REPORT_VERSION = 1
"""Counted up when the same results come to be reported otherwise."""
STATS = "stats.parquet"
_MADE_OF, _WRITTEN = b"weirdgen_made_of", b"weirdgen_written"
SUMMARY = "report/summary.md"
DIFFERENCES = "report/differences.jsonl"
"""Answers on which two judges, or a judge and the gold labels, differ."""


@dataclass(frozen=True)
class Findings:
    """What a report shows of one study's results."""

    name: str
    table: pa.Table
    judged: Sequence[str]
    """Metrics that a judge labels."""
    notes: Mapping[str, str]
    """Metric -> what a reader must know of who labelled it."""
    analysis: Analysis
    cautions: Sequence[str] = ()
    """What a reader of the claims must know of the study's design."""
    agreement: Sequence[Sheet] = ()
    lines: Sequence[str] = field(default=())
    """What else is to be said, below everything."""
    plan: Plan | None = None
    """The study as planned; None where answers came from elsewhere."""
    labels: pa.Table | None = None
    """The rows of verdicts.parquet: who said what of an answer, and why."""
    compared: Sequence[Compared] = ()
    """Pairs of judges, and of judges and gold labels."""
    losses: Mapping[Training, Sequence[Mapping[str, float]]] = field(default_factory=dict)
    """Training (fraction, seed) -> its loss curve: rows with `step`, `epoch`, `loss`, `learning_rate`."""
    methods: str = ""
    """A paragraph that says what was trained, asked, judged and tested; plain text."""
    progress: str = ""
    """What is still missing of a study that runs or was stopped; empty where it is whole."""

    @property
    def sheets(self) -> list[Sheet]:
        """Rates by metric, lengths, sources of variance, agreement of the judges, and the claims or, without
        claims, the estimates.
        """
        from weirdgen.report.claims import claims_sheet, estimates_sheet, variance_sheet

        sheets = [*rate_sheets(self.table, self.judged, self.notes)]
        variances = variance_sheet(self.name, self.analysis)
        sheets += [length_sheet(self.table), *([variances] if variances else []), *self.agreement]
        verdicts = self.analysis.verdicts
        if not verdicts:
            return [*sheets, estimates_sheet(self.name, self.analysis)]
        claimed = {verdict.criterion.metric for verdict in verdicts}
        notes = dict.fromkeys(
            [*self.cautions, *(self.notes[m] for m in self.notes if m in claimed)]
        )
        return [*sheets, claims_sheet(self.name, verdicts, list(notes))]

    @property
    def verdicts(self) -> list[str]:
        """The verdicts in sentences."""
        from weirdgen.report.claims import verdict_lines

        return list(verdict_lines(self.analysis.verdicts))

    @property
    def metrics(self) -> list[str]:
        """Those that have a figure."""
        return [m for m in (FORMAT_METRICS[0], *self.judged) if is_measured(self.table, m)]

    def markdown(self) -> str:
        """Everything as one Markdown text."""
        text = "\n".join(sheet.markdown() for sheet in self.sheets)
        return text + "".join(f"\n- {escape_markdown(x)}" for x in (*self.verdicts, *self.lines))


def publish(
    found: Survey,
    store: Store,
    console: Console,
    lines: Sequence[str] = (),
    failed: Mapping[float, int] | None = None,
) -> None:
    """Brings the study's results and report up to date with what is there, and prints the tables.

    `lines`: one for each step that failed, shown and kept with the summary. `failed`: fraction ->
    trainings that failed, which meet no claim; None: as the last run left it. A report of these very results is printed as it is.
    """
    plan, study = found.plan, found.plan.study
    made_of = _report_digest(found)
    if not lines and (written := _current_report(study.name, made_of, store)):
        summary = store.read(f"{study.name}/{SUMMARY}") or b""
        console.print(Markdown(summary.decode()))
        _print(console, [store.path(study.name, path) for path in written])
        return
    table = current_results(found, store)
    fresh = table is None
    if table is None:
        merged = merge(found, store)
        table = merged.results
        if table.num_rows:
            write_results(merged, study.name, store)
    if not table.num_rows:
        _print(console, lines)
        return
    from weirdgen.report.estimates import analyse_study, design_cautions
    from weirdgen.report.looks import declared_looks, failed_trainings, record_looks

    verdicts = read_verdicts(study.name, store)
    table = with_own_metrics(table, verdicts, plan)
    metrics = [m for m in (*FORMAT_METRICS, *judged_metrics(study)) if is_measured(table, m)]
    looks = declared_looks(study, store)
    failures = failed_trainings(study, store, failed)
    analysis = analyse_study(table, verdicts, plan, metrics, failures, looks)
    record_looks(study, store, looks, analysis.verdicts)
    agreed, differing = _agreement(found, table, verdicts, store)
    shown = Findings(
        study.name,
        table,
        judged_metrics(study),
        judge_notes(study),
        analysis,
        design_cautions(study),
        agreed,
        lines,
    )
    store.write(f"{study.name}/study.yaml", resolved_yaml(study, plan.model.revision))
    beside = [*([VERDICTS] if verdicts.num_rows else []), *differing]
    written = write_findings(shown, store, fresh, beside, None if lines else made_of)
    print_findings(shown, store, console, written)


def write_findings(
    shown: Findings,
    store: Store,
    fresh: bool,
    beside: Sequence[str] = (),
    made_of: str | None = None,
) -> list[str]:
    """Writes figures, summary and last the statistics; gives the paths of all that there is.

    Figures that are there are kept unless the results are `fresh`. `beside`: other files to be
    told. `made_of`: the digest by which the report is known to be of these results.
    """
    from weirdgen.report.estimates import stats_table

    figures = [f"report/{metric}.png" for metric in shown.metrics]
    for metric, path in zip(shown.metrics, figures, strict=True):
        if fresh or store.read(f"{shown.name}/{path}") is None:
            drawn = _figure(shown.table, metric, shown.notes.get(metric, ""))
            store.write(f"{shown.name}/{path}", drawn)
    store.write(f"{shown.name}/{SUMMARY}", shown.markdown().encode())
    written = [RESULTS, *beside, STATS, SUMMARY, *figures]
    table = stats_table(shown.analysis)
    if made_of is not None:
        table = table.replace_schema_metadata(
            {**(table.schema.metadata or {}), _MADE_OF: made_of, _WRITTEN: json.dumps(written)}
        )
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    store.write(f"{shown.name}/{STATS}", sink.getvalue().to_pybytes())
    return written


def _report_digest(found: Survey) -> str:
    """Everything that a study's report is made of, as far as it is there."""
    plan = found.plan
    gold = sorted((*key, *sorted(labels.items())) for key, labels in (plan.gold or {}).items())
    record = {
        "version": REPORT_VERSION,
        "sources": sources_digest(found),
        "study": plan.study.model_dump(mode="json"),
        "gold": repr(gold),
    }
    return fingerprint(record)


def _current_report(study: str, made_of: str, store: Store) -> list[str]:
    """What the report of just that is written in; empty where it is not there."""
    content = store.read(f"{study}/{STATS}")
    metadata = {} if content is None else pq.read_schema(pa.BufferReader(content)).metadata or {}
    if metadata.get(_MADE_OF, b"").decode() != made_of:
        return []
    written = json.loads(metadata[_WRITTEN])
    return written if all(store.read(f"{study}/{path}") is not None for path in written) else []


def print_findings(shown: Findings, store: Store, console: Console, written: Sequence[str]) -> None:
    """Prints the summary, and what was written."""
    console.print(Markdown(shown.markdown()))
    _print(console, [store.path(shown.name, path) for path in written])


def _print(console: Console, lines: Sequence[str]) -> None:
    for line in lines:
        console.print(Text(plain(line)), soft_wrap=True)


def _agreement(
    found: Survey, table: pa.Table, verdicts: pa.Table, store: Store
) -> tuple[list[Sheet], list[str]]:
    """The table of the judges' agreement and the file of their differences, where there are two to compare."""
    plan = found.plan
    if plan.gold is None and plan.study.second_judge is None:
        return [], []
    from weirdgen.report.agreement import agreement_sheet, compare, differences_jsonl

    compared = compare(labels_by_rater(table, verdicts, plan), plan.gold)
    content = "".join(differences_jsonl(compared)).encode()
    store.write(f"{plan.study.name}/{DIFFERENCES}", content)
    return [agreement_sheet(compared, plan.study)] if compared else [], [DIFFERENCES]


def _figure(table: pa.Table, metric: str, note: str) -> bytes:
    from weirdgen.report.figure import draw  # matplotlib takes a second to import

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "figure.png"
        draw(table, path, metric, note)
        return path.read_bytes()


def judged_of(table: pa.Table) -> list[str]:
    """What judges label, as far as results that belong to no study file have it."""
    return [metric for metric in JUDGED_METRICS if is_measured(table, metric)]
