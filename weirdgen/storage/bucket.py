"""Connect to a bucket of S3 or Google Cloud Storage.

Credentials come from the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`,
`GOOGLE_APPLICATION_CREDENTIALS`, ...) or the machine's role.
"""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

import obstore
from obstore.store import GCSStore, S3Store

if TYPE_CHECKING:
    from obstore.store import ClientConfig, ObjectStore, RetryConfig, S3Config

RETRY_FOR = timedelta(seconds=26)


def open_bucket(uri: str) -> ObjectStore:
    """Connect to what an `s3://` or `gs://` URI names.

    A query `?endpoint_override=HOST:PORT&scheme=http` names an S3 server of one's own. Raises
    ValueError for any other URI, OSError or BaseError where the bucket cannot be read.
    """
    parts = urlsplit(uri)
    if parts.scheme not in ("s3", "gs"):
        raise ValueError("must be a folder, s3:// or gs://")
    prefix = unquote(parts.path).strip("/") or None
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
    if parts.scheme == "gs":
        store = GCSStore(parts.netloc, prefix=prefix, client_options=client, retry_config=retry)
    else:
        config = _s3_config(parts.netloc, parse_qs(parts.query, strict_parsing=bool(parts.query)))
        client["allow_http"] = config.get("endpoint", "").startswith("http://")
        store = S3Store(
            parts.netloc, prefix=prefix, config=config, client_options=client, retry_config=retry
        )
    obstore.list_with_delimiter(store)
    return store


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
