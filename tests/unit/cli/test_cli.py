"""The commands: what they print, what they import, how they end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from command_line import weirdgen
from conftest import small_study, write_study


def test_plan_shows_grid_steps_and_what_is_there(tiny_model: Path, tmp_path: Path):
    path = write_study(tmp_path, small_study(tiny_model))
    done = weirdgen("plan", path, "--storage", tmp_path / "s", "--set", "grid.seeds=0..4")
    assert done.returncode == 0, done.stderr
    assert "5 seeds per fraction" in done.stdout
    assert "train     │ 5     │ 0    │ 5" in done.stdout
    assert not (tmp_path / "s").exists(), "a plan writes nothing"


def test_neither_help_nor_plan_nor_status_imports_ray_or_torch(tiny_model: Path, tmp_path: Path):
    path = write_study(tmp_path, small_study(tiny_model))
    code = (
        "import sys; from weirdgen.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "heavy = {'ray', 'torch', 'transformers', 'vllm', 'datasets'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    for arguments in (
        ["--help"],
        ["plan", str(path), "--storage", str(tmp_path)],
        ["status", str(path), "--storage", str(tmp_path)],
    ):
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_a_storage_that_cannot_be_written_is_one_line(tiny_model: Path, tmp_path: Path):
    path = write_study(tmp_path, small_study(tiny_model))
    (tmp_path / "file").write_text("")
    done = weirdgen("run", path, "--storage", tmp_path / "file" / "below")
    assert done.returncode == 2
    assert done.stderr.startswith("weirdgen: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["plan", "run", "status"])
def test_bad_input_is_one_line_and_exit_code_2(command: str, tmp_path: Path):
    path = write_study(tmp_path, small_study("m", train__epochs=0))
    done = weirdgen(command, path, "--storage", tmp_path)
    assert done.returncode == 2
    assert done.stderr == (f"weirdgen: {path}: train.epochs: Input should be greater than 0\n")
    assert not done.stdout


def test_imports_keep_to_the_rooms_they_may_enter():
    """Importing a module must not import what it has no business with."""
    forbidden = {
        "config.study": {"ray", "torch"},
        "pipeline.plan": {"ray", "torch"},
        "storage.artifacts": {"ray", "torch"},
        "storage.lease": {"ray", "torch"},
        "results.table": {"ray", "torch"},
        "storage.timeline": {"ray", "torch"},
        "data.aligned": {"ray", "torch"},
        "data.sources": {"ray", "torch"},
        "judging.format": {"ray", "torch"},
        "judging.offline.judge": {"ray", "torch"},
        "judging.offline.fitting": {"ray", "torch"},
        "judging.offline.identity": {"ray", "torch"},
        "models.adapters": {"ray", "torch"},
        "pipeline.state": {"ray", "torch"},
        "storage.run_record": {"ray", "torch"},
        "pipeline.status": {"ray", "torch"},
        "models.memory": {"ray", "torch", "pyarrow"},
        "pipeline.resources.placement": {"ray", "torch"},
        "pipeline.resources.time_estimate": {"ray", "torch"},
        "results.labels": {"ray", "torch"},
        "generation.factory": {"ray"},
        "cli.ask": {"ray"},
        "training.trl": {"ray"},
        "generation.vllm": {"ray"},
        "pipeline.stages.steps": {"ray"},
        "stats.two_source": {"ray", "torch", "pyarrow"},
        "stats.contrasts": {"ray", "torch", "pyarrow"},
        "report.figures.all": {"ray", "torch"},
        "report.tables": {"ray", "torch"},
        "report.plan": {"ray", "torch"},
        "report.status": {"ray", "torch"},
        "runner.judge_pool": {"torch", "openai"},
    }
    code = (
        "import importlib, sys; importlib.import_module(sys.argv[1]);"
        "print(*({'ray', 'torch', 'pyarrow', 'openai'} & set(sys.modules)))"
    )
    for module, names in forbidden.items():
        command = [sys.executable, "-c", code, f"weirdgen.{module}"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert not names & set(done.stdout.split()), module
