"""Files in a local folder, or in an object store by `s3://` or `gs://` (pyarrow.fs)."""

from __future__ import annotations

import os
import re
import tempfile
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, wraps
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from pyarrow import fs

from weirdgen.errors import InputError, StorageError
from weirdgen.storage.conditional_put import conditional_store, create
from weirdgen.storage.disk_errors import storage_error

if TYPE_CHECKING:
    from obstore.store import GCSStore, S3Store

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
        self.uri = uri if "://" in uri else str(Path(uri).expanduser().absolute())
        try:
            self._fs, self._root = fs.FileSystem.from_uri(self.uri)
            if isinstance(self._fs, fs.S3FileSystem):
                self._fs = _with_retries(self._fs)
                self._fs.get_file_info(self._root)  # raises where it is unreachable or refused
        except ValueError as error:
            raise InputError(
                "--storage", None, f"{uri!r}: {' '.join(str(error).split())}"
            ) from None
        except OSError as error:
            raise storage_error(self.uri, error, "read") from error
        self.is_local = isinstance(self._fs, fs.LocalFileSystem)
        if self.is_local:
            root = Path(self._root)
            existing = next(parent for parent in (root, *root.parents) if parent.exists())
            if not existing.is_dir():
                raise InputError("--storage", None, f"{existing} is a file, not a folder")
        self._existed = self.is_local and Path(self._root).is_dir()

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
            with self._fs.open_input_file(self.path(path)) as stream:
                return stream.read()
        except FileNotFoundError:
            self._check_root()
            return None

    @wrap_storage_errors("read")
    def exists(self, path: str) -> bool:
        """Return whether there is a file, or a folder that is not empty."""
        if self._fs.get_file_info(self.path(path)).type != fs.FileType.NotFound:
            return True
        self._check_root()
        return False

    @wrap_storage_errors("written")
    def write(self, path: str, content: bytes) -> None:
        """Replace the file atomically."""
        if not self.is_local:
            with self._fs.open_output_stream(self.path(path)) as stream:
                stream.write(content)
            return
        self._local_draft(path, content).replace(self.path(path))

    @wrap_storage_errors("written")
    def write_first(self, path: str, content: bytes) -> bool:
        """Write the file unless it exists; False where another writer was first.

        Of writers at once exactly one wins, if no two write the same content.
        """
        if not self.is_local:
            return self._create_object(path, content)
        draft = self._local_draft(path, content)
        try:
            os.link(draft, self.path(path))
        except FileExistsError:
            return False
        finally:
            with suppress(OSError):
                draft.unlink()
        return True

    def _create_object(self, path: str, content: bytes) -> bool:
        for _ in range(_CONFLICTS):
            if create(self._conditional_store, path, content):
                return True
            now = self.read(path)
            if now is not None:  # the same content: a retry met what its first request had written
                return now == content
        raise OSError(f"{path} is being written and deleted by others")

    @cached_property
    def _conditional_store(self) -> S3Store | GCSStore:
        return conditional_store(self._fs, self._root)

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
        with suppress(FileNotFoundError):
            self._fs.delete_file(self.path(path))

    @wrap_storage_errors("written")
    def delete_folder(self, path: str) -> None:
        """Delete the folder and its content, if it exists."""
        with suppress(FileNotFoundError):
            self._fs.delete_dir(self.path(path))

    @wrap_storage_errors("read")
    def folders(self, path: str) -> set[str]:
        """Return the names of the folders directly below `path`; empty where it does not exist."""
        infos = self._list(path)
        return {info.base_name for info in infos if info.type == fs.FileType.Directory}

    @wrap_storage_errors("read")
    def files(self, path: str) -> dict[str, int]:
        """Return name -> size in bytes of the files directly below `path`."""
        infos = self._list(path)
        return {info.base_name: info.size for info in infos if info.type == fs.FileType.File}

    def _list(self, path: str) -> list[fs.FileInfo]:
        infos = self._fs.get_file_info(fs.FileSelector(self.path(path), allow_not_found=True))
        if not infos:
            self._check_root()
        return infos


def _with_retries(found: fs.S3FileSystem) -> fs.S3FileSystem:
    """Copy the file system with retries for 26 s; one made from a URI gives up after 6 s."""
    _, (options,) = found.__reduce__()
    return fs.S3FileSystem(**options, retry_strategy=fs.AwsDefaultS3RetryStrategy(max_attempts=10))
