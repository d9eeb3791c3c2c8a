"""`await_gpus.py` without a command to run."""

from __future__ import annotations

import os
import subprocess
import sys

from studies import REPOSITORY

AWAITS = [sys.executable, str(REPOSITORY / "cluster" / "await_gpus.py")]


def ran(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_gpus_without_a_command_are_refused():
    done = ran([*AWAITS, "2"], dict(os.environ))
    assert done.returncode == 2
    assert "a command is needed" in done.stderr
