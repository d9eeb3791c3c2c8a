"""What an error tells of the disk or the store behind it."""

from __future__ import annotations

import errno
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from weirdgen.cache import node_cache
from weirdgen.errors import NodeDiskError, StorageError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_FULL_IN_WORDS = re.compile(r"No space left on device|[Qq]uota exceeded|StorageFull")
"""As libraries of Rust and C++ and object stores tell it, which keep the number to themselves."""
_SKEWED = re.compile(r"request_?time_?too_?skewed", re.IGNORECASE)


def is_full(error: BaseException) -> bool:
    """Whether a disk without space is behind the error."""
    return any(
        getattr(each, "errno", None) in _FULL or _FULL_IN_WORDS.search(str(each))
        for each in _chain(error)
    )


def storage_error(uri: str, error: OSError, what: str) -> StorageError:
    """The error in a line; `what` the storage cannot be: read or written."""
    reason = _why(error)
    if is_full(error):
        told = f"is full ({reason}): free space there, and the same command goes on"
    elif _SKEWED.search(reason):
        told = f"cannot be {what}, as the clock of {platform.node()} is wrong: set it ({reason})"
    else:
        told = f"cannot be {what} ({reason}); once it can, the same command goes on"
    return StorageError(f"--storage: {uri} {told}")


def fullest(*folders: Path) -> Path:
    """Of these, and where temporary files and the node's cache are, the one with the least space."""
    places = [*folders, node_cache(), Path(tempfile.gettempdir())]
    return min(
        (place for place in places if place.is_dir()),
        key=lambda place: shutil.disk_usage(place).free,
    )


def node_disk_error(place: Path, error: OSError) -> NodeDiskError:
    """That a node's own disk takes nothing, in a line."""
    full = is_full(error)
    problem = (
        "is on a full disk: free space there" if full else f"cannot be written ({_why(error)})"
    )
    told = f"{platform.node()}: {place} {problem}, and the same command goes on"
    return NodeDiskError(told)


def _why(error: OSError) -> str:
    return error.strerror or " ".join(str(error).split())


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
