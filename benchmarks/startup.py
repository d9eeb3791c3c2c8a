"""How long the commands take that start nothing: --help, a plan of 10,000 cells, a finished study.

    python benchmarks/startup.py [STUDY STORAGE]

STUDY and STORAGE name a finished study, for the time of running it again. Each command runs
five times; the table shows the median and the slowest, in seconds.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

JOBS = Path(__file__).parent.parent / "jobs"
LARGE = (
    "--set=grid.seeds=0..2499",
    "--set=grid.fractions=[0,0.2,0.4,0.6]",
    "--set=aligned.rows=60",
)
REPEATS = 5


def seconds(*arguments: str) -> list[float]:
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        command = [sys.executable, "-m", "weirdgen", *arguments]
        subprocess.run(command, check=True, capture_output=True)
        taken.append(time.perf_counter() - started)
    return taken


def main() -> None:
    with tempfile.TemporaryDirectory() as empty:
        commands = {
            "weirdgen --help": ("--help",),
            "weirdgen plan, 10,000 cells": (
                "plan", str(JOBS / "local.yaml"), f"--storage={empty}", *LARGE,
            ),
        }  # fmt: skip
        if len(sys.argv) == 3:
            commands["weirdgen run, finished"] = ("run", sys.argv[1], f"--storage={sys.argv[2]}")
        print("| command | median | slowest |\n|---|---|---|")
        for name, arguments in commands.items():
            taken = seconds(*arguments)
            print(f"| {name} | {statistics.median(taken):.2f} | {max(taken):.2f} |")


if __name__ == "__main__":
    main()
