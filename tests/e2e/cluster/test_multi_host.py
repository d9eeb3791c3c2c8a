"""A study on hosts that share nothing but a network, of which one falls silent."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from local_cluster import BIN, LocalCluster, Node, bare_environment
from network import networking
from s3_server import CREDENTIALS, S3Server
from stored_files import files_below
from studies import portable_study

from weirdgen.results.table import RESULTS
from weirdgen.storage.artifacts import MANIFEST, ArtifactStore, is_attempt

PATIENCE_S = 600.0
"""Nothing takes so long, however busy the machine is."""
OUTAGE_S = 12.0
"""Less than a request to S3 is tried."""
SOONER = {
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "3000",
}
"""A host that does not answer is dead sooner than by Ray's defaults."""


class Run:
    """`weirdgen run`, by a driver on the head."""

    def __init__(self, head: Node, study: Path, storage: str, address: str, log: Path) -> None:
        self._log = log
        command = "weirdgen", "run", "study.yaml", "--storage", storage
        self._driver = head.begin(study, log, *command, RAY_ADDRESS=address)

    @property
    def printed(self) -> str:
        return self._log.read_text()

    def until(self, true: Callable[[], object]) -> None:
        """Returns once it is true, which it has to be before the driver ends."""
        deadline = time.monotonic() + PATIENCE_S
        while not true():
            assert self._driver.poll() is None, self.printed
            assert time.monotonic() < deadline, self.printed
            time.sleep(0.1)

    def end(self) -> int:
        """Its exit code."""
        try:
            return self._driver.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the run does not end:\n{self.printed}")


@dataclass
class Hosts:
    """A head and two workers, each on a host of its own with a cache of its own, and storage on another."""

    cluster: LocalCluster
    s3: S3Server
    study: Path

    def run(self, storage: str, log: Path) -> Run:
        """Begins a run of the study."""
        address = self.cluster.gcs_address
        return Run(self.cluster.head, self.study, self.s3.uri(storage), address, log)

    def store(self, storage: str) -> ArtifactStore:
        return ArtifactStore(self.s3.uri(storage))


@pytest.fixture(scope="module")
def study(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study of two trainings that take some seconds each."""
    folder = tmp_path_factory.mktemp("study")
    changes = {"train__epochs": 60, "resources__gpus_per_training": 1}
    return portable_study(folder, tiny_model, **changes).parent


@pytest.fixture(scope="module")
def unbroken(study: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The results of a run on this machine alone."""
    storage = tmp_path_factory.mktemp("unbroken")
    command = [BIN / "weirdgen", "run", "study.yaml", "--storage", storage]
    command += ["--set", "resources.gpus_per_training=0"]
    done = subprocess.run(
        command, cwd=study, env=bare_environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return (storage / "small" / RESULTS).read_bytes()


@pytest.fixture(scope="module")
def network_of_hosts(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    with networking() as network, pytest.MonkeyPatch.context() as environment:
        for name, value in CREDENTIALS.items():
            environment.setenv(name, value)
        s3 = S3Server(tmp_path_factory.mktemp("s3"), network.address)
        nodes = CREDENTIALS | SOONER
        cluster = LocalCluster(tmp_path_factory.mktemp("cluster"), nodes, network=network)
        try:
            s3.start()
            cluster.start()
            yield Hosts(cluster, s3, study)
        finally:
            cluster.stop()
            s3.kill()


@pytest.fixture
def hosts(network_of_hosts: Hosts) -> Hosts:
    """All of them, those too that an earlier test has lost."""
    cluster = network_of_hosts.cluster
    for lost in (worker for worker in cluster.workers if not worker.find("/raylet/raylet ")):
        lost.stop()
    cluster.start()
    return network_of_hosts


def trains(worker: Node) -> bool:
    """Whether a training on this node has gone beyond its preparations."""
    started = (worker.cache / "weirdgen").glob("scratch/*/attempt-*-trackers")
    return bool(worker.find("ray::run_training") and any(started))


def until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def attempts_in(store: ArtifactStore, folder: str) -> set[str]:
    """What attempts have brought to the storage, committed or not."""
    return set(filter(is_attempt, store.folders(folder)))


def committed(store: ArtifactStore) -> dict[str, bytes]:
    """Path below the storage -> content, of every manifest."""
    inside = [path for path in files_below(store, "artifacts") if Path(path).name == MANIFEST]
    return {path: content for path in inside if (content := store.read(path)) is not None}


def attempts_at_trainings(of: dict[str, bytes]) -> dict[str, int]:
    """Folder of each committed training -> the attempts that it took."""
    return {
        path.removesuffix(f"/{MANIFEST}"): json.loads(content)["attempts"]
        for path, content in of.items()
        if path.startswith("artifacts/train/")
    }


def test_the_training_of_a_host_that_falls_silent_is_made_on_another(
    hosts: Hosts, unbroken: bytes, tmp_path: Path
):
    silent, _ = hosts.cluster.workers
    run, store = hosts.run("silent", tmp_path / "first"), hosts.store("silent")
    run.until(lambda: all(map(trains, hosts.cluster.workers)))
    before = committed(store)
    (stale,) = silent.find("ray::run_training")
    silent.host.unplug()
    for frozen in (
        stale,
        raylet := silent.raylet(),
    ):  # that they outlive the run, however long it takes
        frozen.suspend()
    assert run.end() == 0, run.printed
    assert store.read(f"small/{RESULTS}") == unbroken
    done = committed(store)
    assert {path: done[path] for path in before} == before
    took = attempts_at_trainings(done)
    assert sorted(took.values()) == [1, 2]
    (again,) = (folder for folder, attempts in took.items() if attempts == 2)
    assert run.printed.count("retry train/") == 1
    assert len(attempts_in(store, again)) == 1

    silent.host.plug()
    stale.resume()
    until(lambda: len(attempts_in(store, again)) == 2, "the stale training comes to its end")
    raylet.resume()
    until(lambda: not silent.find("ray::"), "the node ends once it hears that it is dead")
    assert committed(store) == done
    repeated = hosts.run("silent", tmp_path / "second")
    assert repeated.end() == 0
    assert "nothing to do: every step is there" in repeated.printed
    assert committed(store) == done
    assert store.read(f"small/{RESULTS}") == unbroken


def test_a_driver_without_its_storage(hosts: Hosts, unbroken: bytes, tmp_path: Path):
    """It waits for some seconds, says so after more, and the same command continues."""
    head, storage = hosts.cluster.head, hosts.s3.address
    run, store = hosts.run("lost", tmp_path / "first"), hosts.store("lost")
    run.until(lambda: all(map(trains, hosts.cluster.workers)))
    with head.host.losing(storage):
        lease = store.read("small/lease.json")
        time.sleep(OUTAGE_S)
        assert store.read("small/lease.json") == lease, "it could be reached"
    run.until(lambda: "done train/" in run.printed)
    with head.host.losing(storage):
        assert run.end() == 2, run.printed
    assert re.search(r"^weirdgen: .*storage.*$", run.printed.splitlines()[-1])
    assert "Traceback" not in run.printed
    before = committed(store)
    again = hosts.run("lost", tmp_path / "second")
    assert again.end() == 0, again.printed
    assert store.read(f"small/{RESULTS}") == unbroken
    done = committed(store)
    assert {path: done[path] for path in before} == before
