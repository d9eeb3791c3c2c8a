"""Where a machine keeps what can be fetched or made again."""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def node_cache() -> Path:
    """`$XDG_CACHE_HOME/weirdgen`, or `~/.cache/weirdgen`."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "weirdgen"


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty folder in the node's cache, gone at the end; those that killed processes left go first.

    A lock beside it tells that its process lives, and holds across containers.
    """
    folder = node_cache() / "scratch" / uuid.uuid4().hex
    folder.mkdir(parents=True)
    lock = folder.with_suffix(".lock")
    draft = lock.with_suffix(".new")  # nobody may find it before it is locked
    with draft.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            draft.rename(lock)
            _clear(folder.parent)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            for each in (draft, lock):
                with suppress(OSError):
                    each.unlink()


def _clear(parent: Path) -> None:
    for lock in parent.glob("*.lock"):
        with suppress(OSError):  # it is in use, or another process was first
            _delete_left(lock)


def _delete_left(lock: Path) -> None:
    """Raises OSError where its process lives."""
    with lock.open("r+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
        lock.unlink()
