"""The commands: what they print, what they import, how they end."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import weirdgen
from studies import small_study, write_study


def test_plan_shows_grid_steps_and_what_is_there(tiny_model: Path, tmp_path: Path):
    path = write_study(tmp_path, small_study(tiny_model))
    done = weirdgen("plan", path, "--storage", tmp_path / "s", "--set", "grid.seeds=0..4")
    assert done.returncode == 0, done.stderr
    assert "5 seeds per fraction" in done.stdout
    assert re.search(r"train +│ 5 +│ 0 +│ 5\b", done.stdout), done.stdout
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


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        (
            "cli.main cli.report cli.status pipeline.plan pipeline.state report.plan report.status "
            "report.page report.figures.all judging.offline.judge generation.factory",
            {"ray", "torch"},
        ),
        ("runner.judge_pool", {"torch", "openai"}),
    ],
)
def test_heavy_packages_are_imported_only_where_they_are_used(modules: str, absent: set[str]):
    code = "import sys, importlib\nfor name in sys.argv[1:]: importlib.import_module(name)\n"
    code += "print(*sys.modules)"
    command = [sys.executable, "-c", code, *(f"weirdgen.{name}" for name in modules.split())]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not absent & set(done.stdout.split())
