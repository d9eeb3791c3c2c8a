"""Runs a measurement in a process of its own: what it held of a GPU is free once it has ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


class ProcessFailed(Exception):
    """The end of what a process said that failed."""


def json_lines(script: str, *arguments: object, **environment: str) -> Iterator[dict[str, Any]]:
    """The JSON objects that benchmarks/`script` prints, one a line, each as it comes.

    The last one is followed by the end of the process. Raises ProcessFailed where it fails.
    """
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    said: deque[str] = deque(maxlen=60)
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as errors,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=os.environ | environment,
            encoding="utf-8",
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith('{"'):
                yield json.loads(line)
            else:
                said.append(line)
        if process.wait():
            errors.seek(0)
            raise ProcessFailed("".join(said)[-3000:] + errors.read()[-3000:])


def tell(**content: Any) -> None:
    """Prints a JSON line."""
    print(json.dumps(content), flush=True)
