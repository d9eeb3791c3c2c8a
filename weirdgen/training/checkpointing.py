"""Checkpoints of unfinished training runs in the store, from which another attempt at the step continues.

    <root>/artifacts/train/<name>-<fingerprint12>/state-<update>-<sha256>    a ZIP archive

Its name holds the hash of its content, so that a damaged file is recognised. All are deleted once the
step is committed.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from zipfile import ZipFile

from weirdgen.storage.artifacts import ArtifactStore, Step
from weirdgen.storage.provenance import versions

EVERY_S = 300.0
"""Seconds of training between two saves; a shorter training saves nothing."""
_MOST_OF_TIME = 0.02
"""Largest share of time for saving: after a slow save the next one waits longer."""
_ABOUT, _SCHEMA = "state.json", 1
"""Beside the trainer's files: what the state belongs to, and the training time up to it."""

Files = Mapping[str, bytes]
"""One training run's state: file name -> content."""


class TrainingCheckpoints:
    """The checkpoints of training runs that share a process.

    A state belongs to one training run, and fits the same step with the same inputs, micro-batch and
    package versions. Training runs continue together from the latest update for which each has a
    state, also if only a part of the earlier group continues.
    """

    def __init__(
        self,
        store: ArtifactStore,
        steps: Sequence[Step],
        inputs: Sequence[Mapping[str, str]],
        micro_batch: int,
    ) -> None:
        """`inputs`: for each step, fingerprint -> digest of what it consumes."""
        self.notes: dict[str, Any] = {}
        """Update and seconds of the state from which training continued."""
        self._store = store
        self._of = {
            f"artifacts/{step.key}": {
                "schema": _SCHEMA,
                "fingerprint": step.fingerprint,
                "inputs": dict(digests),
                "micro_batch": micro_batch,
                "versions": versions(),
            }
            for step, digests in zip(steps, inputs, strict=True)
        }
        self._started = time.monotonic()
        self._due = self._started + EVERY_S

    def latest(self) -> tuple[int, list[Files]] | None:
        """The update to continue from and each training run's state after it; None to start from scratch."""
        found = [self._names(folder) for folder in self._of]
        for update in sorted(set.intersection(*map(set, found)), reverse=True):
            read = [
                [state for name in names[update] if (state := self._read(f"{folder}/{name}", of))]
                for (folder, of), names in zip(self._of.items(), found, strict=True)
            ]
            if all(read):
                wall_s = max(states[0][0] for states in read)
                self.notes = {"resumed": {"update": update, "wall_s": wall_s}}
                self._started -= wall_s
                print(f"continuing after update {update}")
                return update, [states[0][1] for states in read]
        if any(found):
            print("no update for which every training run has a state: starting from scratch")
        return None

    def is_due(self) -> bool:
        """Whether it is time for another save."""
        return time.monotonic() >= self._due

    def save(self, update: int, states: Iterable[Files]) -> None:
        """Save each training run's state after `update` updates, and delete older ones.

        If the storage cannot be written, log a line and continue training.
        """
        began = time.monotonic()
        written: set[str] = set()
        try:
            for (folder, of), files in zip(self._of.items(), states, strict=True):
                content = self._archive(of, files)
                name = f"state-{update}-{_sha256(content)}"
                self._store.write(f"{folder}/{name}", content)
                written.add(name)
            self._delete(lambda each: each not in written)
            pause_s = max(EVERY_S, (time.monotonic() - began) / _MOST_OF_TIME)
        except OSError as error:
            print(f"state after update {update} not saved: {error}")
            with suppress(OSError):
                self._delete(lambda each: each in written)
            pause_s = EVERY_S
        self._due = time.monotonic() + pause_s

    def delete(self) -> None:
        """Delete every state of these training runs."""
        try:
            self._delete(lambda _: True)
        except OSError as error:
            print(f"states not deleted: {error}")

    def _archive(self, of: dict[str, Any], files: Files) -> bytes:
        about = {"of": of, "wall_s": round(time.monotonic() - self._started, 3)}
        with io.BytesIO() as content:
            with ZipFile(content, "w") as archive:
                for name, each in {_ABOUT: json.dumps(about), **files}.items():
                    archive.writestr(name, each)
            return content.getvalue()

    def _names(self, folder: str) -> dict[int, list[str]]:
        """Update -> the files that may be one training run's state after it."""
        names: dict[int, list[str]] = {}
        for name in sorted(self._store.files(folder)):
            if match := re.fullmatch(r"state-(\d+)-[0-9a-f]+", name):
                names.setdefault(int(match[1]), []).append(name)
        return names

    def _read(self, path: str, of: dict[str, Any]) -> tuple[float, Files] | None:
        """A state's training time and files; None if it is damaged or belongs to something else."""
        content = self._store.read(path)
        if content is None or not path.endswith(f"-{_sha256(content)}"):
            print(f"{path} is ignored: it is damaged")
            return None
        with ZipFile(io.BytesIO(content)) as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        about = json.loads(files.pop(_ABOUT))
        if other := [key for key in of if about["of"].get(key) != of[key]]:
            print(f"{path} is ignored: it belongs to another {', '.join(other)}")
            return None
        return about["wall_s"], files

    def _delete(self, which: Callable[[str], bool]) -> None:
        for folder in self._of:
            for name in self._store.files(folder):
                if name.startswith("state-") and which(name):
                    self._store.delete(f"{folder}/{name}")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
