"""ARCHITECTURE.md names the files that there are."""

from __future__ import annotations

import re

from studies import REPOSITORY

TEXT = (REPOSITORY / "ARCHITECTURE.md").read_text()
PACKAGE = REPOSITORY / "weirdgen"


def listed() -> set[str]:
    """Every file of the index, relative to the package."""
    files = set()
    for room, table in re.findall(r"^### (.*?)\n(.*?)(?=^###|\Z)", TEXT, re.MULTILINE | re.DOTALL):
        folder = "" if room == "The root" else room.split("/")[0] + "/"
        files |= {folder + name for name in re.findall(r"^\| `(.+?\.py)` \|", table, re.MULTILINE)}
    return files


def test_the_index_lists_every_module_and_no_other() -> None:
    there = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")}
    assert listed() == {name for name in there if not name.endswith("__init__.py")}


def test_the_files_that_the_text_names_exist() -> None:
    text = TEXT.split("## Every file")[0]
    for name in re.findall(r"`([a-z_]+/[a-z_/]+\.py)`", text):
        assert (PACKAGE / name).exists() or (REPOSITORY / name).exists(), name
