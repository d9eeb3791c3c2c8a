"""Checkpoints of unfinished training runs in the store, from which another attempt at the step continues.

    <root>/artifacts/train/<name>-<fingerprint12>/state-<update>-<hex>/...          what the trainer wrote
                                                                      /state.json   written last

A folder without `state.json` is an incomplete upload and is never read. Each save has its own folder,
so that two attempts at a step cannot mix theirs. All are deleted once the step is committed.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

from weirdgen.storage.artifacts import ArtifactStore, Step
from weirdgen.storage.provenance import versions

EVERY_S = 300.0
"""Seconds of training between two saves; a shorter training saves nothing."""
_MOST_OF_TIME = 0.02
"""Largest share of time for saving: after a slow save the next one waits longer."""
_PROOF, _SCHEMA = "state.json", 1

Files = Mapping[str, bytes]
"""One training run's state: file name -> content."""


@dataclass(frozen=True)
class _Proof:
    """Proof that a state is complete, and what it belongs to."""

    of: dict[str, Any]
    files: dict[str, str]
    """Name -> sha256."""
    wall_s: float
    """Training time up to this state, over all attempts."""


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
        found = [self._found(folder, of) for folder, of in self._of.items()]
        for update in sorted(set.intersection(*map(set, found)), reverse=True):
            chosen = [each[update] for each in found]
            read = [self._read(path, proof) for path, proof in chosen]
            states = [files for files in read if files is not None]
            if len(states) == len(read):
                wall_s = max(proof.wall_s for _, proof in chosen)
                self.notes = {"resumed": {"update": update, "wall_s": wall_s}}
                self._started -= wall_s
                print(f"continuing after update {update}")
                return update, states
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
        name = f"state-{update}-{uuid.uuid4().hex}"
        try:
            for (folder, of), files in zip(self._of.items(), states, strict=True):
                self._write(f"{folder}/{name}", of, files)
            self._delete(lambda each: each != name)
            pause_s = max(EVERY_S, (time.monotonic() - began) / _MOST_OF_TIME)
        except OSError as error:
            print(f"state after update {update} not saved: {error}")
            with suppress(OSError):
                self._delete(lambda each: each == name)
            pause_s = EVERY_S
        self._due = time.monotonic() + pause_s

    def delete(self) -> None:
        """Delete every state of these training runs."""
        try:
            self._delete(lambda _: True)
        except OSError as error:
            print(f"states not deleted: {error}")

    def _write(self, path: str, of: dict[str, Any], files: Files) -> None:
        for name, content in files.items():
            self._store.write(f"{path}/{name}", content)
        wall_s = round(time.monotonic() - self._started, 3)
        proof = _Proof(of, {name: _sha256(content) for name, content in files.items()}, wall_s)
        self._store.write(f"{path}/{_PROOF}", json.dumps(asdict(proof), indent=1).encode())

    def _found(self, folder: str, of: dict[str, Any]) -> dict[int, tuple[str, _Proof]]:
        """The usable states of one training run, by update."""
        found = {}
        for name in sorted(self._store.folders(folder)):
            path = f"{folder}/{name}"
            match = re.fullmatch(r"state-(\d+)-[0-9a-f]+", name)
            content = self._store.read(f"{path}/{_PROOF}") if match else None
            if match is None or content is None:
                continue
            try:
                proof = _Proof(**json.loads(content))
                other = [key for key in of if proof.of[key] != of[key]]
            except (ValueError, TypeError, KeyError) as error:
                print(f"{path} is ignored: {_PROOF} is not readable ({error!r})")
                continue
            if other:
                print(f"{path} is ignored: it belongs to another {', '.join(other)}")
                continue
            found[int(match[1])] = path, proof
        return found

    def _read(self, path: str, proof: _Proof) -> Files | None:
        """The trainer's files; None if any is damaged."""
        files = {}
        for name, digest in proof.files.items():
            content = self._store.read(f"{path}/{name}")
            if content is None or _sha256(content) != digest:
                print(f"{path} is ignored: {name} is damaged")
                return None
            files[name] = content
        return files

    def _delete(self, which: Callable[[str], bool]) -> None:
        for folder in self._of:
            for name in self._store.folders(folder):
                if name.startswith("state-") and which(name):
                    self._store.delete(f"{folder}/{name}/{_PROOF}")
                    self._store.delete_folder(f"{folder}/{name}")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
