"""The actors of judging: a limiter for each endpoint, and processes that ask."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayActorError

from weirdgen.config.judge import JudgeConfig
from weirdgen.judging.judgment_store import SHIP_S, Judgments
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.judging.rate_limiter import Limiter, PermitGrant, PermitUsage
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.fingerprint import fingerprint

if TYPE_CHECKING:  # the client takes a second to import
    from weirdgen.judging.journal import Journal
    from weirdgen.judging.judgment import JudgeItem
    from weirdgen.judging.rate_limit_client import LeaseOut
    from weirdgen.judging.requests import Outcome

_NAMESPACE = "weirdgen"
UNSHIPPED = "what it heard last may be on this node alone; the same command, run here, brings it up"


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class LimiterActor:
    """The limits of one endpoint, for every run on this cluster."""

    def __init__(self, requests_per_minute: int | None, tokens_per_minute: int | None) -> None:
        self._limiter = Limiter(requests_per_minute, tokens_per_minute)

    def lease(self, wanted: Sequence[int], reports: Sequence[PermitUsage]) -> PermitGrant:
        return self._limiter.lease(wanted, reports)


def limiter_of(settings: JudgeConfig) -> Any:
    """The limiter of the judge's endpoint, model and key, made where there is none yet."""
    limits = settings.requests_per_minute, settings.tokens_per_minute
    same = [settings.base_url, settings.model, settings.key_variable, *limits]
    options: dict[str, Any] = {
        "name": f"limiter-{fingerprint({'of': same})[:16]}",
        "namespace": _NAMESPACE,
        "get_if_exists": True,
    }
    return LimiterActor.options(**options).remote(*limits)


def _lease_from(settings: JudgeConfig) -> LeaseOut:
    limiter: Any = None

    async def lease(wanted: Sequence[int], reports: Sequence[PermitUsage]) -> PermitGrant:
        nonlocal limiter
        try:
            limiter = limiter or limiter_of(settings)
            return await limiter.lease.remote(wanted, reports)
        except RayActorError:  # it went with the run that made it
            limiter = limiter_of(settings)
            return await limiter.lease.remote(wanted, reports)

    return lease


class Shipping:
    """Brings journals into the store every few seconds, and keeps each failure until it is told."""

    def __init__(self, judgments: Sequence[Judgments]) -> None:
        self._judgments = judgments
        self._troubles: list[str] = []

    async def run(self) -> None:
        """Ships until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SHIP_S)
            for each in self._judgments:
                await loop.run_in_executor(None, self._ship, each, "it is tried again")

    def last(self) -> None:
        """Ships what is left, once every journal is closed."""
        for each in self._judgments:
            self._ship(each, UNSHIPPED)

    def told(self) -> tuple[str, ...]:
        """What failed since this was last asked, a line for each failure."""
        told, self._troubles = tuple(self._troubles), []
        return told

    def _ship(self, judgments: Judgments, then: str) -> None:
        try:
            judgments.ship()
        except Exception as error:  # whatever the store's client raises: the journal is still here
            reason = (str(error).splitlines() or [""])[0]
            failed = f"journals in {judgments.here} did not get into the store"
            self._troubles.append(f"{failed} ({type(error).__name__}: {reason}): {then}")


@ray.remote(num_cpus=0, max_restarts=0, max_task_retries=0)
class JudgeActor:
    """One process that asks; everything it hears is in its journals before it tells."""

    def __init__(self, uri: str, study: str, judges: Sequence[LlmJudge], actors: int) -> None:
        from weirdgen.judging.requests import Asker

        store = ArtifactStore(uri)
        self._study = study
        self._kept = {judge.fingerprint: Judgments(store, judge) for judge in judges}
        self._journals: dict[str, Journal] = {}
        self._askers = {
            settings: Asker(
                settings,
                _lease_from(settings),
                lambda judge: self._journals[judge.fingerprint],
                parallel=max(1, settings.parallel // actors),
            )
            for settings in {judge.settings for judge in judges}
        }
        self._shipping = Shipping(list(self._kept.values()))
        self._under_way: asyncio.Task[None] | None = None

    async def open(self) -> list[str]:
        """Opens the journals and begins to ship; gives the journals' paths.

        Raises StorageError where one cannot be opened: of an actor whose `__init__` raises Ray tells
        its death alone.
        """
        for judge, judgments in self._kept.items():
            self._journals[judge] = judgments.journal(self._study)
        self._under_way = asyncio.create_task(self._shipping.run())
        return [str(journal.path) for journal in self._journals.values()]

    async def check(self, judge: LlmJudge) -> Outcome:
        """Asks once, to see whether it makes sense to ask this judge more."""
        return self._told(await self._askers[judge.settings].check(judge))

    async def judge(self, judge: LlmJudge, items: Sequence[JudgeItem]) -> Outcome:
        return self._told(await self._askers[judge.settings].judge(judge, items))

    def _told(self, outcome: Outcome) -> Outcome:
        return outcome._replace(troubles=self._shipping.told())

    async def stop(self, why: str) -> None:
        """Sends nothing any more; what is under way is waited for."""
        for asker in self._askers.values():
            asker.stop(why)

    async def close(self) -> tuple[str, ...]:
        """Ends with everything on disk, and shipped; gives what of that failed."""
        if self._under_way is not None:
            self._under_way.cancel()
        for asker in self._askers.values():
            await asker.close()
        for journal in self._journals.values():
            journal.close()
        self._shipping.last()
        return self._shipping.told()
