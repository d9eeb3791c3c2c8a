"""`weirdgen run` in this process, on the Ray that it has joined, with a fake trainer and engine."""

from __future__ import annotations

from pathlib import Path

import echo
import fake_trainer
import pytest
from click.testing import CliRunner

from weirdgen.cli.main import main
from weirdgen.runner import run as runner


def run(path: Path, storage: Path) -> tuple[int, str]:
    """The exit code and what was printed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "train_adapters", fake_trainer.train)
        patch.setattr(runner, "make_engine", echo.make_engine)
        command = ["run", str(path), "--storage", str(storage)]
        done = CliRunner().invoke(main, command, env={"COLUMNS": "400"})
    assert isinstance(done.exception, SystemExit | None), done.exception
    return done.exit_code, done.output
