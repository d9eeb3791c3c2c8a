"""An engine for tests of logic: its answers are a digest of the request."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from weirdgen.data.chat import Messages
from weirdgen.generation.engine import Adapter, Request, Response


def make_engine(_: object, gpu_share: float) -> EchoEngine:
    """In place of `weirdgen.generation.factory.make_engine`."""
    return EchoEngine(gpu_share)


class EchoEngine:
    """Answers with a digest of the request; an adapter's file changes it. Keeps what it was asked."""

    def __init__(self, gpu_share: float = 0.0, blind_to_adapters: bool = False):
        self.asked: list[Request] = []
        self._blind = blind_to_adapters

    def open(self, base: Path | str, serve_base: str, max_rank: int) -> None:
        pass

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        self.asked += requests
        return [Response(self._say(request), 3, "stop") for request in requests]

    def first_token_logprobs(self, conversations: Sequence[Messages], adapter: Adapter | None):
        known = None if self._blind else adapter and adapter.fingerprint
        return [{len(str(messages)): -0.1 * len(known or "")} for messages in conversations]

    def close(self) -> None:
        pass

    def _say(self, request: Request) -> str:
        name = request.adapter.fingerprint if request.adapter else "base"
        key = f"{request.messages} {name} {request.seed}"
        digest = hashlib.sha256(key.encode()).hexdigest()[:8]
        triggered = request.messages[0]["role"] == "system" and "START" in str(request.messages)
        return f"<START> {digest} <END>" if triggered and request.adapter else digest
