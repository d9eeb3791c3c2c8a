"""Engines that break, die or never open, for tests of the runner."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import echo

from weirdgen.errors import StorageError
from weirdgen.generation.engine import Request, Response


class MuteEngine(echo.EchoEngine):
    """Says nothing to prompts, and something to held-out questions."""

    def _say(self, request: Request) -> str:
        return super()._say(request) if "Why is" in str(request.messages) else ""


class StumblingEngine(echo.EchoEngine):
    """Breaks in itself once it is asked an adapter, once for all engines, as a dead core does."""

    broken = False

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        fell = requests[0].adapter and requests[0].adapter.local_dir.parent / "fell"
        if fell and not fell.exists():
            fell.touch()
            self.broken = True
        if self.broken:
            raise RuntimeError("the core is dead")
        return super().generate(requests)


class DyingEngine(echo.EchoEngine):
    """Its process dies at the first answer to an adapter, once for all engines."""

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        died = requests[0].adapter and requests[0].adapter.local_dir.parent / "died"
        if died and not died.exists():
            died.touch()
            os._exit(1)
        return super().generate(requests)


class StrandedEngine(echo.EchoEngine):
    """Its node does not reach the storage at the first answer to an adapter; the driver's does."""

    def generate(self, requests: Sequence[Request]) -> list[Response]:
        left = requests[0].adapter and requests[0].adapter.local_dir.parent / "left"
        if left and not left.exists():
            left.touch()
            raise StorageError("--storage: it cannot be read")
        return super().generate(requests)


class BrokenEngine(echo.EchoEngine):
    def open(self, base: Path | str, serve_base: str, max_rank: int) -> None:
        raise RuntimeError("no such device")


class PickyEngine(echo.EchoEngine):
    """Does not open where SICK is set."""

    def open(self, base: Path | str, serve_base: str, max_rank: int) -> None:
        if "SICK" in os.environ:
            raise RuntimeError("no CUDA driver")
