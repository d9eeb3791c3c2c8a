"""A study that has been run once, for all tests of a process."""

from __future__ import annotations

from pathlib import Path

import pytest
from fake_runs import run
from studies import make_persona, small_study, write_study


@pytest.fixture(scope="session")
def finished(
    one_ray: None, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path]:
    """The file of a study, and the storage that holds its results. Change neither: copy them."""
    folder = tmp_path_factory.mktemp("finished")
    path = write_study(folder, small_study(tiny_model, make_persona(folder)))
    code, printed = run(path, folder / "storage")
    assert code == 0, printed
    return path, folder / "storage"
