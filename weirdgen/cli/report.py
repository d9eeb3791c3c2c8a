"""`weirdgen report`: tables, statistics and figures from what is there, of a study or of an import."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from rich.console import Console

from weirdgen.config.claims import FORMAT_METRICS
from weirdgen.config.loading import load_study
from weirdgen.errors import DamagedError, InputError
from weirdgen.pipeline.plan import make_plan
from weirdgen.pipeline.state import StudyState, scan
from weirdgen.pipeline.status import failed_trainings, standing_failures
from weirdgen.report.data import ReportData
from weirdgen.report.rates import is_measured
from weirdgen.report.summary import judged_of, print_summary, write_files, write_report
from weirdgen.report.tables import imported_notes
from weirdgen.results.importing import checked_name, import_lines, read_description
from weirdgen.results.labels import read_labels
from weirdgen.results.table import kept_results, read_results
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.run_record import failure_lines, read_record


def report(console: Console, study: str, overrides: tuple[str, ...], store: ArtifactStore) -> None:
    """Reports on a study file's results so far, or on what was imported under a name.

    Raises InputError where there is neither, or nothing to report on.
    """
    path = Path(study)
    if path.is_file():
        plan = make_plan(load_study(path, overrides), path.parent, path)
        state = scan(plan, store)
        if not any(state.ranges.values()) and kept_results(state, store) is None:
            problem = f"has no responses in {store.uri} yet; run it first"
            raise InputError(path, None, problem)
        write_report(state, store, console, *_failures(state, store))
        return
    name = checked_name(study)
    described = read_description(name, store)
    if described is None:
        problem = (
            "is no study file (such as jobs/local.yaml), and nothing was imported under that name"
        )
        raise InputError("study", name, f"{problem} into {store.uri}")
    _report_import(console, name, [*import_lines(described)], store)


def _failures(state: StudyState, store: ArtifactStore) -> tuple[list[str], Counter[float]]:
    """A line for each failed step of the last run that is still not there; fraction -> failed trainings.

    A record that cannot be read is one line.
    """
    try:
        failed, _ = standing_failures(read_record(state.plan.study.name, store), state)
    except DamagedError as error:
        return [f"what failed in the last run is not known: {error}"], Counter()
    return failure_lines(failed, store), failed_trainings(failed, state.plan)


def _report_import(console: Console, name: str, lines: list[str], store: ArtifactStore) -> None:
    from weirdgen.report.estimates import analyse_results, spread_cautions
    from weirdgen.report.methods import methods

    table, labels = read_results(name, store), read_labels(name, store)
    judged = judged_of(table)
    metrics = [m for m in FORMAT_METRICS if is_measured(table, m)] + judged
    analysis = analyse_results(table, metrics)
    said = methods(None, table, analysis, labels)
    notes = imported_notes(labels, judged)
    cautions = spread_cautions(analysis)
    shown = ReportData(
        name, table, judged, notes, analysis, cautions, lines, labels=labels, methods=said
    )
    print_summary(name, store, console, write_files(shown, store))
