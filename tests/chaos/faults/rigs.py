"""Where the campaign's study runs: as jobs of a real cluster, or on this machine by a Ray of its own."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Protocol

import psutil
from fake_endpoint import KEY, VARIABLE
from local_cluster import BIN, MARK, LocalCluster, bare_environment, is_of, title_of
from s3_server import CREDENTIALS, S3Server

_ENDING_S = 60.0
"""How long processes may take to notice that what they belong to is gone."""
ON_CPUS = "resources={gpus_per_training: 0, gpus_per_engine: 0, judge_actors: 2}"


class Command(Protocol):
    """`weirdgen run`, given once."""

    def lines(self) -> list[str]:
        """What it has printed so far."""
        ...

    def find(self, name: str) -> list[psutil.Process]:
        """Processes of its Ray, or itself, in whose command line `name` is."""
        ...

    @property
    def ended(self) -> bool: ...

    def end(self) -> tuple[int, str]:
        """Its exit code and what it printed."""
        ...


class Rig(Protocol):
    """Where the study runs."""

    def storage(self, name: str) -> str:
        """What `--storage` says."""
        ...

    def start(self, storage: str) -> Command:
        """Gives the command."""
        ...

    def mend(self) -> None:
        """Brings back what does not come back by itself."""
        ...

    def assert_gone(self) -> None:
        """What the commands started ends by itself, though their drivers were killed."""
        ...

    def end(self) -> None:
        """Ends all there is."""
        ...


class ClusterRig:
    """Jobs on a head and two workers, the storage on an S3 server, all behind keys."""

    def __init__(self, folder: Path, study: Path, s3: S3Server) -> None:
        self.cluster = LocalCluster(folder, CREDENTIALS | {VARIABLE: KEY})
        self.s3, self._study = s3, study

    def storage(self, name: str) -> str:
        return self.s3.uri(name)

    def start(self, storage: str) -> Command:
        return _Job(self.cluster, self._study, storage)

    def mend(self) -> None:
        if not self.s3.is_running:
            self.s3.start()
        if not self.cluster.head.find("gcs_server"):
            self.cluster.stop()
            self.cluster.start()
        for worker in self.cluster.workers:
            if not worker.find("/raylet/raylet "):
                worker.stop()
                worker.start()

    def lose_head(self) -> None:
        """With its disk, on which the journals of judges are."""
        self.cluster.head.stop()
        shutil.rmtree(self.cluster.head.cache, ignore_errors=True)

    def assert_gone(self) -> None:
        """Nothing is left to end: the cluster stays."""

    def end(self) -> None:
        self.cluster.stop()


class _Job:
    def __init__(self, cluster: LocalCluster, study: Path, storage: str) -> None:
        self._cluster, self._ended = cluster, (-1, "its client ended first")
        self._earlier = cluster.driver_logs()
        self._thread = threading.Thread(target=self._run, args=(study, storage))
        self._thread.start()

    def _run(self, study: Path, storage: str) -> None:
        command = "weirdgen", "run", study.name, "--storage", storage
        self._ended = self._cluster.submit(study.parent, *command)

    def lines(self) -> list[str]:
        """From the driver's own file: the client that waits for the job learns of them late."""
        new = self._cluster.driver_logs() - self._earlier
        return [line for log in new for line in _events(log.read_text())]

    def find(self, name: str) -> list[psutil.Process]:
        return [each for node in self._cluster.nodes for each in node.find(name)]

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def end(self) -> tuple[int, str]:
        self._thread.join()
        return self._ended


class LocalRig:
    """`weirdgen run` on this machine without a GPU, with a folder as its storage."""

    def __init__(self, study: Path) -> None:
        self._study = study
        self._given: list[_Local] = []

    def storage(self, name: str) -> str:
        return str(self._study.parent / name)

    def start(self, storage: str) -> Command:
        self._given.append(_Local(self._study, storage))
        return self._given[-1]

    def mend(self) -> None:
        """The same command starts what it needs."""

    def assert_gone(self) -> None:
        deadline = time.monotonic() + _ENDING_S
        while left := [each for given in self._given for each in given.find("")]:
            assert time.monotonic() < deadline, [title_of(each) for each in left]
            time.sleep(0.1)
        self.end()

    def end(self) -> None:
        for given in self._given:
            given.clean()
        self._given.clear()


class _Local:
    def __init__(self, study: Path, storage: str) -> None:
        self._temp = Path(tempfile.mkdtemp(prefix="wg"))
        self._mark, self._log = secrets.token_hex(8), self._temp / "printed"
        environment = bare_environment() | {
            MARK: self._mark, VARIABLE: KEY, "RAY_TMPDIR": str(self._temp),
        }  # fmt: skip
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [BIN / "weirdgen", "run", study.name, "--set", ON_CPUS, "--storage", storage],
                cwd=study.parent, env=environment, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def lines(self) -> list[str]:
        return _events(self._log.read_text())

    def find(self, name: str) -> list[psutil.Process]:
        mine = [
            each for each in psutil.process_iter() if is_of(each, self._process.pid, self._mark)
        ]
        return [each for each in mine if name in title_of(each)]

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def end(self) -> tuple[int, str]:
        return self._process.wait(), self._log.read_text()

    def clean(self) -> None:
        while left := self.find(""):
            for each in left:
                os.kill(each.pid, 9)
            time.sleep(0.05)
        shutil.rmtree(self._temp, ignore_errors=True)


def _events(printed: str) -> list[str]:
    """What a run tells as it happens, each behind a clock."""
    return [line for line in printed.splitlines() if re.match(r"[\d:]+:\d\d  ", line)]
