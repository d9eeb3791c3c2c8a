"""Where a node keeps the base model."""

from __future__ import annotations

from pathlib import Path

import pytest

from weirdgen.models.checkpoints import named_by_content


def test_the_base_has_one_path_on_a_node_whatever_storage_it_comes_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for storage in ("one", "two"):
        folder = tmp_path / storage
        folder.mkdir()
        (folder / "config.json").write_text(storage)
    one = named_by_content(tmp_path / "one", "ab" * 32)
    assert (one / "config.json").read_text() == "one"
    again = named_by_content(tmp_path / "two", "ab" * 32)
    assert again == one
    assert (again / "config.json").read_text() == "two", "the storage that is asked now"
    assert named_by_content(tmp_path / "one", "cd" * 32) != one
