"""`weirdgen` in a process of its own, in a study's folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

from local_cluster import BIN, bare_environment


def run(folder: Path, *options: str, command: str = "run", **environment: str) -> tuple[int, str]:
    """`weirdgen run` in a process of its own: its exit code and what it printed."""
    done = subprocess.run(
        [BIN / "weirdgen", command, "study.yaml", *options], cwd=folder,
        env=bare_environment() | environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=300,
    )  # fmt: skip
    return done.returncode, done.stdout
