"""Classify I/O errors as disk or storage failures."""

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
"""Messages of Rust and C++ libraries, object stores and `tempfile`, which carry no errno."""
_NEARLY_FULL = 2**26
"""Free bytes below which a disk counts as full after a refused write."""
_XML = re.compile(r"<\?xml.*<Code>(.*)</Code>.*<Message>(.*)</Message>.*", re.DOTALL)
"""An S3 server's reply to what it refuses."""
_SKEWED = re.compile(r"request_?time_?too_?skewed", re.IGNORECASE)


def full_disk(error: BaseException, *folders: Path) -> Path | None:
    """Return the full disk that caused the error, or None: the fullest of `fullest(*folders)`.

    A message alone counts only if the disk is nearly full: an endpoint may say "Quota exceeded".
    """
    chain = [*_chain(error)]
    if not any(map(_says_full, chain)):
        return None
    place = fullest(*folders)
    if place is None:
        return None
    if any(map(_has_full_errno, chain)) or shutil.disk_usage(place).free < _NEARLY_FULL:
        return place
    return None


def storage_error(uri: str, error: Exception, what: str) -> StorageError:
    """Describe the error in one line; `what` the storage cannot be: `read` or `written`."""
    reason = _reason(error)
    if _says_full(error):
        problem = f"is full ({reason}): free space there, then run the same command to continue"
        return StorageFullError(f"--storage: {uri} {problem}")
    if _SKEWED.search(reason):
        problem = f"cannot be {what}: the clock of {platform.node()} is wrong, set it ({reason})"
    else:
        problem = f"cannot be {what} ({reason}); once it can, run the same command to continue"
    return StorageError(f"--storage: {uri} {problem}")


def fullest(*folders: Path) -> Path | None:
    """Return the fullest of these folders, the temporary folder and the node's cache.

    None where none of them exists. It raises nothing: it is called while another error is handled.
    """
    places = [*folders]
    with suppress(RuntimeError):  # no home directory
        places.append(node_cache())
    free = {}
    for place in (*places, _temporary()):
        with suppress(OSError):
            free[place] = shutil.disk_usage(place).free
    return min(free, key=free.__getitem__, default=None)


def _temporary() -> Path:
    """Return the temporary folder. `tempfile.gettempdir` writes a file, and raises on full disks."""
    return Path(tempfile.tempdir or os.environ.get("TMPDIR") or "/tmp")  # noqa: S108


def node_disk_error(place: Path, error: OSError) -> NodeDiskError:
    """Describe in one line that a node's own disk takes no writes."""
    full = _has_full_errno(error)
    problem = (
        "is on a full disk: free space there" if full else f"cannot be written ({_reason(error)})"
    )
    return NodeDiskError(
        f"{platform.node()}: {place} {problem}, then run the same command to continue"
    )


@contextmanager
def on_node_disk(place: Path) -> Iterator[None]:
    """Raise NodeDiskError for OSErrors inside; StorageErrors pass."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        raise node_disk_error(place, error) from error


def _says_full(error: BaseException) -> bool:
    return _has_full_errno(error) or _FULL_IN_WORDS.search(str(error)) is not None


def _has_full_errno(error: BaseException) -> bool:
    return getattr(error, "errno", None) in _FULL


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text, _, _ = str(error).partition("\n\nDebug source")  # obstore's own
    return " ".join(_XML.sub(r"\1, \2", text).split())


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
