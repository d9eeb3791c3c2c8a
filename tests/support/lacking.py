"""What a test needs and does not find: it is skipped, or fails where that was demanded."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

ROOT = "WEIRDGEN_REQUIRE_ROOT"
CHROMIUM = "WEIRDGEN_REQUIRE_CHROMIUM"


def lacking(what: str, demand: str) -> NoReturn:
    """Skips what asked, or fails it where the environment variable `demand` is 1."""
    if os.environ.get(demand) == "1":
        pytest.fail(f"{what}, and {demand} asks for it")
    pytest.skip(what)
