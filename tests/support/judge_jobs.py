"""Jobs for the queue of judge requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from weirdgen.judging.judgment import JudgeItem
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.judging.queue import Batch, JudgmentOf, Reasons, RequestQueue


class Job:
    """Some items of one judge; remembers how it ended."""

    def __init__(self, judge: LlmJudge, items: Sequence[JudgeItem]) -> None:
        self.judge, self._items = judge, items
        self.made, self.ends = 0, []

    def items(self) -> Iterator[JudgeItem]:
        self.made += 1
        yield from self._items

    def finish(self, judgment_of: JudgmentOf, reasons: Reasons) -> None:
        self.ends.append(
            {item.key: judgment_of(item.key) or reasons.get(item.key) for item in self._items}
        )


def taken(queue: RequestQueue, most: int) -> Batch:
    batch = queue.next_batch(most)
    assert batch is not None
    return batch
