"""A heartbeat lease: at most one live run of a study, taken over when its holder is dead."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any

import psutil

from weirdgen.errors import InputError, LockedError, WeirdgenError
from weirdgen.store import Store

BEAT_S = 5.0
PATIENCE_S = 4 * BEAT_S
"""A holder on another machine whose heart does not beat for so long is dead."""


_CLOCK_STEP_S = 2.0
"""How far a process's start time may move when the clock is set."""


class Lease:
    """Held from `with` to its end; `check()` in between raises when another run has taken it."""

    def __init__(
        self, store: Store, study: str, *, beat_s: float = BEAT_S, patience_s: float = PATIENCE_S
    ) -> None:
        self._store, self._path = store, f"{study}/lease.json"
        self._beat_s, self._patience_s = beat_s, patience_s
        process = psutil.Process()
        self._holder = {
            "owner": uuid.uuid4().hex,
            "host": _host(),
            "pid": process.pid,
            "started": process.create_time(),
        }
        self._stop = threading.Event()
        self._lost: WeirdgenError | None = None
        self._thread = threading.Thread(target=self._beat, name="lease", daemon=True)

    def __enter__(self) -> Lease:
        """Takes the lease. Raises LockedError while another live run holds it."""
        holder = self._read()
        if holder is not None and self._is_alive(holder):
            raise LockedError(
                f"{self._store.path(self._path)}: another run of this study is alive "
                f"(host {holder['host'].partition('/')[0]}, process {holder['pid']})"
            )
        self._write(0)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._lost is None and self._is_mine(self._read()):
            self._store.delete(self._path)

    def check(self) -> None:
        """Raises LockedError when another run has taken the study over, InputError when one may have."""
        if self._lost is not None:
            raise self._lost

    def _beat(self) -> None:
        count, last = 0, time.monotonic()
        while not self._stop.wait(self._beat_s):
            try:
                if not self._is_mine(self._read()):
                    path = self._store.path(self._path)
                    self._lost = LockedError(f"{path}: another run took this study over")
                    return
                count += 1
                self._write(count)
                last = time.monotonic()
            except (OSError, ValueError):
                # The storage hiccups; another run may take over after a while.
                away_s = time.monotonic() - last
                if away_s > self._patience_s:
                    problem = f"{self._store.uri} could not be reached for {away_s:.0f} s"
                    self._lost = InputError("--storage", None, problem)
                    return

    def _is_mine(self, holder: dict[str, Any] | None) -> bool:
        return holder is not None and holder["owner"] == self._holder["owner"]

    def _is_alive(self, holder: dict[str, Any]) -> bool:
        """On this machine the process tells; elsewhere its heartbeat does (no clocks are compared)."""
        if holder["host"] == self._holder["host"]:
            try:
                started = psutil.Process(holder["pid"]).create_time()
                return abs(started - holder["started"]) < _CLOCK_STEP_S
            except psutil.NoSuchProcess:
                return False
        deadline = time.monotonic() + self._patience_s
        while time.monotonic() < deadline:
            time.sleep(min(1.0, self._patience_s / 4))
            now = self._read()
            if now is None:
                return False
            if now != holder:
                return True
        return False

    def _read(self) -> dict[str, Any] | None:
        content = self._store.read(self._path)
        return None if content is None else json.loads(content)

    def _write(self, beat: int) -> None:
        self._store.write(self._path, json.dumps(self._holder | {"beat": beat}).encode())


def _host() -> str:
    """The machine, until it restarts: process ids say nothing beyond that."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    started = boot.read_text().strip() if boot.exists() else os.name
    pids = Path("/proc/self/ns/pid")  # containers of one host number their processes apart
    return f"{socket.gethostname()}/{started}/{pids.readlink() if pids.is_symlink() else ''}"
