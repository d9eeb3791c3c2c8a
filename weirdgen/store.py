"""Where artifacts live: a local folder, or an object store by `s3://` or `gs://` (pyarrow.fs).

    <root>/artifacts/<stage>/<name>-<fingerprint12>[/<range>]/manifest.json
                                                             /attempt-<uuid>/...   the payload
                                                             /state-<update>-...   of a training on its way
    <root>/<study>/...                                                         what people read

An artifact exists once its manifest does, and the manifest is written last. Nothing relies on a
lock: two attempts at one step each have a folder of their own, and the first manifest wins.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from pyarrow import fs

from weirdgen.cache import node_cache
from weirdgen.errors import InputError, StepError, WeirdgenError
from weirdgen.fingerprint import canonical, fingerprint

MANIFEST, MANIFEST_SCHEMA = "manifest.json", 1


@dataclass(frozen=True)
class Step:
    """One thing to be made: what it is, apart from how and where it runs."""

    stage: str
    """Its kind, and its folder under artifacts/."""
    name: str
    """For people; derived from the record, so that equal steps have equal folders."""
    record: dict[str, Any]
    """Everything that decides the content; `inputs` maps each input's role to its fingerprint."""
    parent: Step | None = None
    """The step of which this is one range, for a step that grows."""

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.record)

    @property
    def inputs(self) -> dict[str, str]:
        """Role -> fingerprint of the steps that this one consumes."""
        return self.record["inputs"]

    @property
    def folder(self) -> str:
        """Its folder's own name."""
        return self.name if self.parent else f"{self.name}-{self.fingerprint[:12]}"

    @property
    def key(self) -> str:
        """Its folder below artifacts/, which no other step has."""
        return f"{self.parent.key if self.parent else self.stage}/{self.folder}"


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


class Store:
    """Artifacts and study folders under one root."""

    def __init__(self, uri: str) -> None:
        """`uri`: a local path or a URI that pyarrow.fs reads. Raises InputError if it cannot."""
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
        except (ValueError, OSError) as error:
            raise InputError(
                "--storage", None, f"{uri!r}: {' '.join(str(error).split())}"
            ) from None
        self.is_local = isinstance(self._fs, fs.LocalFileSystem)
        if self.is_local:
            root = Path(self._root)
            nearest = next(place for place in (root, *root.parents) if place.exists())
            if not nearest.is_dir():
                raise InputError("--storage", None, f"{nearest} is a file, not a folder")

    # Files by path, relative to the root.

    def path(self, *parts: str) -> str:
        return "/".join((self._root, *parts))

    def read(self, path: str) -> bytes | None:
        """The file's content, or None where there is no such file."""
        try:
            with self._fs.open_input_file(self.path(path)) as stream:
                return stream.read()
        except FileNotFoundError:
            return None

    def exists(self, path: str) -> bool:
        """Whether there is a file, or a folder with something in it."""
        return self._fs.get_file_info(self.path(path)).type != fs.FileType.NotFound

    def write(self, path: str, content: bytes) -> None:
        """Replaces the file atomically."""
        if not self.is_local:
            with self._fs.open_output_stream(self.path(path)) as stream:
                stream.write(content)
            return
        self._local_draft(path, content).replace(self.path(path))

    def _write_first(self, path: str, content: bytes) -> bool:
        """Writes the file unless it is there; False where another was first."""
        if self.is_local:
            draft = self._local_draft(path, content)
            try:
                os.link(draft, self.path(path))
            except FileExistsError:
                return False
            finally:
                draft.unlink()
            return True
        if self.exists(path):
            return False
        self.write(path, content)
        return True

    def _local_draft(self, path: str, content: bytes) -> Path:
        target = Path(self.path(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            dir=target.parent, prefix=".draft-", delete=False
        ) as draft:
            draft.write(content)
            draft.flush()
            os.fsync(draft.fileno())
        written = Path(draft.name)
        written.chmod(0o644)
        return written

    def check_writable(self) -> None:
        """Raises InputError where nothing can be written."""
        probe = f".probe-{uuid.uuid4().hex}"
        try:
            self.write(probe, b"")
            self.delete(probe)
        except OSError as error:
            reason = error.strerror or " ".join(str(error).split())
            problem = f"{self.uri} cannot be written ({reason})"
            raise InputError("--storage", None, problem) from None

    def delete(self, path: str) -> None:
        """Deletes the file if it is there."""
        with suppress(FileNotFoundError):
            self._fs.delete_file(self.path(path))

    def delete_folder(self, path: str) -> None:
        """Deletes the folder with all that is in it, if it is there."""
        with suppress(FileNotFoundError):
            self._fs.delete_dir(self.path(path))

    def folders(self, path: str) -> set[str]:
        """Names of the folders directly below `path`; empty where `path` is not there."""
        selector = fs.FileSelector(self.path(path), allow_not_found=True)
        infos = self._fs.get_file_info(selector)
        return {info.base_name for info in infos if info.type == fs.FileType.Directory}

    def files(self, path: str) -> dict[str, int]:
        """Names and bytes of the files directly below `path`; empty where `path` is not there."""
        selector = fs.FileSelector(self.path(path), allow_not_found=True)
        infos = self._fs.get_file_info(selector)
        return {info.base_name: info.size for info in infos if info.type == fs.FileType.File}

    # Artifacts.

    def manifest(self, step: Step) -> Manifest | None:
        """The step's manifest, or None where it was never committed.

        Raises WeirdgenError when the folder holds another step's manifest, or none that is readable.
        """
        manifest = self._manifest_at(step.key)
        if manifest is not None and manifest.fingerprint != step.fingerprint:
            path = self.path("artifacts", step.key, MANIFEST)
            raise WeirdgenError(f"{path}: is of the step {manifest.fingerprint}")
        return manifest

    def _manifest_at(self, key: str) -> Manifest | None:
        path = f"artifacts/{key}/{MANIFEST}"
        content = self.read(path)
        if content is None:
            return None
        try:
            manifest = Manifest(**json.loads(content))
        except (ValueError, TypeError) as error:
            raise WeirdgenError(
                f"{self.path(path)}: not a readable manifest ({error}); delete its folder"
            ) from None
        if not re.fullmatch(r"attempt-[0-9a-f]+", str(manifest.attempt)):
            raise WeirdgenError(f"{self.path(path)}: names the attempt {manifest.attempt!r}")
        return manifest

    def find(self, stage: str, fingerprint: str) -> list[tuple[Step, Manifest]]:
        """The committed steps of a stage whose fingerprint begins with `fingerprint`."""
        found = []
        for folder in sorted(self.folders(f"artifacts/{stage}")):
            name, _, short = folder.rpartition("-")
            if not short.startswith(fingerprint[:12]):
                continue
            manifest = self._manifest_at(f"{stage}/{folder}")
            if manifest is not None and manifest.fingerprint.startswith(fingerprint):
                found.append((Step(stage, name, manifest.record), manifest))
        return found

    def payload(self, step: Step, manifest: Manifest) -> Path:
        """The committed payload as a folder on this node, fetched once from a remote store.

        Raises StepError when it was pruned.
        """
        remote = self.path("artifacts", step.key, manifest.attempt)
        if self._fs.get_file_info(remote).type != fs.FileType.Directory:
            raise StepError(f"{step.key}: its payload was pruned; delete its folder to remake it")
        if self.is_local:
            return Path(remote)
        cache = node_cache() / manifest.digest[:16] / manifest.attempt
        if not cache.is_dir():
            draft = Path(tempfile.mkdtemp(dir=_made(cache.parent), prefix=".fetch-"))
            for name in manifest.outputs:
                if not (draft / name).resolve().is_relative_to(draft.resolve()):
                    raise WeirdgenError(f"{step.key}: its manifest names {name!r}")
                _made((draft / name).parent)
                remote_file = self._fs.open_input_stream(f"{remote}/{name}")
                with remote_file as source, (draft / name).open("wb") as sink:
                    shutil.copyfileobj(source, sink)
            try:
                draft.rename(cache)
            except OSError:  # another process of this node was first
                shutil.rmtree(draft)
        return cache

    @contextmanager
    def attempt(self, step: Step) -> Iterator[tuple[str, Path]]:
        """A new attempt's name and the empty local folder to make its payload in.

        What an attempt leaves uncommitted is not part of any artifact; on an error it is deleted.
        """
        name = f"attempt-{uuid.uuid4().hex}"
        folder = (
            Path(self.path("artifacts", step.key, name))
            if self.is_local
            else Path(tempfile.mkdtemp(dir=_made(node_cache()))) / name
        )
        folder.mkdir(parents=True)
        try:
            yield name, folder
        except BaseException:
            shutil.rmtree(folder if self.is_local else folder.parent, ignore_errors=True)
            raise
        if not self.is_local:
            shutil.rmtree(folder.parent, ignore_errors=True)

    def commit(
        self,
        step: Step,
        attempt: tuple[str, Path],
        *,
        inputs: Mapping[str, str],
        provenance: Mapping[str, Any],
        replacing: Manifest | None = None,
    ) -> Manifest:
        """Makes the attempt the artifact, unless another attempt was first: then that one stands.

        `replacing` is the stale manifest that this commit overwrites, if there is one.
        """
        name, folder = attempt
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        manifest = Manifest(
            stage=step.stage,
            fingerprint=step.fingerprint,
            record=step.record,
            attempt=name,
            outputs={str(file.relative_to(folder)): _sha256(file) for file in files},
            inputs=dict(inputs),
            **provenance,
        )
        if not self.is_local:
            fs.copy_files(
                str(folder),
                self.path("artifacts", step.key, name),
                source_filesystem=fs.LocalFileSystem(),
                destination_filesystem=self._fs,
            )
        path = f"artifacts/{step.key}/{MANIFEST}"
        content = json.dumps(asdict(manifest), indent=1, sort_keys=True).encode()
        if replacing is not None and self.manifest(step) == replacing:
            self.write(path, content)
            return manifest
        if self._write_first(path, content):
            return manifest
        first = self.manifest(step)
        assert first is not None
        if self.is_local:
            shutil.rmtree(folder)
        return first


def is_attempt(folder: str) -> bool:
    """Whether a folder below an artifact holds one attempt's payload, committed or not."""
    return folder.startswith("attempt-") and not folder.endswith("-trackers")


def _patient(found: fs.S3FileSystem) -> fs.S3FileSystem:
    """The same, which tries a request for 26 s; one that a URI makes gives up after 6 s."""
    _, (options,) = found.__reduce__()
    return fs.S3FileSystem(**options, retry_strategy=fs.AwsDefaultS3RetryStrategy(max_attempts=10))


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
