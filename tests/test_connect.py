"""Joining or starting Ray: what cannot be is one line."""

from __future__ import annotations

from typing import Any

import pytest
import ray

from weirdgen.errors import InputError, WeirdgenError
from weirdgen.runner.cluster import connect


def test_a_ray_client_address_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", "ray://head:10001")
    with pytest.raises(InputError, match="RAY_ADDRESS: ray:// clients cannot drive a study"):
        connect()


def test_a_ray_that_does_not_start_is_a_line(monkeypatch: pytest.MonkeyPatch):
    def late(**_: Any) -> None:
        raise Exception("The current node timed out during startup. This could happen because")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", late)
    with pytest.raises(WeirdgenError, match="Ray did not start on this machine in the 30 s"):
        connect()


def test_what_else_goes_wrong_is_not_hidden(monkeypatch: pytest.MonkeyPatch):
    def broken(**_: Any) -> None:
        raise RuntimeError("version mismatch")

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray, "init", broken)
    with pytest.raises(RuntimeError, match="version mismatch"):
        connect()
