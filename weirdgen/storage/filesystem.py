"""Files in a local folder, or in an object store by `s3://` or `gs://`."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from weirdgen.errors import InputError, StorageError
from weirdgen.storage.disk_errors import storage_error

if TYPE_CHECKING:
    from weirdgen.storage.objects import Bucket

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S", bound="FileStore")

_CONFLICTS = 5
"""Attempts at a conditional put that is refused although no object exists."""


def wrap_storage_errors(
    what: str,
) -> Callable[[Callable[Concatenate[S, P], T]], Callable[Concatenate[S, P], T]]:
    """Decorate a method so that its OSErrors become StorageErrors.

    `what` the storage cannot be: `read` or `written`.
    """

    def decorate(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
        @wraps(method)
        def wrapper(storage: S, *args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return method(storage, *args, **kwargs)
            except StorageError:
                raise
            except OSError as error:
                raise storage_error(storage.uri, error, what) from error

        return wrapper

    return decorate


class FileStore:
    """Files under one root.

    Its methods raise StorageError where the storage is full, unreachable or not writable.
    """

    def __init__(self, uri: str) -> None:
        """`uri`: a local path, `s3://` or `gs://`. Raises InputError for anything else.

        Raises StorageError where an object store does not answer or refuses access.
        """
        if not uri.strip("/ ") or re.match(r"(s3|gs):(?!//[^/])", uri):
            raise InputError("--storage", None, f"{uri!r} names no folder or bucket")
        if re.match(r"s3://[^/?]*@", uri):
            problem = "put keys into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, not into the URI"
            raise InputError("--storage", None, problem)
        path = uri.removeprefix("file://")
        self.uri = uri if "://" in path else str(Path(path).expanduser().absolute())
        self._root = self.uri.partition("://")[2].partition("?")[0].rstrip("/") or self.uri
        self._bucket: Bucket | None = None
        if "://" in path:
            self._bucket = self._open_bucket()
        else:
            root = Path(self._root)
            existing = next(parent for parent in (root, *root.parents) if parent.exists())
            if not existing.is_dir():
                raise InputError("--storage", None, f"{existing} is a file, not a folder")
        self._existed = self.is_local and Path(self._root).is_dir()

    def _open_bucket(self) -> Bucket:
        from weirdgen.storage.objects import open_bucket

        try:
            return open_bucket(self.uri)
        except ValueError as error:
            raise InputError("--storage", None, f"{self.uri!r}: {error}") from None
        except OSError as error:
            raise storage_error(self.uri, error, "read") from error

    @property
    def is_local(self) -> bool:
        return self._bucket is None

    def path(self, *parts: str) -> str:
        return "/".join((self._root, *parts))

    def display_path(self, *parts: str) -> str:
        """Return the path as a user writes it: with its s3:// or gs://."""
        scheme, separator, _ = self.uri.partition("://")
        return f"{scheme}://{self.path(*parts)}" if separator else self.path(*parts)

    def _check_root(self) -> None:
        """Raise OSError where the root has disappeared: nothing may recreate it."""
        if self.is_local and not Path(self._root).is_dir():
            if self._existed:
                raise OSError("it is gone: unmounted, or deleted")
        else:
            self._existed = True

    @wrap_storage_errors("read")
    def read(self, path: str) -> bytes | None:
        """Return the file's content, or None where there is no such file."""
        try:
            return self._bucket.read(path) if self._bucket else Path(self.path(path)).read_bytes()
        except FileNotFoundError:
            self._check_root()
            return None

    @wrap_storage_errors("read")
    def exists(self, path: str) -> bool:
        """Return whether there is a file, or a folder that is not empty."""
        found = self._bucket.exists(path) if self._bucket else Path(self.path(path)).exists()
        if not found:
            self._check_root()
        return found

    @wrap_storage_errors("written")
    def write(self, path: str, content: bytes) -> None:
        """Replace the file atomically."""
        if self._bucket:
            self._bucket.write(path, content)
        else:
            self._local_draft(path, content).replace(self.path(path))

    @wrap_storage_errors("written")
    def swap(self, path: str, old: bytes, new: bytes) -> bool:
        """Replace the file if its content is `old`; False where it is not, or there is no file.

        In an object store nothing is written in between. A local file may be.
        """
        if self._bucket:
            return self._bucket.swap(path, old, new)
        if self.read(path) != old:
            return False
        self.write(path, new)
        return True

    @wrap_storage_errors("written")
    def write_first(self, path: str, content: bytes) -> bool:
        """Write the file unless it exists; False where another writer was first.

        Of writers at once exactly one wins, if no two write the same content.
        """
        if self._bucket:
            return self._create_object(self._bucket, path, content)
        draft = self._local_draft(path, content)
        try:
            os.link(draft, self.path(path))
        except FileExistsError:
            return False
        finally:
            with suppress(OSError):
                draft.unlink()
        return True

    def _create_object(self, bucket: Bucket, path: str, content: bytes) -> bool:
        for _ in range(_CONFLICTS):
            if bucket.create(path, content):
                return True
            now = self.read(path)
            if now is not None:  # the same content: a retry met what its first request had written
                return now == content
        raise OSError(f"{path} is being written and deleted by others")

    def _local_draft(self, path: str, content: bytes) -> Path:
        target = Path(self.path(path))
        self._check_root()
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=target.parent, prefix=".draft-", delete=False
        ) as draft:
            written = Path(draft.name)
            try:
                draft.write(content)
                draft.flush()
                os.fsync(draft.fileno())
            except BaseException:
                written.unlink(missing_ok=True)
                raise
        written.chmod(0o644)
        return written

    @wrap_storage_errors("written")
    def open_log(self, path: str) -> FileIO:
        """Open a file of a local storage for appending.

        The driver has written to the root before, so a missing root is an error.
        """
        self._existed = True
        self._check_root()
        file = Path(self.path(path))
        file.parent.mkdir(parents=True, exist_ok=True)
        return file.open("ab", buffering=0)

    def check_writable(self) -> None:
        """Raise StorageError where nothing can be written."""
        probe = f".probe-{uuid.uuid4().hex}"
        self.write(probe, b"not empty: a full disk still takes empty files")
        self.delete(probe)

    @wrap_storage_errors("written")
    def delete(self, path: str) -> None:
        """Delete the file if it exists."""
        if self._bucket:
            self._bucket.delete(path)
        else:
            Path(self.path(path)).unlink(missing_ok=True)

    @wrap_storage_errors("written")
    def delete_folder(self, path: str) -> None:
        """Delete the folder and its content, if it exists."""
        if self._bucket:
            self._bucket.delete_below(path)
        else:
            with suppress(FileNotFoundError):
                shutil.rmtree(self.path(path))

    @wrap_storage_errors("read")
    def folders(self, path: str) -> set[str]:
        """Return the names of the folders directly below `path`; empty where it does not exist."""
        return self._list(path)[0]

    @wrap_storage_errors("read")
    def files(self, path: str) -> dict[str, int]:
        """Return name -> size in bytes of the files directly below `path`."""
        return self._list(path)[1]

    def _list(self, path: str) -> tuple[set[str], dict[str, int]]:
        folders, files = set[str](), dict[str, int]()
        if self._bucket:
            folders, files = self._bucket.folders_and_files(path)
        else:
            with suppress(FileNotFoundError), os.scandir(self.path(path)) as entries:
                for each in entries:
                    if each.is_dir():
                        folders.add(each.name)
                    else:
                        files[each.name] = each.stat().st_size
        if not folders and not files:
            self._check_root()
        return folders, files
