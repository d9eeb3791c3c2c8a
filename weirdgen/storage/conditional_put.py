"""Create an object only where none is: the conditional put of S3 and Google Cloud Storage.

pyarrow.fs has none, so this one request is made by obstore. Its credentials come from the
environment (`AWS_ACCESS_KEY_ID`, `GOOGLE_APPLICATION_CREDENTIALS`, ...) or the machine's role.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from pyarrow import fs

if TYPE_CHECKING:
    from obstore.store import GCSStore, S3Config, S3Store

_RETRY_FOR = timedelta(seconds=26)


def conditional_store(found: fs.FileSystem, root: str) -> S3Store | GCSStore:
    """Connect to the bucket and prefix `root` that `found` reads.

    Raises OSError for a kind of storage that has no conditional put here.
    """
    from obstore.store import GCSStore, S3Store

    bucket, _, prefix = root.partition("/")
    if isinstance(found, fs.GcsFileSystem):
        return GCSStore(bucket, prefix=prefix, retry_config={"retry_timeout": _RETRY_FOR})
    if not isinstance(found, fs.S3FileSystem):
        raise OSError("only s3:// and gs:// know a conditional put")
    _, (options,) = found.__reduce__()
    endpoint: str | None = options["endpoint_override"] or None
    if endpoint and "://" not in endpoint:
        endpoint = f"{options['scheme']}://{endpoint}"
    config: S3Config = {"region": found.region}
    if endpoint:
        config["endpoint"] = endpoint
    return S3Store(
        bucket,
        prefix=prefix,
        config=config,
        client_options={"allow_http": bool(endpoint and endpoint.startswith("http://"))},
        retry_config={"retry_timeout": _RETRY_FOR},
    )


def create(store: S3Store | GCSStore, key: str, content: bytes) -> bool:
    """Create the object `key`; False where there is one. Raises OSError where neither is known."""
    import obstore
    from obstore.exceptions import AlreadyExistsError, BaseError

    try:
        obstore.put(store, key, content, mode="create", use_multipart=False)
    except AlreadyExistsError:
        return False
    except BaseError as error:
        raise OSError(str(error).partition("\n")[0]) from error
    return True
