"""Labels: what one judge that is a model says of one range of responses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from weirdgen.errors import DamagedError
from weirdgen.judging.blinding import judge_view
from weirdgen.judging.judgment import JudgeItem
from weirdgen.judging.judgment_store import JudgmentStore
from weirdgen.judging.label_rows import NOT_JUDGED, RANGE_SCHEMA, label_rows
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.judging.queue import JudgmentOf, Reasons
from weirdgen.pipeline.run_step import Task, run_step
from weirdgen.pipeline.stages.base import Stage
from weirdgen.pipeline.stages.responses import ResponseSet, read_responses
from weirdgen.storage.artifacts import ArtifactStore, Manifest, Step

UNLABELLED = "unlabelled"
"""The note of a manifest that counts the responses whose label is still to come."""


class LabelRange(NamedTuple):
    """One range of responses for one judge to label."""

    step: Step
    judge: LlmJudge
    response_set: ResponseSet
    responses: Step
    """The range of responses, and its manifest."""
    manifest: Manifest

    def is_labelled_by(self, manifest: Manifest | None) -> bool:
        """Whether `manifest` is of labels of these very responses, complete or not."""
        consumed = {self.responses.fingerprint: self.manifest.digest}
        return manifest is not None and manifest.inputs == consumed

    def is_complete_in(self, manifest: Manifest | None) -> bool:
        """Whether every response has its label there, or a failure that stands."""
        return (
            manifest is not None
            and self.is_labelled_by(manifest)
            and not manifest.notes.get(UNLABELLED)
        )


def labels_step(
    judge: LlmJudge, response_set: ResponseSet, responses: Step, markers: Sequence[str]
) -> Step:
    """The labels by `judge` of one range, of the samples that `response_set` wants.

    `markers` are taken off before a response is shown. The values of the labels are no part of a
    judgment, but of what is made of it: where they change, the step runs again from the journals.
    """
    first, end = responses.record["samples"]
    samples = [first, min(end, response_set.samples)]
    return LABELS.step(
        f"{response_set.step.name}-{judge.rubric.name}-{samples[0]}-{samples[1]}",
        {"responses": responses.fingerprint},
        judge=judge.record,
        values=judge.rubric.numbers,
        samples=samples,
        markers=list(markers),
    )


class LabelRangeJob:
    """A range as a job of the judge pool; committed when every response has its label or a reason.

    It runs on the node of its judges: what they heard is in the store before the labels are.
    """

    def __init__(
        self,
        each: LabelRange,
        questions: Mapping[str, str],
        store: ArtifactStore,
        done: Callable[[Manifest], None],
        unjudged: Counter[str],
    ) -> None:
        """`questions`: id -> question. `done` is called with each manifest that is in the store.

        `unjudged` counts damage -> responses without labels for it, which ends no run: the others are
        judged all the same.
        """
        self._each, self._questions, self._store, self._done = each, questions, store, done
        self._unjudged = unjudged
        self._keys: dict[tuple[str, int], str | None] = {}
        """(question_id, sample) -> the judgment's key; None for an empty response."""

    @property
    def judge(self) -> LlmJudge:
        return self._each.judge

    def items(self) -> Iterator[JudgeItem]:
        record = self._each.step.record
        first, end = record["samples"]
        try:
            payload = self._store.payload(self._each.responses, self._each.manifest)
        except DamagedError as damaged:
            self._unjudged[str(damaged)] = (end - first) * len(self._questions)
            return
        for row in read_responses(payload, ["question_id", "sample", "response"]):
            if not first <= row["sample"] < end:
                continue
            question = self._questions[row["question_id"]]
            text = judge_view(row["response"], record["markers"])
            key = self.judge.key(question, text) if text else None
            self._keys[row["question_id"], row["sample"]] = key
            if key is not None:
                yield JudgeItem(key, question, text)

    def finish(self, judgment_of: JudgmentOf, reasons: Reasons) -> None:
        """Commits the labels, open ones with their reasons, unless nothing has a label."""
        keys = self._keys.values()
        if not keys:
            return  # the responses are damaged
        if reasons and not any(key is None or judgment_of(key) for key in keys):
            return
        try:
            self._commit(judgment_of, reasons)
        except DamagedError as damaged:  # those in `reasons` are counted by who asked
            self._unjudged[str(damaged)] = sum(key not in reasons for key in keys)

    def _commit(self, judgment_of: JudgmentOf, reasons: Reasons) -> None:
        stale = self._store.manifest(self._each.step)
        if stale is not None:
            self._done(stale)
            if self._each.is_complete_in(stale):  # by another run in the meantime
                return
        rows: list[dict[str, Any]] = []
        for (question_id, sample), key in self._keys.items():
            record = self.judge.empty() if key is None else judgment_of(key)
            reason = reasons.get(key or "", NOT_JUDGED)
            rows += label_rows(self.judge, question_id, sample, record, reason)
        open_ = [key for key in self._keys.values() if key in reasons]

        def make(_: object, out: Path) -> dict[str, Any]:
            pq.write_table(pa.Table.from_pylist(rows, RANGE_SCHEMA), out / LABELS.payload)
            return {
                UNLABELLED: len(open_),
                "reasons": dict(Counter(reasons[key] for key in open_ if key)),
            }

        # Upload the journals first: labels must never be stored without the judgments they cost.
        JudgmentStore(self._store, self.judge).upload()
        task = Task(self._each.step, {"responses": self._each.responses}, replacing=stale)
        self._done(run_step(self._store, task, make))


def read_labels(payload: Path) -> list[dict[str, Any]]:
    """The rows of one range, by RANGE_SCHEMA."""
    with pq.ParquetFile(payload / LABELS.payload) as file:
        return file.read().to_pylist()


LABELS = Stage("labels", "judge", "labels.parquet", read=read_labels)
