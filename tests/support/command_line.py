"""The `weirdgen` command in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def weirdgen(*arguments: str | Path, **options) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "weirdgen", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)
