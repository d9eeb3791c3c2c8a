"""Manifests: what an artifact is, what made it from what, and whether its files are intact."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from weirdgen.config.base import StrictModel
from weirdgen.storage.cache import node_cache
from weirdgen.storage.fingerprint import canonical

MANIFEST = "manifest.json"
_LARGE = 2**26
"""Payloads of more bytes are hashed once on a node, smaller ones at every read."""


def _inside(path: str) -> str:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts:
        raise ValueError(f"{path!r} is outside of its folder")
    return path


class Manifest(StrictModel):
    """The proof that an artifact is there, and its provenance."""

    stage: str
    fingerprint: str
    record: dict[str, Any]
    attempt: str = Field(pattern=r"^attempt-[0-9a-f]+$")
    """The folder that holds the payload."""
    outputs: dict[Annotated[str, AfterValidator(_inside)], str]
    """Path below the attempt -> sha256."""
    inputs: dict[str, str]
    """Fingerprint of each consumed step -> the digest it had then."""
    commit: str | None
    versions: dict[str, str]
    hardware: dict[str, Any]
    wall_s: float
    attempts: int
    notes: dict[str, Any] = Field(default_factory=dict)
    """What the step reports of itself; never part of its identity."""
    schema_version: Literal[1] = 1

    @cached_property
    def digest(self) -> str:
        """The sha256 of the artifact's content, whichever attempt made it."""
        return hashlib.sha256(canonical(self.outputs)).hexdigest()


def read_manifest(content: bytes) -> Manifest:
    """Read a manifest. Raises ValueError, with the first problem, where it cannot be trusted."""
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None


def damage(folder: Path, manifest: Manifest) -> str | None:
    """Return what is wrong with a payload, or None: each file must have the manifest's sha256.

    A large payload is not hashed again while size, time and inode of its files are unchanged.
    """
    files = {name: folder / name for name in manifest.outputs}
    if absent := [name for name, file in files.items() if not file.is_file()]:
        return f"{absent[0]} is missing"
    found = {name: file.stat() for name, file in files.items()}
    note, seen = node_cache() / "hashed" / f"{manifest.digest[:16]}-{manifest.attempt}", None
    if sum(stat.st_size for stat in found.values()) > _LARGE:
        stamps = {name: [s.st_size, s.st_mtime_ns, s.st_ino] for name, s in found.items()}
        seen = json.dumps([str(folder), stamps], sort_keys=True)
        with suppress(OSError):
            if note.read_text() == seen:
                return None
    for name, file in files.items():
        if sha256_of(file) != manifest.outputs[name]:
            return f"{name} ({found[name].st_size:,} bytes) is not what was committed"
    if seen is not None:
        with suppress(OSError):  # then it is hashed again
            note.parent.mkdir(parents=True, exist_ok=True)
            note.write_text(seen)
    return None


def sha256_of(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
