"""What a manifest says of the code that made it."""

import subprocess
from pathlib import Path

import pytest

from weirdgen.storage import provenance


def git(tree: Path, *command: str) -> str:
    who = ["-c", "user.name=n", "-c", "user.email=e"]
    ran = subprocess.run(
        ["git", "-C", str(tree), *who, *command], capture_output=True, text=True, check=True
    )
    return ran.stdout.strip()


def test_the_commit_is_that_of_the_source_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / Path(provenance.__file__).relative_to(Path(provenance.__file__).parents[2])
    assert file.relative_to(tmp_path).parts[0] == "weirdgen"
    file.parent.mkdir(parents=True)
    file.write_text("")
    monkeypatch.setattr(provenance, "__file__", str(file))
    assert provenance._commit() is None
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "--message", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert provenance._commit() == commit
    file.write_text("changed")
    assert provenance._commit() == f"{commit}-dirty"
