"""The node's cache: what can be fetched or made again."""

from __future__ import annotations

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


def node_cache() -> Path:
    """Return `$XDG_CACHE_HOME/weirdgen`, or `~/.cache/weirdgen`."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "weirdgen"


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield an empty folder in the node's cache, and delete it and those of killed processes.

    A locked file beside it shows that its process lives, also across containers.
    """
    folder = node_cache() / "scratch" / uuid.uuid4().hex
    folder.mkdir(parents=True)
    lock = folder.with_suffix(".lock")
    draft = lock.with_suffix(".new")  # invisible to others until it is locked
    with draft.open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            draft.rename(lock)
            _delete_all_abandoned(folder.parent)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            for each in (draft, lock):
                with suppress(OSError):
                    each.unlink()


def _delete_all_abandoned(parent: Path) -> None:
    for lock in parent.glob("*.lock"):
        with suppress(OSError):  # in use, or another process was first
            _delete_abandoned(lock)


def _delete_abandoned(lock: Path) -> None:
    """Delete a folder and its lock. Raises OSError where its process lives."""
    with lock.open("r+") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(lock.with_suffix(""), ignore_errors=True)
        lock.unlink()
