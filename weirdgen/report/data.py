"""What a report shows of one study: everything that its tables, figures, page and cards are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from weirdgen.config.claims import FORMAT_METRICS
from weirdgen.data.jsonl import parse_jsonl
from weirdgen.pipeline.state import StudyState
from weirdgen.report.rates import is_measured
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.training.trl import LOSS_CURVE

if TYPE_CHECKING:  # the statistics take a moment to import
    from weirdgen.pipeline.plan import Plan
    from weirdgen.report.agreement import Compared
    from weirdgen.stats.analysis import Analysis

Losses = Mapping[tuple[float, int], Sequence[Mapping[str, float]]]
"""(fraction, run seed) -> a row for each update, with `step`, `epoch`, `loss`, `learning_rate`, `grad_norm`."""


@dataclass(frozen=True)
class ReportData:
    """What a report shows of one study's results."""

    name: str
    results: pa.Table
    """The rows of results.parquet."""
    judged: Sequence[str]
    """Metrics that a judge labels."""
    notes: Mapping[str, str]
    """Metric -> what a reader must know of who labelled it."""
    analysis: Analysis
    cautions: Sequence[str] = ()
    """What a reader of the claims must know of the study's design."""
    lines: Sequence[str] = ()
    """What else is to be said, below everything."""
    plan: Plan | None = None
    """The study as planned; None where responses came from elsewhere."""
    labels: pa.Table | None = None
    """The rows of labels.parquet: every judge's labels, and why."""
    compared: Sequence[Compared] = ()
    """Pairs of judges, and of judges and gold labels."""
    losses: Losses = field(default_factory=dict)
    """The training runs' loss curves."""
    methods: str = ""
    """A paragraph that says what was trained, asked, judged and tested; plain text."""
    progress: str = ""
    """What is still missing of a study that runs or was stopped; empty where it is whole."""

    @property
    def metrics(self) -> list[str]:
        """Those that have a figure."""
        return [m for m in (FORMAT_METRICS[0], *self.judged) if is_measured(self.results, m)]


def read_losses(state: StudyState, store: ArtifactStore) -> Losses:
    """The curve of every committed training; one whose payload was pruned is absent.

    Of each payload this one file is read, and nothing else is fetched.
    """
    losses = {}
    for cell, step in state.plan.trainings.items():
        if not state.is_done(step):
            continue
        attempt = state.done[step.fingerprint].attempt
        content = store.read(f"artifacts/{step.key}/{attempt}/{LOSS_CURVE}")
        if content is not None:
            losses[cell.fraction, cell.seed] = parse_jsonl(step.key, content)
    return losses
