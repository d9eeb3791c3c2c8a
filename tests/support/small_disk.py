"""A file system of a few kilobytes, to be filled up."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from lacking import ROOT, lacking


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Callable[..., None]]:
    """A file system of `size` at `folder`; gives what mounts it anew with other options."""
    folder.mkdir(parents=True, exist_ok=True)

    def mount(*options: str) -> None:
        subprocess.run(["mount", *options, folder], check=True, capture_output=True)

    try:
        mount("-t", "tmpfs", "-o", f"size={size}", "none")
    except (OSError, subprocess.CalledProcessError) as error:
        lacking(f"nothing can be mounted here ({error})", ROOT)
    try:
        yield lambda options: mount("-o", f"remount,{options}")
    finally:
        subprocess.run(["umount", "-l", folder], check=False, capture_output=True)


def fill(folder: Path, leave: int = 0) -> Path:
    """A file that takes all space but so many bytes."""
    ballast = folder / "ballast"
    free = shutil.disk_usage(folder).free - leave
    ballast.write_bytes(b"\0" * max(0, free))
    return ballast


def temporary_files_are_in(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where /tmp, /var/tmp and the working folder are on the one disk, and nothing yet asked for any."""
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [str(folder)])
