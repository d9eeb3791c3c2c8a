"""Files in a local folder, or in an object store by `s3://` or `gs://`."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import unquote

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError

from weirdgen.errors import InputError, StorageError
from weirdgen.storage.bucket import open_bucket
from weirdgen.storage.disk_errors import storage_error

if TYPE_CHECKING:
    from obstore import UpdateVersion
    from obstore.store import ObjectStore

_CONFLICTS = 5
"""Attempts at a conditional put that is refused although no object exists."""


class FileStore:
    """Files under one root.

    Its methods raise StorageError where the storage is full, unreachable or not writable.
    """

    def __init__(self, uri: str) -> None:
        """`uri`: a local path, `file://`, `s3://` or `gs://`. Raises InputError for anything else.

        Raises StorageError where an object store does not answer or refuses access.
        """
        if not uri.strip("/ ") or re.match(r"(s3|gs):(?!//[^/])", uri):
            raise InputError("--storage", None, f"{uri!r} names no folder or bucket")
        if re.match(r"s3://[^/?]*@", uri):
            problem = "put keys into AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, not into the URI"
            raise InputError("--storage", None, problem)
        scheme, separator, rest = uri.partition("://")
        self.uri = uri if separator else str(Path(uri).expanduser().absolute())
        self._root = unquote(rest.partition("?")[0]).rstrip("/") if separator else self.uri
        self._objects: ObjectStore | None = None
        if separator and scheme != "file":
            try:
                with self.storage_errors("read"):
                    self._objects = open_bucket(self.uri)
            except ValueError as error:
                raise InputError("--storage", None, f"{self.uri!r}: {error}") from None
        else:
            root = Path(self._root)
            existing = next(parent for parent in (root, *root.parents) if parent.exists())
            if not existing.is_dir():
                raise InputError("--storage", None, f"{existing} is a file, not a folder")
        self._existed = self.is_local and Path(self._root).is_dir()

    @property
    def is_local(self) -> bool:
        return self._objects is None

    def path(self, *parts: str) -> str:
        return "/".join((self._root, *parts))

    def display_path(self, *parts: str) -> str:
        """Return the path as a user writes it: with its s3:// or gs://."""
        scheme, separator, _ = self.uri.partition("://")
        return f"{scheme}://{self.path(*parts)}" if separator else self.path(*parts)

    @contextmanager
    def storage_errors(self, what: str) -> Iterator[None]:
        """Raise StorageErrors for OSErrors, and obstore's errors, inside.

        `what` the storage cannot be: `read` or `written`.
        """
        try:
            yield
        except StorageError:
            raise
        except (OSError, BaseError) as error:
            raise storage_error(self.uri, error, what) from error

    def _check_root(self) -> None:
        """Raise OSError where the root has disappeared: nothing may recreate it."""
        if self.is_local and not Path(self._root).is_dir():
            if self._existed:
                raise OSError("it is gone: unmounted, or deleted")
        else:
            self._existed = True

    def read(self, path: str) -> bytes | None:
        """Return the file's content, or None where there is no such file."""
        with self.storage_errors("read"):
            try:
                if self._objects:
                    return bytes(obstore.get(self._objects, path).bytes())
                return Path(self.path(path)).read_bytes()
            except FileNotFoundError:
                self._check_root()
                return None

    def size(self, path: str) -> int | None:
        """Return the bytes of an object store's file, or None where there is no such file."""
        with self.storage_errors("read"), suppress(FileNotFoundError):
            return obstore.head(self._remote, path)["size"]
        return None

    def read_part(self, path: str, start: int, end: int) -> bytes:
        """Return the bytes [start, end) of an object store's file."""
        with self.storage_errors("read"):
            return bytes(obstore.get_range(self._remote, path, start=start, end=end))

    def upload(self, path: str, file: Path) -> None:
        """Replace an object store's file by a local one."""
        with self.storage_errors("written"):
            obstore.put(self._remote, path, file)

    @property
    def _remote(self) -> ObjectStore:
        assert self._objects is not None
        return self._objects

    def exists(self, path: str) -> bool:
        """Return whether there is a file, or a folder that is not empty."""
        with self.storage_errors("read"):
            if self._objects:
                try:
                    return bool(obstore.head(self._objects, path))
                except FileNotFoundError:
                    return any(obstore.list(self._objects, path))
            if Path(self.path(path)).exists():
                return True
            self._check_root()
            return False

    def write(self, path: str, content: bytes) -> None:
        """Replace the file atomically."""
        with self.storage_errors("written"):
            if self._objects:
                obstore.put(self._objects, path, content)
            else:
                self._local_draft(path, content).replace(self.path(path))

    def swap(self, path: str, old: bytes, new: bytes) -> bool:
        """Replace the file if its content is `old`; False where it is not, or there is no file.

        In an object store nothing is written in between. A local file may be.
        """
        if self._objects is None:
            if same := self.read(path) == old:
                self.write(path, new)
            return same
        with self.storage_errors("written"), suppress(FileNotFoundError, PreconditionError):
            found = obstore.get(self._objects, path)
            if bytes(found.bytes()) == old:
                tags = {key: tag for key in ("e_tag", "version") if (tag := found.meta.get(key))}
                mode = cast("UpdateVersion", tags)  # obstore takes no tag that is None
                obstore.put(self._objects, path, new, mode=mode, use_multipart=False)
                return True
        return False

    def write_first(self, path: str, content: bytes) -> bool:
        """Write the file unless it exists; False where another writer was first.

        Of writers at once exactly one wins, if no two write the same content.
        """
        with self.storage_errors("written"):
            if self._objects:
                return self._create_object(self._objects, path, content)
            draft = self._local_draft(path, content)
            try:
                os.link(draft, self.path(path))
            except FileExistsError:
                return False
            finally:
                with suppress(OSError):
                    draft.unlink()
            return True

    def _create_object(self, objects: ObjectStore, path: str, content: bytes) -> bool:
        for _ in range(_CONFLICTS):
            with suppress(AlreadyExistsError):
                obstore.put(objects, path, content, mode="create", use_multipart=False)
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

    def open_log(self, path: str) -> FileIO:
        """Open a file of a local storage for appending.

        The driver has written to the root before, so a missing root is an error.
        """
        with self.storage_errors("written"):
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

    def delete(self, path: str) -> None:
        """Delete the file if it exists."""
        with self.storage_errors("written"), suppress(FileNotFoundError):
            if self._objects:
                obstore.delete(self._objects, path)
            else:
                Path(self.path(path)).unlink()

    def delete_folder(self, path: str) -> None:
        """Delete the folder and its content, if it exists."""
        with self.storage_errors("written"), suppress(FileNotFoundError):
            if self._objects:
                found = [
                    each["path"] for some in obstore.list(self._objects, path) for each in some
                ]
                obstore.delete(self._objects, found)
            else:
                shutil.rmtree(self.path(path))

    def folders(self, path: str) -> set[str]:
        """Return the names of the folders directly below `path`; empty where it does not exist."""
        return self._list(path)[0]

    def files(self, path: str) -> dict[str, int]:
        """Return name -> size in bytes of the files directly below `path`."""
        return self._list(path)[1]

    def _list(self, path: str) -> tuple[set[str], dict[str, int]]:
        with self.storage_errors("read"):
            if self._objects:
                found = obstore.list_with_delimiter(self._objects, path)
                folders = {each.rpartition("/")[2] for each in found["common_prefixes"]}
                return folders, {Path(each["path"]).name: each["size"] for each in found["objects"]}
            with suppress(FileNotFoundError):
                entries = [*os.scandir(self.path(path))]
                sizes = {each.name: each.stat().st_size for each in entries if not each.is_dir()}
                return {each.name for each in entries if each.is_dir()}, sizes
            self._check_root()
            return set(), {}
