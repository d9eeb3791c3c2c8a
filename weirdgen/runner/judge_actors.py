"""Ray actors of judging: a rate limiter per endpoint, and processes that send requests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import RayActorError

from weirdgen.config.judge import JudgeConfig
from weirdgen.judging.judgment_store import UPLOAD_EVERY_S, JudgmentStore
from weirdgen.judging.llm_judge import LlmJudge
from weirdgen.judging.rate_limiter import PermitGrant, PermitUsage, RateLimiter
from weirdgen.storage.artifacts import ArtifactStore
from weirdgen.storage.fingerprint import fingerprint

if TYPE_CHECKING:  # the client takes a second to import
    from weirdgen.judging.client import BatchResult
    from weirdgen.judging.journal import Journal
    from weirdgen.judging.judgment import JudgeItem
    from weirdgen.judging.rate_limit_client import RequestPermits

_NAMESPACE = "weirdgen"
NOT_UPLOADED = (
    "its last judgments may be on this node alone; run the same command here to upload them"
)


RateLimiterActor = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(RateLimiter)
"""The rate limiter of one endpoint, for every run on this cluster."""


def rate_limiter_of(settings: JudgeConfig) -> Any:
    """The rate limiter of the judge's endpoint, model and key, created if there is none."""
    limits = settings.requests_per_minute, settings.tokens_per_minute
    same = [settings.base_url, settings.model, settings.key_variable, *limits]
    options: dict[str, Any] = {
        "name": f"limiter-{fingerprint({'of': same})[:16]}",
        "namespace": _NAMESPACE,
        "get_if_exists": True,
    }
    return RateLimiterActor.options(**options).remote(*limits)


def _permits_from(settings: JudgeConfig) -> RequestPermits:
    limiter: Any = None

    async def grant(wanted: Sequence[int], reports: Sequence[PermitUsage]) -> PermitGrant:
        nonlocal limiter
        try:
            limiter = limiter or rate_limiter_of(settings)
            return await limiter.grant.remote(wanted, reports)
        except RayActorError:  # it ended with the run that created it
            limiter = rate_limiter_of(settings)
            return await limiter.grant.remote(wanted, reports)

    return grant


class JournalUploader:
    """Upload journals to the store every few seconds, and keep failures until they are reported."""

    def __init__(self, judgments: Sequence[JudgmentStore]) -> None:
        self._judgments = judgments
        self._failures: list[str] = []

    async def run(self) -> None:
        """Upload until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(UPLOAD_EVERY_S)
            for each in self._judgments:
                await loop.run_in_executor(None, self._upload, each, "trying again")

    def last(self) -> None:
        """Upload what is left, once every journal is closed."""
        for each in self._judgments:
            self._upload(each, NOT_UPLOADED)

    def take_failures(self) -> tuple[str, ...]:
        """The failures since the last call, a line each."""
        failures, self._failures = tuple(self._failures), []
        return failures

    def _upload(self, judgments: JudgmentStore, then: str) -> None:
        try:
            judgments.upload()
        except Exception as error:  # whatever the store raises: the journal is still on this node
            reason = (str(error).splitlines() or [""])[0]
            failed = f"journals in {judgments.local_folder} were not uploaded"
            self._failures.append(f"{failed} ({type(error).__name__}: {reason}): {then}")


@ray.remote(num_cpus=0, max_restarts=0, max_task_retries=0)
class JudgeActor:
    """A process that sends requests; every reply is in its journals before it is reported."""

    def __init__(
        self, uri: str, study: str, judges: Sequence[LlmJudge], actors: int, backoff_s: float
    ) -> None:
        from weirdgen.judging.client import JudgeClient

        store = ArtifactStore(uri)
        self._study = study
        self._stores = {judge.fingerprint: JudgmentStore(store, judge) for judge in judges}
        self._journals: dict[str, Journal] = {}
        self._clients = {
            settings: JudgeClient(
                settings,
                _permits_from(settings),
                lambda judge: self._journals[judge.fingerprint],
                max(1, settings.parallel // actors),
                backoff_s,
            )
            for settings in {judge.settings for judge in judges}
        }
        self._uploader = JournalUploader(list(self._stores.values()))
        self._uploading: asyncio.Task[None] | None = None

    async def open(self) -> list[str]:
        """Open the journals, start to upload, and return the journals' paths.

        Raises StorageError if one cannot be opened; from `__init__` Ray would report only that the
        actor died.
        """
        for judge, judgments in self._stores.items():
            self._journals[judge] = judgments.journal(self._study)
        self._uploading = asyncio.create_task(self._uploader.run())
        return [str(journal.path) for journal in self._journals.values()]

    async def probe(self, judge: LlmJudge) -> BatchResult:
        """Send one request, to learn whether this judge can be reached."""
        return self._with_warnings(await self._clients[judge.settings].probe(judge))

    async def judge(self, judge: LlmJudge, items: Sequence[JudgeItem]) -> BatchResult:
        return self._with_warnings(await self._clients[judge.settings].judge(judge, items))

    def _with_warnings(self, result: BatchResult) -> BatchResult:
        return result._replace(warnings=self._uploader.take_failures())

    async def stop(self, reason: str) -> None:
        """Send no further request; those in flight are waited for."""
        for client in self._clients.values():
            client.stop(reason)

    async def close(self) -> tuple[str, ...]:
        """End with everything on disk and uploaded; return what failed."""
        if self._uploading is not None:
            self._uploading.cancel()
        for client in self._clients.values():
            await client.close()
        for journal in self._journals.values():
            journal.close()
        self._uploader.last()
        return self._uploader.take_failures()
