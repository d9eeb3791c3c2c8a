"""A heartbeat lease: at most one live run per study; a dead holder's lease is taken over."""

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
"""A holder on another machine without a heartbeat for so long is dead."""
SETTLE_S = 1.0
"""How long a run that takes over waits for others that do the same."""


class Holder(StrictModel):
    """Who holds a study: the content of the lease file."""

    owner: str
    """Unique per run."""
    host: str
    pid: PositiveInt
    started: float
    """When the process began, by its own machine's count."""
    beat: NonNegativeInt = 0

    @property
    def host_name(self) -> str:
        return self.host.partition("/")[0]

    def __str__(self) -> str:
        return f"host {self.host_name}, process {self.pid}"


class Lease:
    """A context manager that holds the lease; `check()` raises once another run has taken it."""

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
        self._reported = False
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        """Take the lease. Raises LockedError while another live run holds it."""
        content = self._store.read(self._path)
        if content is not None and self._alive(content):
            raise self._refusal(content)
        if not self._store.write_first(self._path, self._content(0)):
            if content is None:
                raise LockedError(f"{self._where}: another run of this study has begun just now")
            self._take_over(content)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Release the lease. Raises what `check` does, unless another error has ended the run."""
        self._stop.set()
        self._thread.join()
        try:
            if self._lost is None:
                self._lost = self._why_lost(self._store.read(self._path))
            if self._lost is None:
                self._store.delete(self._path)
        except OSError:
            if kind is None:
                raise
        if kind is None and not self._reported:
            self.check()

    @property
    def lost(self) -> bool:
        """Return whether `check` would raise."""
        return self._lost is not None

    def check(self) -> None:
        """Raise LockedError where another run took the study, StorageError where one may have."""
        if self._lost is not None:
            self._reported = True
            raise self._lost

    @property
    def _where(self) -> str:
        return self._store.display_path(self._path)

    def _refusal(self, content: bytes) -> LockedError:
        who = _holder(content) or "its holder is unreadable"
        return LockedError(f"{self._where}: another run of this study is alive ({who})")

    def _take_over(self, dead: bytes) -> None:
        """Replace the lease `dead`. Raises LockedError where another run takes it over first.

        In an object store only one of several can replace it. On a disk the last to write holds the
        study, and the others see that after SETTLE_S; where the disk hangs for longer, a late write
        takes the study from a run that has begun, which notices within one beat.
        """
        mine = self._content(0)
        if self._store.swap(self._path, dead, mine):
            time.sleep(SETTLE_S)
        if (now := self._store.read(self._path)) != mine:
            raise self._refusal(now or b"")

    def _beat(self) -> None:
        count, last = 0, time.monotonic()
        while not self._stop.wait(self._beat_s):
            try:
                content = self._store.read(self._path)
                self._lost = self._why_lost(content)
                if content is None or self._lost is not None:
                    return
                count += 1
                if self._store.swap(self._path, content, self._content(count)):
                    last = time.monotonic()
            except OSError as error:
                # The storage is briefly away; another run may take over after a while.
                silent_s = time.monotonic() - last
                if silent_s > self._patience_s:
                    self._lost = StorageError(f"{error} (tried for {silent_s:.0f} s)")
                    return

    def _why_lost(self, content: bytes | None) -> WeirdgenError | None:
        """Return why a run whose lease now holds `content` has lost the study; None if it has not."""
        if content is None:
            gone = "is gone: the storage was unmounted, or the file was deleted"
            return StorageError(f"{self._where} {gone}; run the same command to continue")
        holder = _holder(content)
        if holder and holder.owner != self.mine.owner:
            return LockedError(f"{self._where}: another run took this study over ({holder})")
        return None

    def _content(self, beat: int) -> bytes:
        return self.mine.model_copy(update={"beat": beat}).model_dump_json().encode()

    def live_holder(self) -> Holder | None:
        """Return the live holder, or None; waits for the heartbeat of one on another machine.

        Raises DamagedError where the lease file is unreadable.
        """
        content = self._store.read(self._path)
        holder = None if content is None else _holder(content)
        if content is not None and holder is None:
            raise DamagedError(f"{self._where}: not a readable lease")
        return holder if content is not None and self._alive(content) else None

    def _alive(self, content: bytes) -> bool:
        """Return whether the holder of the lease lives.

        On this machine the process decides; elsewhere the heartbeat does: no clocks are compared.
        """
        holder = _holder(content)
        if holder and holder.host == self.mine.host:
            return _started(holder.pid) == holder.started
        deadline = time.monotonic() + self._patience_s
        while time.monotonic() < deadline:
            time.sleep(min(1.0, self._patience_s / 4))
            now = self._store.read(self._path)
            if now is None or now != content:
                return now is not None
        return False


def _holder(content: bytes) -> Holder | None:
    """Parse a lease; None where it is unreadable."""
    try:
        return Holder.model_validate_json(content)
    except ValidationError:
        return None


def _started(pid: int) -> float | None:
    """Return when the process began, independent of the clock; None where it does not exist."""
    try:
        if sys.platform == "linux":  # ticks since the machine's start
            after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
            fields = after_name.split()
            return None if fields[0] == "Z" else int(fields[19])
        return psutil.Process(pid).create_time()
    except (FileNotFoundError, ProcessLookupError, psutil.NoSuchProcess):
        return None


def _host() -> str:
    """Identify the machine until it restarts, as process ids are only valid until then."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    started = boot.read_text().strip() if boot.exists() else os.name
    pids = Path("/proc/self/ns/pid")  # containers of one host have process ids of their own
    return f"{socket.gethostname()}/{started}/{pids.readlink() if pids.is_symlink() else ''}"
