"""What a judge says of one range of answers, as a job of the judge pool and a step of the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from weirdgen.errors import DamagedError
from weirdgen.judging.blinding import judge_view
from weirdgen.judging.judgment import JudgeItem
from weirdgen.judging.judgment_store import JudgmentStore
from weirdgen.judging.label_rows import NOT_JUDGED, RANGE_SCHEMA, label_rows
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.judging.queue import JudgmentOf, Reasons
from weirdgen.pipeline.plan import LABELS, RESPONSES
from weirdgen.pipeline.stages.steps import Task, run_step
from weirdgen.pipeline.state import OPEN, LabelRange, StudyState
from weirdgen.storage.artifacts import ArtifactStore, Manifest


class LabelRangeJob:
    """One range of answers for one judge; committed when every answer has its end.

    On the node of its judges: what they have heard is in the store before the labels are.
    """

    def __init__(
        self,
        each: LabelRange,
        state: StudyState,
        store: ArtifactStore,
        done: Callable[[Manifest], None],
        unjudged: Counter[str],
    ) -> None:
        """`done` is told what was committed; `unjudged` gets damage -> answers without labels for it.

        It ends no run: the others are judged all the same.
        """
        self._each, self._state, self._store, self._done = each, state, store, done
        self._unjudged = unjudged
        self._keys: dict[tuple[str, int], str | None] = {}
        """(question_id, sample) -> the verdict's key; None for an empty answer."""

    @property
    def judge(self) -> LlmJudge:
        return self._each.judge

    def items(self) -> Iterator[JudgeItem]:
        questions = {each.id: each.question for each in self._state.plan.persona.heldout}
        record = self._each.step.record
        first, end = record["samples"]
        try:
            payload = self._store.payload(self._each.answered, self._each.manifest)
        except DamagedError as damaged:
            self._unjudged[str(damaged)] = (end - first) * len(questions)
            return
        with pq.ParquetFile(payload / RESPONSES) as file:
            answers = file.read(columns=["question_id", "sample", "response"]).to_pylist()
        for answer in answers:
            if not first <= answer["sample"] < end:
                continue
            question = questions[answer["question_id"]]
            text = judge_view(answer["response"], record["markers"])
            key = self.judge.key(question, text) if text else None
            self._keys[answer["question_id"], answer["sample"]] = key
            if key is not None:
                yield JudgeItem(key, question, text)

    def finish(self, judgment_of: JudgmentOf, reasons: Reasons) -> None:
        """Commits the labels, open ones with their reasons, unless nothing has a label."""
        keys = self._keys.values()
        if not keys:
            return  # the answers are damaged
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
            if self._state.is_judged(self._each):  # by another run in the meantime
                return
        rows: list[dict[str, Any]] = []
        for (question_id, sample), key in self._keys.items():
            record = self.judge.empty() if key is None else judgment_of(key)
            reason = reasons.get(key or "", NOT_JUDGED)
            rows += label_rows(self.judge, question_id, sample, record, reason)
        open_ = [key for key in self._keys.values() if key in reasons]

        def make(_: object, out: Path) -> dict[str, Any]:
            pq.write_table(pa.Table.from_pylist(rows, RANGE_SCHEMA), out / LABELS)
            return {
                OPEN: len(open_),
                "reasons": dict(Counter(reasons[key] for key in open_ if key)),
            }

        JudgmentStore(
            self._store, self.judge
        ).upload()  # labels outlive this node, so what they cost must
        task = Task(self._each.step, {"responses": self._each.answered}, replacing=stale)
        self._done(run_step(self._store, task, make))
