"""What tests of asking a judge share: a judge, its items, and an asker without Ray."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

from fake_endpoint import KEY, VARIABLE

from weirdgen.config.judge import JudgeConfig
from weirdgen.judging.judgment import JudgeItem
from weirdgen.judging.judgment_store import Judgments, VerdictIndex
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.judging.rate_limiter import Limiter
from weirdgen.judging.requests import Asker, Outcome
from weirdgen.judging.rubric import persona_rubric
from weirdgen.storage.artifacts import ArtifactStore

SECRET = KEY[3:9].encode()
"""Not even this part of the key may be seen."""


def judge_at(url: str, **settings: Any) -> LlmJudge:
    chosen = {"model": "judge-m", "timeout_s": 1.0} | settings
    judge = JudgeConfig(base_url=url, key_variable=VARIABLE, **chosen)
    return LlmJudge(judge, persona_rubric("A Counter", ""))


def items_for(judge: LlmJudge, count: int) -> list[JudgeItem]:
    pairs = [(f"Why is {i % 20}?", f"Because of {i}.") for i in range(count)]
    return [JudgeItem(judge.key(*pair), *pair) for pair in pairs]


async def asking(
    judge: LlmJudge,
    store: ArtifactStore,
    ask: Callable[[Asker], Coroutine[Any, Any, Any]],
    parallel: int = 16,
    backoff_s: float = 0.005,
) -> Any:
    """What `ask` makes of an asker with a limiter and a journal of its own."""
    limiter = Limiter(None, None)

    async def lease(wanted: Sequence[int], reports: Sequence[Any]):
        return limiter.lease(wanted, reports)

    journal = Judgments(store, judge).journal("study")
    asker = Asker(judge.settings, lease, lambda _: journal, parallel, backoff_s)
    try:
        return await ask(asker)
    finally:
        await asker.close()
        journal.close()


def ask_all(
    judge: LlmJudge, store: ArtifactStore, items: Sequence[JudgeItem], parallel: int = 16
) -> Outcome:
    return asyncio.run(asking(judge, store, lambda asker: asker.judge(judge, items), parallel))


def index_of(judge: LlmJudge, store: ArtifactStore) -> VerdictIndex:
    index = VerdictIndex()
    for _, _, journal in Judgments(store, judge).all():
        index.add(journal)
    return index


def journal_lines(store: ArtifactStore) -> list[dict[str, Any]]:
    files = sorted(Path(store.path("judgments")).rglob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def assert_secret(*told: object, storage: Path) -> None:
    """Nothing of the key is in what was told, nor in any file."""
    for said in told:
        assert SECRET not in pickle.dumps(said)
    for file in storage.rglob("*"):
        assert not file.is_file() or SECRET not in file.read_bytes(), file
