"""What a run leaves and prints: results.parquet, stats.parquet, and the report's files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.markdown import Markdown
from rich.text import Text

from weirdgen.config.claims import FORMAT_METRICS, JUDGED_METRICS
from weirdgen.config.loading import resolved_yaml
from weirdgen.errors import DamagedError
from weirdgen.pipeline.state import StudyState
from weirdgen.report.data import ReportData
from weirdgen.report.rates import is_measured
from weirdgen.report.status import progress_line
from weirdgen.report.tables import judge_notes, judged_metrics
from weirdgen.results.labels import LABELS, labels_by_rater, read_labels
from weirdgen.results.table import (
    RESULTS,
    are_current,
    current_results,
    kept_results,
    merge,
    sources_digest,
    write_results,
)
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.fingerprint import fingerprint
from weirdgen.text import single_line

REPORT_VERSION = 6
"""Counted up when the same results come to be reported otherwise."""
STATS = "stats.parquet"
CLAIMS = ("claims.parquet", "claims.json")
_ENDS = 40
"""Of a long table so many lines are printed from its beginning, and from its end."""
_MADE_OF, _WRITTEN = b"weirdgen_made_of", b"weirdgen_written"
SUMMARY = "report/summary.md"
PAGE = "report/index.html"
TABLES = "report/tables.tex"
FIGURES = "report/figures"
DIFFERENCES = "report/differences.jsonl"
"""Responses on which two judges, or a judge and the gold labels, differ."""


def write_report(
    state: StudyState,
    store: ArtifactStore,
    console: Console,
    lines: Sequence[str] = (),
    failed: Mapping[float, int] = MappingProxyType({}),
) -> None:
    """Brings the study's results and report up to date with what is there, and prints the summary.

    `lines`: one for each step that failed, shown and kept with the summary. `failed`: fraction ->
    training runs that failed, which meet no claim. A report of these very results is printed as it is.
    """
    plan, study = state.plan, state.plan.study
    made_of = _report_digest(state, progress_line(state))
    written = [] if lines else _current_report(study.name, made_of, store)
    if written and are_current(state, store):
        print_summary(study.name, store, console, written)
        return
    table = current_results(state, store)
    if table is None:
        table = kept_results(state, store)
    if table is None:
        try:
            merged = merge(state, store)
        except DamagedError:
            _print(console, lines)  # else what failed beside it is never told
            raise
        table = merged.results
        if table.num_rows:
            write_results(merged, study.name, store)
    if not table.num_rows:
        _print(console, lines)
        return
    from weirdgen.report.agreement import compare
    from weirdgen.report.cards import write_cards
    from weirdgen.report.estimates import analyse_study, design_cautions, spread_cautions
    from weirdgen.report.looks import declared_looks, look_cautions, record_looks
    from weirdgen.report.methods import methods

    labels = read_labels(study.name, store)
    metrics = [m for m in (*FORMAT_METRICS, *judged_metrics(study)) if is_measured(table, m)]
    looks = declared_looks(study, store)
    analysis = analyse_study(table, labels, plan, metrics, failed, looks)
    record_looks(study, store, looks, analysis.verdicts)
    several = plan.gold is not None or study.second_judge is not None
    compared = compare(labels_by_rater(table, labels, plan), plan.gold) if several else []
    data = ReportData(
        study.name,
        table,
        judged_metrics(study),
        judge_notes(study),
        analysis,
        cautions=design_cautions(study) + look_cautions(study, store) + spread_cautions(analysis),
        lines=lines,
        plan=plan,
        labels=labels,
        compared=compared,
        methods=methods(state, table, analysis),
        progress=progress_line(state, table, labels),
    )
    store.write(f"{study.name}/study.yaml", resolved_yaml(study, plan.model.revision))
    write_cards(data, state, store)
    beside = [*[LABELS] * bool(labels.num_rows), *_write_differences(data, store)]
    written = write_files(data, store, beside, None if lines else made_of)
    print_summary(study.name, store, console, written)


def write_files(
    data: ReportData, store: ArtifactStore, beside: Sequence[str] = (), made_of: str | None = None
) -> list[str]:
    """Writes the report's files and last the statistics; gives the paths of all that is there to read.

    `beside`: other files to be told. `made_of`: the digest by which the report is known to be of
    these results.
    """
    from weirdgen.report.all_tables import all_tables, summary_markdown
    from weirdgen.report.figures.all import all_figures
    from weirdgen.report.figures.save import save
    from weirdgen.report.latex import latex_tables
    from weirdgen.report.page import page
    from weirdgen.report.stats_files import claims_data, claims_json, stats_table

    tables = all_tables(data)
    drawn, folder = [], f"{data.name}/{FIGURES}"
    old = store.files(folder)
    for figure in all_figures(data):
        saved = save(figure)
        for name, content in saved.files.items():
            store.write(f"{folder}/{name}", content)
            old.pop(name, None)
        drawn.append((figure, saved.picture))
    for name in old:  # drawn of other results
        store.delete(f"{folder}/{name}")
    store.write(f"{data.name}/{SUMMARY}", summary_markdown(data, tables).encode())
    store.write(f"{data.name}/{TABLES}", latex_tables(tables).encode())
    store.write(f"{data.name}/{PAGE}", page(data, tables, drawn).encode())
    claims = claims_data(data.analysis)
    contents = (
        (_parquet(claims), claims_json(data.name, claims)) if claims.num_rows else (None, None)
    )
    for name, content in zip(CLAIMS, contents, strict=True):
        _put(store, f"{data.name}/{name}", content)
    claimed = CLAIMS if claims.num_rows else ()
    written = [RESULTS, *beside, *claimed, STATS, SUMMARY, TABLES, FIGURES, PAGE]
    table = stats_table(data.analysis)
    if made_of is not None:
        table = table.replace_schema_metadata(
            {**(table.schema.metadata or {}), _MADE_OF: made_of, _WRITTEN: json.dumps(written)}
        )
    store.write(f"{data.name}/{STATS}", _parquet(table))
    return written


def _put(store: ArtifactStore, path: str, content: bytes | None) -> None:
    """Writes the file, or sees to it that there is none."""
    if content is None:
        store.delete(path)
    else:
        store.write(path, content)


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    return sink.getvalue().to_pybytes()


def print_summary(
    study: str, store: ArtifactStore, console: Console, written: Sequence[str]
) -> None:
    """Prints the summary, its verdicts last, and what was written: on a terminal the end is what one sees."""
    summary = (store.read(f"{study}/{SUMMARY}") or b"").decode()
    sections = re.split(r"(?m)^(?=## )", summary)
    sections.sort(key=lambda section: section.startswith("## Verdicts\n"))
    console.print(Markdown(_shortened("".join(sections), store.display_path(study, SUMMARY))))
    _print(console, [store.display_path(study, path) for path in written if path != PAGE])
    _print(console, [f"report: {store.display_path(study, PAGE)}"])


def _shortened(markdown: str, path: str) -> str:
    """The text, its long tables without their middle: of a thousand training runs nobody reads a terminal."""

    def shortened(table: re.Match[str]) -> str:
        rows = table[0].splitlines(keepends=True)
        left_out = len(rows) - 2 * _ENDS
        if left_out <= _ENDS:
            return table[0]
        line = f"\n{left_out:,} rows between these are in {path}\n\n"
        return "".join([*rows[:_ENDS], line, *rows[:2], *rows[-_ENDS:]])

    return re.sub(r"(?m)(?:^\|.*\n?)+", shortened, markdown)


def _report_digest(state: StudyState, progress: str) -> str:
    """Everything that a study's report is made of, as far as it is there."""
    plan = state.plan
    gold = sorted((*key, *sorted(labels.items())) for key, labels in (plan.gold or {}).items())
    record = {
        "version": REPORT_VERSION,
        "sources": sources_digest(state),
        "study": plan.study.model_dump(mode="json"),
        "gold": repr(gold),
        "progress": progress,
    }
    return fingerprint(record)


def _current_report(study: str, made_of: str, store: ArtifactStore) -> list[str]:
    """What the report of just that is written in; empty where it is not there."""
    content = store.read(f"{study}/{STATS}")
    try:
        schema = None if content is None else pq.read_schema(pa.BufferReader(content))
    except (OSError, pa.ArrowException):  # it was cut
        return []
    metadata = (schema and schema.metadata) or {}
    if metadata.get(_MADE_OF, b"").decode() != made_of:
        return []
    written = json.loads(metadata[_WRITTEN])
    return written if all(store.exists(f"{study}/{path}") for path in written) else []


def _print(console: Console, lines: Sequence[str]) -> None:
    for line in lines:
        console.print(Text(single_line(line)), soft_wrap=True)


def _write_differences(data: ReportData, store: ArtifactStore) -> list[str]:
    """The responses on which judges differ, as a file where two were compared, and else none."""
    from weirdgen.report.agreement import differences_jsonl

    content = "".join(differences_jsonl(data.compared)).encode()
    _put(store, f"{data.name}/{DIFFERENCES}", content if data.compared else None)
    return [DIFFERENCES] * bool(data.compared)


def judged_of(table: pa.Table) -> list[str]:
    """What judges label, as far as results that belong to no study file have it."""
    return [metric for metric in JUDGED_METRICS if is_measured(table, metric)]
