"""Objects of a bucket in S3 or Google Cloud Storage, by obstore.

Credentials come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`,
`GOOGLE_APPLICATION_CREDENTIALS`, ...) or the machine's role.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import parse_qs, urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, PreconditionError
from obstore.store import GCSStore, S3Store

if TYPE_CHECKING:
    from obstore import UpdateVersion
    from obstore.store import ClientConfig, ObjectStore, RetryConfig, S3Config

_PART = 2**24
"""Bytes of a large object that are fetched at a time."""
_XML = re.compile(r"<\?xml.*<Code>(.*)</Code>.*<Message>(.*)</Message>.*", re.DOTALL)
RETRY_FOR = timedelta(seconds=26)


def open_bucket(uri: str) -> Bucket:
    """Connect to what an `s3://` or `gs://` URI names.

    A query `?endpoint_override=HOST:PORT&scheme=http` names an S3 server of one's own. Raises
    ValueError for any other URI, OSError where the bucket does not answer or refuses access.
    """
    parts = urlsplit(uri)
    if parts.scheme not in ("s3", "gs"):
        raise ValueError("must be a folder, s3:// or gs://")
    prefix = parts.path.strip("/") or None
    retry: RetryConfig = {
        "retry_timeout": RETRY_FOR,
        "max_retries": 100,
        "backoff": {
            "init_backoff": timedelta(seconds=0.1),
            "max_backoff": timedelta(seconds=2),
            "base": 2,
        },
    }
    client: ClientConfig = {"timeout": timedelta(seconds=60)}
    with _os_errors():
        if parts.scheme == "gs":
            store = GCSStore(parts.netloc, prefix=prefix, client_options=client, retry_config=retry)
        else:
            config = _s3_config(
                parts.netloc, parse_qs(parts.query, strict_parsing=bool(parts.query))
            )
            client["allow_http"] = config.get("endpoint", "").startswith("http://")
            store = S3Store(
                parts.netloc,
                prefix=prefix,
                config=config,
                client_options=client,
                retry_config=retry,
            )
    bucket = Bucket(store)
    bucket.folders_and_files("")
    return bucket


def _s3_config(bucket: str, query: dict[str, list[str]]) -> S3Config:
    (endpoint,) = query.pop("endpoint_override", [os.environ.get("AWS_ENDPOINT_URL", "")])
    (scheme,) = query.pop("scheme", ["https"])
    if query:
        raise ValueError(f"unknown parameters: {', '.join(query)}")
    if endpoint:
        return {"endpoint": endpoint if "://" in endpoint else f"{scheme}://{endpoint}"}
    if os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        return {}
    from pyarrow.fs import resolve_s3_region

    return {"region": resolve_s3_region(bucket)}


@contextmanager
def _os_errors() -> Iterator[None]:
    """Raise OSError for what obstore raises, with code and message of the server's reply."""
    try:
        yield
    except (BaseError, OSError) as error:
        kind = FileNotFoundError if isinstance(error, FileNotFoundError) else OSError
        text = str(error).partition("\n\nDebug source")[0]
        raise kind(_XML.sub(r"\1, \2", text)) from error


class Bucket:
    """Objects below one prefix; their keys are paths with slashes.

    Methods raise OSError where the bucket does not answer or refuses, FileNotFoundError where there
    is no such object.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @_os_errors()
    def read(self, key: str) -> bytes:
        return bytes(obstore.get(self._store, key).bytes())

    def parts(self, key: str) -> Iterator[bytes]:
        """Yield the object's content in parts."""
        with _os_errors():
            size = obstore.head(self._store, key)["size"]
        for start in range(0, size, _PART):
            with _os_errors():
                part = obstore.get_range(
                    self._store, key, start=start, end=min(start + _PART, size)
                )
            yield bytes(part)

    @_os_errors()
    def write(self, key: str, content: bytes | Path) -> None:
        """Replace the object by these bytes, or by a file's content."""
        obstore.put(self._store, key, content)

    @_os_errors()
    def create(self, key: str, content: bytes) -> bool:
        """Write the object unless it exists; of writers at once exactly one gets True."""
        try:
            obstore.put(self._store, key, content, mode="create", use_multipart=False)
        except AlreadyExistsError:
            return False
        return True

    @_os_errors()
    def swap(self, key: str, old: bytes, new: bytes) -> bool:
        """Replace the object if its content is `old`; no other write comes between."""
        found = obstore.get(self._store, key)
        if bytes(found.bytes()) != old:
            return False
        tags = {name: value for name in ("e_tag", "version") if (value := found.meta.get(name))}
        same = cast("UpdateVersion", tags)  # obstore takes no tag that is None
        try:
            obstore.put(self._store, key, new, mode=same, use_multipart=False)
        except PreconditionError:
            return False
        return True

    @_os_errors()
    def exists(self, key: str) -> bool:
        """Return whether there is an object of this key, or any below it."""
        try:
            obstore.head(self._store, key)
        except FileNotFoundError:
            return any(obstore.list(self._store, key))
        return True

    @_os_errors()
    def delete(self, key: str) -> None:
        """Delete the object if it exists."""
        try:
            obstore.delete(self._store, key)
        except FileNotFoundError:
            return

    @_os_errors()
    def delete_below(self, key: str) -> None:
        """Delete all objects below this key."""
        found = [each["path"] for some in obstore.list(self._store, key) for each in some]
        obstore.delete(self._store, found)

    @_os_errors()
    def folders_and_files(self, key: str) -> tuple[set[str], dict[str, int]]:
        """Return the names directly below `key`: those with objects below them, and name -> size."""
        found = obstore.list_with_delimiter(self._store, key)
        folders = {each.rpartition("/")[2] for each in found["common_prefixes"]}
        return folders, {each["path"].rpartition("/")[2]: each["size"] for each in found["objects"]}
