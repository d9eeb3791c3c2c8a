"""Which process is killed when: drawn from a seed, over the events of an undisturbed run."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

import psutil
from rigs import ClusterRig, Command, Rig

_POLL_S = 0.03
_LONGEST_OUTAGE_S = 12.0
"""The storage is waited for 26 s, of which its own start takes some."""
_LONGEST_AGONY_S = 5.0
"""How long what is left goes on without a GCS before the whole cluster is started anew."""

PROCESSES = {
    "driver": "bin/weirdgen run",
    "training": "ray::run_training",
    "engine": "ray::EngineActor",
    "judge": "ray::JudgeActor",
}
"""What is killed wherever the study runs, and how it is called among the processes."""
KINDS = [("here", victim) for victim in PROCESSES]
KINDS += [("cluster", victim) for victim in (*PROCESSES, "raylet", "gcs", "head", "storage")]
_SPANS: dict[str, tuple[str, str | None]] = {
    "training": ("started train/", "done train/"),
    "engine": ("opening engine", "done responses/"),
    "judge": ("started", None),
    "head": ("done responses/", None),
}
"""The first line after which the victim may be there, or may have what can be lost, and the last before
it is gone; None: it stays.
"""


class Missed(Exception):
    """The run ended before its victim was there."""


@dataclass(frozen=True)
class Reference:
    """An undisturbed run."""

    files: dict[str, bytes]
    """What has to come out again."""
    lines: list[str]
    moments: list[float]
    """Seconds from the start to each line, and to the end."""

    def span(self, victim: str) -> tuple[float, float]:
        """Places between which `victim` is there: whole numbers are lines, parts the time between two."""
        if victim not in _SPANS:
            return 0.0, len(self.moments)
        first, last = _SPANS[victim]
        begins = [i for i, line in enumerate(self.lines, 1) if first in line]
        if last is None:
            return begins[0], len(self.moments)
        ends = [i for i, line in enumerate(self.lines, 1) if last in line]
        return begins[0], ends[-1] - 0.5

    def moment(self, place: float) -> tuple[int, float]:
        """How many lines to wait for, and how many seconds more."""
        line = min(int(place), len(self.lines))
        begun = self.moments[line - 1] if line else 0.0
        return line, (self.moments[line] - begun) * (place - line)


@dataclass(frozen=True)
class Fault:
    """One kill; everything that is left to chance comes from its seed."""

    where: str
    """`here` or `cluster`."""
    victim: str
    seed: int

    @property
    def ends_the_run(self) -> bool:
        """Whether the same command has to be given again: it survives everything else."""
        return self.victim in ("driver", "gcs", "head")

    @property
    def breaks_judges(self) -> bool:
        """Whether what judges have under way is lost."""
        return self.ends_the_run or self.victim == "judge"

    def __str__(self) -> str:
        return f"{self.where}-{self.victim}-{self.seed}"


def draw(seed: int, count: int) -> list[Fault]:
    """So many faults, each kind as often as any other."""
    rng = random.Random(seed)
    kinds: list[tuple[str, str]] = []
    while len(kinds) < count:
        kinds += rng.sample(KINDS, len(KINDS))
    return [Fault(*kind, rng.getrandbits(32)) for kind in kinds[:count]]


class Strike:
    """A fault on its way: it waits for its moment, kills, and brings back what was killed."""

    def __init__(self, fault: Fault, rig: Rig, reference: Reference) -> None:
        self.fault, self._rig, self._reference = fault, rig, reference
        self._rng = random.Random(fault.seed)
        self.place = self._rng.uniform(*reference.span(fault.victim))

    def earlier(self) -> None:
        """Half as far into the victim's life, after a run that was too quick."""
        first, _ = self._reference.span(self.fault.victim)
        self.place = first + (self.place - first) / 2

    def wait(self, command: Command) -> None:
        """Returns at the place. Raises Missed when the run ends before it."""
        count, seconds = self._reference.moment(self.place)
        while len(command.lines()) < count:
            _go_on(command)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            _go_on(command)

    def kill(self, command: Command) -> None:
        """Kills the victim, as soon as it is there. Raises Missed when it does not come."""
        while not self._killed(command):
            _go_on(command)

    def mend(self) -> None:
        """Brings back what does not come back by itself, after a while."""
        pause_s = {"storage": _LONGEST_OUTAGE_S, "gcs": _LONGEST_AGONY_S}
        time.sleep(self._rng.uniform(0, pause_s.get(self.fault.victim, 0.0)))
        self._rig.mend()

    def _killed(self, command: Command) -> bool:
        victim = self.fault.victim
        if victim in PROCESSES:
            found = command.find(PROCESSES[victim])
        else:
            assert isinstance(self._rig, ClusterRig)
            if victim == "storage":
                self._rig.s3.kill()
                return True
            if victim == "head":
                self._rig.lose_head()
                return True
            if victim == "gcs":
                found = [self._rig.cluster.gcs()]
            else:
                workers = self._rig.cluster.workers
                found = [each for worker in workers for each in worker.find("/raylet/raylet ")]
        if not found:
            return False
        try:
            self._rng.choice(sorted(found, key=lambda each: each.pid)).kill()
        except psutil.NoSuchProcess:
            return False
        return True


def _go_on(command: Command) -> None:
    if command.ended:
        raise Missed
    time.sleep(_POLL_S)


def follow(command: Command, started: float) -> list[float]:
    """Seconds from `started` to each line of a run, and to its end."""
    moments: list[float] = []
    while not command.ended:
        moments += [time.monotonic() - started] * (len(command.lines()) - len(moments))
        time.sleep(_POLL_S)
    moments += [time.monotonic() - started] * (len(command.lines()) + 1 - len(moments))
    return moments
