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
"""How often a conditional put is tried that was refused though no object is there."""


def wrap_storage_errors(
    what: str,
) -> Callable[[Callable[Concatenate[S, P], T]], Callable[Concatenate[S, P], T]]:
    """Has a method raise StorageError, which tells what the storage cannot be, for what it is told."""

    def of(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
        @wraps(method)
        def telling(storage: S, *args: P.args, **kwargs: P.kwargs) -> T:
            try:
                return method(storage, *args, **kwargs)
            except StorageError:
                raise
            except OSError as error:
                raise storage_error(storage.uri, error, what) from error

        return telling

    return of


class FileStore:
    """Files under one root.

    Where the storage is full, away or not to be written, its methods raise StorageError.
    """

    def __init__(self, uri: str) -> None:
        """`uri`: a local path or a URI that pyarrow.fs reads. Raises InputError if it is neither.

        Raises StorageError where an object store does not answer, or refuses this process.
        """
        if not uri.strip("/ ") or re.match(r"(s3|gs):(?!//[^/])", uri):
            raise InputError("--storage", None, f"{uri!r} names no folder or bucket")
        if re.match(r"s3://[^/?]*@", uri):
            problem = "keys stand in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, not in the URI"
            raise InputError("--storage", None, problem)
        self.uri = uri if "://" in uri else str(Path(uri).expanduser().absolute())
        try:
            self._fs, self._root = fs.FileSystem.from_uri(self.uri)
            if isinstance(self._fs, fs.S3FileSystem):
                self._fs = _patient(self._fs)
                self._fs.get_file_info(self._root)  # that it is there, and open to this process
        except ValueError as error:
            raise InputError(
                "--storage", None, f"{uri!r}: {' '.join(str(error).split())}"
            ) from None
        except OSError as error:
            raise storage_error(self.uri, error, "read") from error
        self.is_local = isinstance(self._fs, fs.LocalFileSystem)
        if self.is_local:
            root = Path(self._root)
            nearest = next(place for place in (root, *root.parents) if place.exists())
            if not nearest.is_dir():
                raise InputError("--storage", None, f"{nearest} is a file, not a folder")
        self._was_there = self.is_local and Path(self._root).is_dir()

    def path(self, *parts: str) -> str:
        return "/".join((self._root, *parts))

    def shown(self, *parts: str) -> str:
        """The path as a person gives it: with its s3:// or gs://."""
        scheme, separator, _ = self.uri.partition("://")
        return f"{scheme}://{self.path(*parts)}" if separator else self.path(*parts)

    def _is_there(self) -> None:
        """Raises OSError where the root was there and is not any more: nothing makes it anew."""
        if self.is_local and not Path(self._root).is_dir():
            if self._was_there:
                raise OSError("it is gone: unmounted, or deleted")
        else:
            self._was_there = True

    @wrap_storage_errors("read")
    def read(self, path: str) -> bytes | None:
        """The file's content, or None where there is no such file."""
        try:
            with self._fs.open_input_file(self.path(path)) as stream:
                return stream.read()
        except FileNotFoundError:
            self._is_there()
            return None

    @wrap_storage_errors("read")
    def exists(self, path: str) -> bool:
        """Whether there is a file, or a folder with something in it."""
        if self._fs.get_file_info(self.path(path)).type != fs.FileType.NotFound:
            return True
        self._is_there()
        return False

    @wrap_storage_errors("written")
    def write(self, path: str, content: bytes) -> None:
        """Replaces the file atomically."""
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
        raise OSError(f"{path} is written and deleted at once")

    @cached_property
    def _conditional_store(self) -> S3Store | GCSStore:
        return conditional_store(self._fs, self._root)

    def _local_draft(self, path: str, content: bytes) -> Path:
        target = Path(self.path(path))
        self._is_there()
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
        """The file of a local storage, open for appending.

        Whoever logs was sent by a driver that has written there: nothing makes the root anew.
        """
        self._was_there = True
        self._is_there()
        file = Path(self.path(path))
        file.parent.mkdir(parents=True, exist_ok=True)
        return file.open("ab", buffering=0)

    def check_writable(self) -> None:
        """Raises StorageError where nothing can be written."""
        probe = f".probe-{uuid.uuid4().hex}"
        self.write(probe, b"an empty file finds place on a full disk")
        self.delete(probe)

    @wrap_storage_errors("written")
    def delete(self, path: str) -> None:
        """Deletes the file if it is there."""
        with suppress(FileNotFoundError):
            self._fs.delete_file(self.path(path))

    @wrap_storage_errors("written")
    def delete_folder(self, path: str) -> None:
        """Deletes the folder with all that is in it, if it is there."""
        with suppress(FileNotFoundError):
            self._fs.delete_dir(self.path(path))

    @wrap_storage_errors("read")
    def folders(self, path: str) -> set[str]:
        """Names of the folders directly below `path`; empty where `path` is not there."""
        infos = self._listed(path)
        return {info.base_name for info in infos if info.type == fs.FileType.Directory}

    @wrap_storage_errors("read")
    def files(self, path: str) -> dict[str, int]:
        """Names and bytes of the files directly below `path`; empty where `path` is not there."""
        infos = self._listed(path)
        return {info.base_name: info.size for info in infos if info.type == fs.FileType.File}

    def _listed(self, path: str) -> list[fs.FileInfo]:
        infos = self._fs.get_file_info(fs.FileSelector(self.path(path), allow_not_found=True))
        if not infos:
            self._is_there()
        return infos


def _patient(found: fs.S3FileSystem) -> fs.S3FileSystem:
    """The same, which tries a request for 26 s; one that a URI makes gives up after 6 s."""
    _, (options,) = found.__reduce__()
    return fs.S3FileSystem(**options, retry_strategy=fs.AwsDefaultS3RetryStrategy(max_attempts=10))
