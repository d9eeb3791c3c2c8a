"""The artifact store: committed steps in a local folder or an object store (`s3://`, `gs://`).

    <root>/artifacts/<stage>/<name>-<fingerprint12>[/<range>]/manifest.json
                                                             /attempt-<uuid>/...   the payload
                                                             /state-<update>-...   a checkpoint, one file
    <root>/<study>/...                                                         tables, reports, logs

An artifact exists once its manifest does, and the manifest is written last. There are no locks: two
attempts at one step have a folder each, and the first manifest wins.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from weirdgen.errors import DamagedError, StorageError, WeirdgenError
from weirdgen.storage.cache import node_cache, scratch
from weirdgen.storage.disk_errors import full_disk, node_disk_error, on_node_disk, storage_error
from weirdgen.storage.filesystem import FileStore
from weirdgen.storage.fingerprint import fingerprint
from weirdgen.storage.manifest import MANIFEST, Manifest, damage, read_manifest, sha256_of

_PART = 2**24
"""Bytes of a large remote file that are read at a time."""


@dataclass(frozen=True)
class Step:
    """One unit of work: what it makes, apart from how and where it runs."""

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


class ArtifactStore(FileStore):
    """Artifacts and study folders under one root."""

    def manifest(self, step: Step) -> Manifest | None:
        """Return the step's manifest, or None where the step was never committed.

        Raises DamagedError where the manifest is unreadable or another step's.
        """
        manifest = self._manifest_at(step.key)
        if manifest is not None and manifest.fingerprint != step.fingerprint:
            why = f"its {MANIFEST} is of another step, {manifest.fingerprint[:12]}"
            raise self._damaged(step.key, why)
        return manifest

    def _manifest_at(self, key: str) -> Manifest | None:
        content = self.read(f"artifacts/{key}/{MANIFEST}")
        if content is None:
            return None
        try:
            return read_manifest(content)
        except ValueError as error:
            raise self._damaged(key, f"its {MANIFEST} is not readable: {error}") from None

    def _damaged(self, key: str, why: str) -> DamagedError:
        return DamagedError(f"{self.display_path('artifacts', key)}: {why}; delete this folder")

    def find(self, stage: str, fingerprint: str) -> list[tuple[Step, Manifest]]:
        """Return the committed steps of a stage whose fingerprint begins with `fingerprint`."""
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
        """Return the committed payload as a folder on this node, fetched once from a remote store.

        Raises DamagedError where it was pruned or its files have changed, NodeDiskError where
        this node's disk cannot take them.
        """
        stored = f"artifacts/{step.key}/{manifest.attempt}"
        if self.is_local:
            self._check_kept(step, manifest)
            folder = Path(self.path(stored))
            with self.storage_errors("read"):
                why = damage(folder, manifest)
            if why:
                raise self._damaged(step.key, why)
            return folder
        cache = node_cache() / manifest.digest[:16] / manifest.attempt
        with on_node_disk(node_cache()):
            if cache.is_dir() and damage(cache, manifest) is None:
                return cache
            self._check_kept(step, manifest)
            with scratch() as draft:
                for name in manifest.outputs:
                    self._fetch(f"{stored}/{name}", draft / name)
                if why := damage(draft, manifest):
                    raise self._damaged(step.key, why)
                _move_into_cache(draft, cache, manifest.outputs)
        return cache

    def _check_kept(self, step: Step, manifest: Manifest) -> None:
        if not self.exists(f"artifacts/{step.key}/{manifest.attempt}"):
            raise self._damaged(step.key, "its payload was pruned")

    def _fetch(self, path: str, file: Path) -> None:
        """Fetch a file if it exists; where it does not, the payload counts as damaged."""
        if (size := self.size(path)) is None:
            return
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as sink:
            for start in range(0, size, _PART):
                sink.write(self.read_part(path, start, min(start + _PART, size)))

    @contextmanager
    def attempt(self, step: Step) -> Iterator[tuple[str, Path]]:
        """Yield a new attempt's name and the empty local folder for its payload.

        On an error the folder is deleted. Raises StorageError or NodeDiskError in place of an error
        that a disk or the storage caused.
        """
        name = f"attempt-{uuid.uuid4().hex}"
        with ExitStack() as stack:
            if self.is_local:
                folder = Path(self.path("artifacts", step.key, name))
            else:
                with on_node_disk(node_cache()):
                    folder = stack.enter_context(scratch()) / name
                    folder.mkdir()
            try:
                if self.is_local:
                    with self.storage_errors("written"):
                        self._check_root()
                        folder.mkdir(parents=True)
                yield name, folder
            except BaseException as error:
                fault = self._fault(error)
                if not self._may_be_committed(step, name):
                    shutil.rmtree(folder, ignore_errors=True)
                if fault is not None:
                    raise fault from error
                raise

    def _fault(self, error: BaseException) -> WeirdgenError | None:
        """Return the disk or storage error that caused `error`; None where the step itself did."""
        if isinstance(error, WeirdgenError) or not isinstance(error, Exception):
            return None
        if disk := full_disk(error, Path(self._root) if self.is_local else node_cache()):
            no_space = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if self.is_local and disk.stat().st_dev == Path(self._root).stat().st_dev:
                return storage_error(self.uri, no_space, "written")
            return node_disk_error(disk, no_space)
        if self.is_local:
            try:
                self.check_writable()
            except StorageError as away:
                return away
        return None

    def _may_be_committed(self, step: Step, name: str) -> bool:
        """Return whether the step's manifest may name this attempt; True if it cannot be read."""
        if not self.is_local:
            return False  # the folder is a local copy
        try:
            return name.encode() in (self.read(f"artifacts/{step.key}/{MANIFEST}") or b"")
        except StorageError:
            return True

    def commit(
        self,
        step: Step,
        attempt: tuple[str, Path],
        *,
        inputs: Mapping[str, str],
        provenance: Mapping[str, Any],
        replacing: Manifest | None = None,
    ) -> Manifest:
        """Commit the attempt; return the manifest that stands, another attempt's if that was first.

        `replacing` is the stale manifest that this commit overwrites, if there is one.
        """
        name, folder = attempt
        with self.storage_errors("written"):
            files = sorted(file for file in folder.rglob("*") if file.is_file())
            outputs = {str(file.relative_to(folder)): sha256_of(file) for file in files}
        manifest = Manifest(
            stage=step.stage,
            fingerprint=step.fingerprint,
            record=step.record,
            attempt=name,
            outputs=outputs,
            inputs=dict(inputs),
            **provenance,
        )
        if not self.is_local:
            for file in files:
                self.upload(f"artifacts/{step.key}/{name}/{file.relative_to(folder)}", file)
        path = f"artifacts/{step.key}/{MANIFEST}"
        content = json.dumps(manifest.model_dump(), indent=1, sort_keys=True).encode()
        if replacing is not None and self.manifest(step) == replacing:
            self.write(path, content)
            return manifest
        if self.write_first(path, content):
            return manifest
        first = self.manifest(step)
        assert first is not None
        if self.is_local and first.attempt != name:
            with self.storage_errors("written"):
                shutil.rmtree(folder)
        return first


def _move_into_cache(draft: Path, cache: Path, names: Iterable[str]) -> None:
    """Move fetched files into the node's cache.

    Where the folder exists (another process was first, or a crash damaged it) each file is replaced
    atomically, so that readers always see whole files.
    """
    cache.parent.mkdir(parents=True, exist_ok=True)
    try:
        draft.rename(cache)
    except OSError:
        for name in names:
            (cache / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).replace(cache / name)


def is_attempt(folder: str) -> bool:
    """Return whether a folder below an artifact holds an attempt's payload, committed or not."""
    return folder.startswith("attempt-") and not folder.endswith("-trackers")
