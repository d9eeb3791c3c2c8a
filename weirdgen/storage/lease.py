"""A heartbeat lease: at most one live run of a study, taken over when its holder is dead."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import uuid
from pathlib import Path

import psutil
from pydantic import NonNegativeInt, PositiveInt, ValidationError

from weirdgen.config.base import StrictModel
from weirdgen.errors import DamagedError, LockedError, StorageError, WeirdgenError
from weirdgen.storage.artifacts import ArtifactStore

BEAT_S = 5.0
PATIENCE_S = 4 * BEAT_S
"""A holder on another machine whose heart does not beat for so long is dead."""
SETTLE_S = 1.0
"""A run that takes over waits so long for the writes of others that do the same."""


class Holder(StrictModel):
    """Who holds a study, as the lease file tells it."""

    owner: str
    """The run; no two have the same."""
    host: str
    pid: PositiveInt
    started: float
    """When the process began, as its own machine counts."""
    beat: NonNegativeInt = 0

    @property
    def host_name(self) -> str:
        return self.host.partition("/")[0]

    def __str__(self) -> str:
        return f"host {self.host_name}, process {self.pid}"


class Lease:
    """Held from `with` to its end; `check()` in between raises when another run has taken it."""

    def __init__(
        self,
        store: ArtifactStore,
        study: str,
        *,
        beat_s: float = BEAT_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._store, self._path = store, f"{study}/lease.json"
        self._beat_s, self._patience_s = beat_s, patience_s
        self.mine = Holder(
            owner=uuid.uuid4().hex,
            host=_host(),
            pid=os.getpid(),
            started=_started(os.getpid()) or 0,
        )
        self._stop = threading.Event()
        self._lost: WeirdgenError | None = None
        self._told = False
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        """Takes the lease. Raises LockedError while another live run holds it."""
        content = self._store.read(self._path)
        if content is not None and (alive := self._alive(content)):
            raise self._refusal(alive)
        if not self._store.write_first(self._path, self._beaten(0)):
            if content is None:
                raise LockedError(f"{self._where}: another run of this study has begun just now")
            self._take_over(content)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Frees the lease. Raises what `check` does, unless something else has ended the run."""
        self._stop.set()
        self._thread.join()
        try:
            if self._lost is None:
                self._lost = self._taken()
            if self._lost is None:
                self._store.delete(self._path)
        except OSError:
            if kind is None:
                raise
        if kind is None and not self._told:
            self.check()

    @property
    def lost(self) -> bool:
        """Whether `check` would raise."""
        return self._lost is not None

    def check(self) -> None:
        """Raises LockedError when another run has taken the study, StorageError when one may have."""
        if self._lost is not None:
            self._told = True
            raise self._lost

    @property
    def _where(self) -> str:
        return self._store.shown(self._path)

    def _refusal(self, alive: str) -> LockedError:
        return LockedError(f"{self._where}: another run of this study is alive ({alive})")

    def _take_over(self, dead: bytes) -> None:
        """Replaces the lease `dead`. Raises LockedError where another run has, or does just now.

        Of several at once the last to write holds the study, and the others read so after SETTLE_S.
        What remains: one whose write ends later than that after it read `dead`, on a storage that
        hangs, takes the study from a run that has begun. That one learns of it within a beat.
        """
        mine = self._beaten(0)
        if (now := self._store.read(self._path)) == dead:
            self._store.write(self._path, mine)
            time.sleep(SETTLE_S)
            now = self._store.read(self._path)
        if now != mine:
            raise self._refusal(_who(now or b""))

    def _beat(self) -> None:
        count, last = 0, time.monotonic()
        while not self._stop.wait(self._beat_s):
            try:
                if lost := self._taken():
                    self._lost = lost
                    return
                count += 1
                self._store.write(self._path, self._beaten(count))
                last = time.monotonic()
            except OSError as error:
                # The storage hiccups; another run may take over after a while.
                away_s = time.monotonic() - last
                if away_s > self._patience_s:
                    self._lost = StorageError(f"{error} (tried for {away_s:.0f} s)")
                    return

    def _taken(self) -> WeirdgenError | None:
        """Why the study is not this run's any more, if so."""
        content = self._store.read(self._path)
        if content is None:
            gone = "is gone: the storage was unmounted, or somebody deleted it"
            return StorageError(f"{self._where} {gone}; the same command goes on")
        holder = _holder(content)
        if holder and holder.owner != self.mine.owner:
            return LockedError(f"{self._where}: another run took this study over ({holder})")
        return None

    def _beaten(self, beat: int) -> bytes:
        return self.mine.model_copy(update={"beat": beat}).model_dump_json().encode()

    def live_holder(self) -> Holder | None:
        """Who holds the study and is alive; one on another machine is listened to for a while.

        Raises DamagedError where the lease file cannot be read as one.
        """
        content = self._store.read(self._path)
        holder = None if content is None else _holder(content)
        if content is not None and holder is None:
            raise DamagedError(f"{self._where}: not a readable lease")
        return holder if content is not None and self._alive(content) else None

    def _alive(self, content: bytes) -> str | None:
        """Who holds the lease, if anybody does.

        On this machine the process tells; elsewhere its heartbeat does: no clocks are compared.
        """
        holder = _holder(content)
        who = _who(content)
        if holder and holder.host == self.mine.host:
            return who if _started(holder.pid) == holder.started else None
        deadline = time.monotonic() + self._patience_s
        while time.monotonic() < deadline:
            time.sleep(min(1.0, self._patience_s / 4))
            now = self._store.read(self._path)
            if now is None:
                return None
            if now != content:
                return who
        return None


def _holder(content: bytes) -> Holder | None:
    """What a lease tells; None where that is not readable."""
    try:
        return Holder.model_validate_json(content)
    except ValidationError:
        return None


def _who(content: bytes) -> str:
    return str(_holder(content) or "nobody knows whose")


def _started(pid: int) -> float | None:
    """When the process began, the same whatever becomes of the clock; None where there is none."""
    try:
        if sys.platform == "linux":  # ticks since the machine's start
            after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
            fields = after_name.split()
            return None if fields[0] == "Z" else int(fields[19])
        return psutil.Process(pid).create_time()
    except (FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess):
        return None


def _host() -> str:
    """The machine, until it restarts: process ids say nothing beyond that."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    started = boot.read_text().strip() if boot.exists() else os.name
    pids = Path("/proc/self/ns/pid")  # containers of one host number their processes apart
    return f"{socket.gethostname()}/{started}/{pids.readlink() if pids.is_symlink() else ''}"
