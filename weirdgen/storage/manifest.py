"""Manifests: what an artifact is, who made it of what, and whether its files are still those."""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from weirdgen.storage.cache import node_cache
from weirdgen.storage.fingerprint import canonical

MANIFEST, MANIFEST_SCHEMA = "manifest.json", 1
_LARGE = 2**26
"""Bytes of a payload beyond which it is hashed once on a node; others are each time they are read."""


@dataclass(frozen=True)
class Manifest:
    """The proof that an artifact is there, and its provenance."""

    stage: str
    fingerprint: str
    record: dict[str, Any]
    attempt: str
    """The folder that holds the payload."""
    outputs: dict[str, str]
    """Path below the attempt -> sha256."""
    inputs: dict[str, str]
    """Fingerprint of each consumed step -> the digest it had then."""
    commit: str | None
    versions: dict[str, str]
    hardware: dict[str, Any]
    wall_s: float
    attempts: int
    notes: dict[str, Any] = field(default_factory=dict)
    """What the step reports of itself; never part of its identity."""
    schema: int = MANIFEST_SCHEMA

    @cached_property
    def digest(self) -> str:
        """The sha256 of what the artifact holds, whichever attempt made it."""
        return hashlib.sha256(canonical(self.outputs)).hexdigest()


def read_manifest(content: bytes) -> Manifest:
    """Raises ValueError, which tells why, for what is no manifest or none to be trusted."""
    told = json.loads(content)
    if not isinstance(told, dict):
        raise ValueError("it is no object")
    if told.get("schema") != MANIFEST_SCHEMA:
        raise ValueError(f"its schema is {told.get('schema')!r}, not {MANIFEST_SCHEMA}")
    known = {each.name for each in fields(Manifest)}
    if other := sorted(known.symmetric_difference(told) - {"notes"}):
        raise ValueError(f"lacks or adds {', '.join(other)}")
    manifest = Manifest(**told)
    if not (isinstance(manifest.fingerprint, str) and isinstance(manifest.record, dict)):
        raise ValueError("its fingerprint or record is none")
    if not re.fullmatch(r"attempt-[0-9a-f]+", str(manifest.attempt)):
        raise ValueError(f"it names the attempt {manifest.attempt!r}")
    for name, of in (("outputs", manifest.outputs), ("inputs", manifest.inputs)):
        if not (isinstance(of, dict) and all(isinstance(each, str) for each in of.values())):
            raise ValueError(f"its {name} are not names with digests")
    if not isinstance(manifest.notes, dict):
        raise ValueError("its notes are no object")
    for path in map(PurePosixPath, manifest.outputs):
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"it names {str(path)!r}, outside of its folder")
    return manifest


def damage(folder: Path, manifest: Manifest) -> str | None:
    """What is wrong with a payload, if anything: each file must have the sha256 in the manifest.

    A large payload whose files look untouched since they were hashed on this node is not hashed
    again.
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
