"""What an error tells of the disk or the store behind it."""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from weirdgen.errors import NodeDiskError, StorageError, StorageFullError
from weirdgen.storage.cache import node_cache

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FULL_IN_WORDS = re.compile(
    r"No space left on device|[Qq]uota exceeded|StorageFull|No usable temporary directory"
)
"""As libraries of Rust and C++, object stores and `tempfile` tell it, which keep the number."""
_LITTLE = 2**26
"""Bytes that are left at most where a write was refused: it had filled the disk to its last blocks."""
_SKEWED = re.compile(r"request_?time_?too_?skewed", re.IGNORECASE)


def full_disk(error: BaseException, *folders: Path) -> Path | None:
    """The disk without space that is behind the error, if one is: the fullest of `fullest(*folders)`.

    Words alone are believed where the disk says so too: an endpoint's "Quota exceeded" is of no disk.
    """
    chain = [*_chain(error)]
    if not any(map(_tells_full, chain)):
        return None
    place = fullest(*folders)
    if place is None:
        return None
    if any(map(_is_numbered_full, chain)) or shutil.disk_usage(place).free < _LITTLE:
        return place
    return None


def storage_error(uri: str, error: OSError, what: str) -> StorageError:
    """The error in a line; `what` the storage cannot be: read or written."""
    reason = _why(error)
    if _tells_full(error):
        told = f"is full ({reason}): free space there, and the same command goes on"
        return StorageFullError(f"--storage: {uri} {told}")
    if _SKEWED.search(reason):
        told = f"cannot be {what}, as the clock of {platform.node()} is wrong: set it ({reason})"
    else:
        told = f"cannot be {what} ({reason}); once it can, the same command goes on"
    return StorageError(f"--storage: {uri} {told}")


def fullest(*folders: Path) -> Path | None:
    """Of these, and where temporary files and the node's cache are, the one with the least space.

    None where none of them is there. It raises nothing, as an error is being told.
    """
    places = [*folders]
    with suppress(RuntimeError):  # there is no home
        places.append(node_cache())
    free = {}
    for place in (*places, _temporary()):
        with suppress(OSError):
            free[place] = shutil.disk_usage(place).free
    return min(free, key=free.__getitem__, default=None)


def _temporary() -> Path:
    """Where temporary files are. `tempfile.gettempdir` writes to find out, and raises on full disks."""
    return Path(tempfile.tempdir or os.environ.get("TMPDIR") or "/tmp")  # noqa: S108


def node_disk_error(place: Path, error: OSError) -> NodeDiskError:
    """That a node's own disk takes nothing, in a line."""
    full = _is_numbered_full(error)
    problem = (
        "is on a full disk: free space there" if full else f"cannot be written ({_why(error)})"
    )
    told = f"{platform.node()}: {place} {problem}, and the same command goes on"
    return NodeDiskError(told)


@contextmanager
def on_node_disk(place: Path) -> Iterator[None]:
    """Raises NodeDiskError for what fails within; there a storage's own faults are StorageErrors."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise node_disk_error(place, error) from error


def _tells_full(error: BaseException) -> bool:
    return _is_numbered_full(error) or _FULL_IN_WORDS.search(str(error)) is not None


def _is_numbered_full(error: BaseException) -> bool:
    return getattr(error, "errno", None) in _FULL


def _why(error: OSError) -> str:
    return error.strerror or " ".join(str(error).split())


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
