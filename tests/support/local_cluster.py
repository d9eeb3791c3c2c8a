"""A real Ray cluster on this machine: nodes started as on many, with logical GPUs, and a token."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import requests
from network import Host, Network
from s3_server import free_ports

MARK = "WEIRDGEN_TEST_NODE"
"""The environment variable by which a process tells whose it is."""
_STARTING_S = 300.0
BIN = Path(sys.executable).parent


class Node:
    """What one `ray start` started, in an environment and with a node-local cache of its own."""

    def __init__(
        self,
        folder: Path,
        address: str,
        arguments: list[str],
        environment: dict[str, str],
        host: Host | None = None,
    ) -> None:
        self.address, self.cache, self.host = address, folder / "cache", host
        self._mark = secrets.token_hex(8)
        self._environment = environment | {MARK: self._mark, "XDG_CACHE_HOME": str(self.cache)}
        self._command = [
            *(host.enter if host else []),
            str(BIN / "ray"), "start", "--block", "--disable-usage-stats",
            f"--node-ip-address={address}", "--object-store-memory=100000000",
            "--dashboard-agent-listen-port=0", *arguments,
        ]  # fmt: skip
        self.log = folder / "ray-start.log"
        self._process: subprocess.Popen | None = None

    def begin(
        self, working_dir: Path, log: Path, *command: str, **environment: str
    ) -> subprocess.Popen:
        """Starts a command on this node, whose output goes to `log`; `stop` ends it at the latest."""
        enter = self.host.enter if self.host else []
        with log.open("wb") as output:
            return subprocess.Popen(
                [*enter, *command],
                cwd=working_dir,
                env=self._environment | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def start(self) -> None:
        """Does nothing unless it is new or was stopped."""
        if self._process is not None:
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def processes(self) -> list[psutil.Process]:
        """All that this node runs, what has lost its parent too."""
        if self._process is None:
            return []
        session = self._process.pid
        return [each for each in psutil.process_iter() if is_of(each, session, self._mark)]

    def find(self, title: str) -> list[psutil.Process]:
        """Those whose command line has `title` in it: `/raylet`, `gcs_server`, `ray::run_training`."""
        return [each for each in self.processes() if title in title_of(each)]

    def raylet(self) -> psutil.Process:
        """It holds the node together: once it is gone, so are the node's workers."""
        (found,) = self.find("/raylet/raylet ")
        return found

    def stop(self) -> None:
        """Ends whatever is left of the node, at once."""
        while left := self.processes():
            for each in left:
                with suppress(psutil.NoSuchProcess):
                    each.kill()
            time.sleep(0.05)
        if self._process is not None:
            self._process.wait()
            self._process = None


class LocalCluster:
    """A head without a CPU for tasks, and workers of `cpus` and `gpus` each, behind a token.

    `environment` is every node's, as a secret would bring it there. Nodes stay on their ports and
    keep their folders, so that a cluster which was stopped can be started again. Each has a loopback
    address of its own, or where there is a `network`, a host.
    """

    def __init__(
        self,
        folder: Path,
        environment: dict[str, str],
        workers: int = 2,
        cpus: int = 2,
        gpus: int = 1,
        network: Network | None = None,
    ) -> None:
        self._temp = Path(tempfile.mkdtemp(prefix="wg"))  # short: sockets are in it
        self.token = secrets.token_hex(32)
        hosts = [network.host() if network else None for _ in range(1 + workers)]
        addresses = [host.address if host else _address(i) for i, host in enumerate(hosts)]
        gcs, dashboard, client = free_ports(3)
        self.gcs_address = f"{addresses[0]}:{gcs}"
        """What RAY_ADDRESS says on a node."""
        self.jobs_url = f"http://{addresses[0]}:{dashboard}"
        """What `ray job submit --address` says."""
        nodes = bare_environment() | self.access() | environment
        nodes["PATH"] = f"{BIN}:{nodes['PATH']}"
        self.head = Node(
            folder / "head",
            addresses[0],
            [
                "--head", f"--port={gcs}",
                f"--dashboard-host={addresses[0]}", f"--dashboard-port={dashboard}",
                f"--ray-client-server-port={client}", f"--temp-dir={self._temp}/0",
                "--num-cpus=0", "--num-gpus=0",
            ],
            nodes,
            hosts[0],
        )  # fmt: skip
        joining = [f"--address={self.gcs_address}", f"--num-cpus={cpus}", f"--num-gpus={gpus}"]
        self.workers = [
            Node(
                folder / f"worker-{i}",
                addresses[i],
                [*joining, f"--temp-dir={self._temp}/{i}"],
                nodes,
                hosts[i],
            )
            for i in range(1, workers + 1)
        ]

    def access(self) -> dict[str, str]:
        """The environment of one who may use the cluster."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}

    def driver_logs(self) -> set[Path]:
        """What each job's driver prints, on the head.

        Not by way of `session_latest`: each worker process that starts takes it away and makes it anew.
        """
        return set(self._temp.glob("0/session_2*/logs/job-driver-*.log"))

    @property
    def nodes(self) -> list[Node]:
        return [self.head, *self.workers]

    def gcs(self) -> psutil.Process:
        """The head's memory of the whole cluster."""
        (found,) = self.head.find("/gcs/gcs_server ")
        return found

    def start(self) -> None:
        """Returns once all nodes are there and jobs can be submitted; starts those that were stopped."""
        deadline = time.monotonic() + _STARTING_S
        for count, node in enumerate(self.nodes, 1):
            node.start()
            while self._count_nodes() < count:
                assert time.monotonic() < deadline, node.log.read_text()[-2000:]
                if not node.is_running:  # on a busy machine Ray itself gives up after 30 s
                    node.stop()
                    node.start()
                time.sleep(0.2)

    def stop(self) -> None:
        """Ends all of its processes and no other's."""
        for node in reversed(self.nodes):
            node.stop()
        shutil.rmtree(self._temp, ignore_errors=True)

    def state(self, what: str) -> list[dict[str, Any]]:
        """What Ray's state API says of its live `nodes`, or of all `tasks` or `actors` there were."""
        query = {"limit": 10_000, "detail": 1}
        if what == "nodes":
            query |= {"filter_keys": "state", "filter_predicates": "=", "filter_values": "ALIVE"}
        reply = requests.get(
            f"{self.jobs_url}/api/v0/{what}", query, headers=self._headers(), timeout=30
        )
        reply.raise_for_status()
        return reply.json()["data"]["result"]["result"]

    def submit(
        self,
        working_dir: Path,
        *command: str,
        access: dict[str, str] | None = None,
        environment: dict[str, str] | None = None,
    ) -> tuple[int, str]:
        """`ray job submit` until the job's end: its exit code and what it printed.

        `environment` is that of its tasks too, as its runtime environment brings it there.
        """
        submit = [BIN / "ray", "job", "submit", "--address", self.jobs_url]
        submit += ["--runtime-env-json", json.dumps({"env_vars": environment or {}})]
        done = subprocess.run(
            [*submit, "--working-dir", working_dir, "--", *command],
            env=bare_environment() | (self.access() if access is None else access),
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=600,
        )  # fmt: skip
        return done.returncode, done.stdout

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}

    def _count_nodes(self) -> int:
        try:
            return len(self.state("nodes"))
        except requests.RequestException:
            return 0


def _address(node: int) -> str:
    """A loopback address of the node's own, by which Ray knows it."""
    return f"127.0.1.{node + 1}"


def bare_environment() -> dict[str, str]:
    """This process's, less what it says of another Ray or of a storage."""
    foreign = ("RAY_", "AWS_")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


def is_of(process: psutil.Process, session: int, mark: str) -> bool:
    """A worker overwrites its environment with its title, and a job's driver has a session of its own."""
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return False
        return os.getsid(process.pid) == session or process.environ().get(MARK) == mark
    except (psutil.Error, ProcessLookupError):
        return False


def title_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
