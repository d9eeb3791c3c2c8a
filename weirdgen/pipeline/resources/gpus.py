"""The GPUs that a study may have, and their memory as nvidia-smi tells it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

_QUERY = ("--query-gpu=memory.total,mig.mode.current", "--format=csv,noheader,nounits")
_TIMEOUT_S = 20.0
"""Enough for the driver to wake up."""
_MIB = 2**20
ASSUMED_BYTES = 85e9
"""Assumed memory of a GPU, for a plan on a machine without one."""


@dataclass(frozen=True)
class Gpus:
    """The GPUs that a study may use."""

    count: float
    bytes: float | None
    """Memory of the smallest one; None where it is not known."""
    known: str
    """Which it is, for people, such as `the smallest GPU here`."""


def planned_gpus(count: int, gigabytes: float | None) -> Gpus:
    """For a plan: of `gigabytes` each, else as this machine's smallest, else assumed."""
    if gigabytes is not None:
        return Gpus(count, gigabytes * 1e9, "a GPU")
    here = smallest_gpu()
    if here is not None:
        return Gpus(count, here, "the smallest GPU here")
    assumed = "an assumed GPU (nvidia-smi lists none here; set --gpu-memory for another)"
    return Gpus(count, ASSUMED_BYTES, assumed)


def smallest_gpu() -> float | None:
    """Bytes of this machine's smallest GPU; None without one, or if nvidia-smi fails."""
    command = ["nvidia-smi", *_QUERY]
    try:
        told = subprocess.run(
            command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return smallest_told(told.stdout)


def smallest_told(lines: str) -> float | None:
    """The smallest of the GPUs that nvidia-smi lists, in bytes.

    None where one reports no size, or is split (MIG), as the sizes of its parts differ.
    """
    sizes = []
    for line in lines.splitlines():
        size, _, parted = line.partition(",")
        if not size.strip().isdigit() or parted.strip() == "Enabled":
            return None
        sizes.append(int(size) * _MIB)
    return float(min(sizes)) if sizes else None
