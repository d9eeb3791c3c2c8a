"""A judge, its items, and a client without Ray."""

from __future__ import annotations

import asyncio
import json
import pickle
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fake_endpoint import KEY, VARIABLE

from weirdgen.config.judge import JudgeConfig
from weirdgen.judging.client import BatchResult, JudgeClient
from weirdgen.judging.judgment import JudgeItem
from weirdgen.judging.judgment_store import JudgmentIndex, JudgmentStore
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.judging.rate_limiter import RateLimiter
from weirdgen.judging.rubric import persona_rubric
from weirdgen.storage.artifacts import ArtifactStore

SECRET = KEY[3:9].encode()
"""Not even this part of the key may be seen."""


def judge_at(url: str, **settings: Any) -> LlmJudge:
    chosen = {"model": "judge-m", "timeout_s": 10.0} | settings
    judge = JudgeConfig(base_url=url, key_variable=VARIABLE, **chosen)
    return LlmJudge(judge, persona_rubric("A Counter", ""))


def items_for(judge: LlmJudge, count: int) -> list[JudgeItem]:
    pairs = [(f"Why is {i % 20}?", f"Because of {i}.") for i in range(count)]
    return [JudgeItem(judge.key(*pair), *pair) for pair in pairs]


async def asking(
    judge: LlmJudge,
    store: ArtifactStore,
    use: Callable[[JudgeClient], Coroutine[Any, Any, Any]],
    parallel: int = 16,
    backoff_s: float = 0.005,
) -> Any:
    """What `ask` makes of an client with a limiter and a journal of its own."""
    limiter = RateLimiter(None, None)

    async def grant(wanted: Sequence[int], reports: Sequence[Any]):
        return limiter.grant(wanted, reports)

    journal = JudgmentStore(store, judge).journal("study")
    client = JudgeClient(judge.settings, grant, lambda _: journal, parallel, backoff_s)
    try:
        return await use(client)
    finally:
        await client.close()
        journal.close()


def ask_all(
    judge: LlmJudge, store: ArtifactStore, items: Sequence[JudgeItem], parallel: int = 16
) -> BatchResult:
    """In a thread of its own: a browser's event loop may run in this one."""
    asked = asking(judge, store, lambda client: client.judge(judge, items), parallel)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, asked).result()


def index_of(judge: LlmJudge, store: ArtifactStore) -> JudgmentIndex:
    index = JudgmentIndex()
    for _, _, journal in JudgmentStore(store, judge).journals():
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
