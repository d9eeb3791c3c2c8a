"""A study submitted as a job to a real cluster behind a token, its storage on a real S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from job_runs import run
from local_cluster import LocalCluster
from s3_server import CREDENTIALS, S3Server
from stored_files import files_below
from studies import portable_study

from weirdgen.results.table import RESULTS
from weirdgen.storage.artifacts import ArtifactStore


@dataclass
class Submitted:
    """A study's folder, and what a job made of it."""

    folder: Path
    cluster: LocalCluster
    storage: str
    code: int
    printed: str

    def again(self, access: dict[str, str] | None = None) -> tuple[int, str]:
        command = "weirdgen", "run", "study.yaml", "--storage", self.storage
        return self.cluster.submit(self.folder, *command, access=access)

    def objects(self) -> dict[str, float]:
        """Path -> when it was written, of all artifacts."""
        return files_below(ArtifactStore(self.storage), "artifacts")


@pytest.fixture(scope="module")
def submitted(
    s3_of_module: S3Server, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Submitted]:
    folder = tmp_path_factory.mktemp("study")
    gpus = {"resources__gpus_per_training": 1, "resources__gpus_per_engine": 1}
    portable_study(folder, tiny_model, **gpus)
    cluster = LocalCluster(tmp_path_factory.mktemp("cluster"), CREDENTIALS)
    try:
        cluster.start()
        made = Submitted(folder, cluster, s3_of_module.uri("weirdgen"), 0, "")
        made.code, made.printed = made.again()
        yield made
    finally:
        cluster.stop()


def test_its_results_are_those_of_a_run_on_this_machine(submitted: Submitted, tmp_path: Path):
    assert submitted.code == 0, submitted.printed
    cpus = "resources={gpus_per_training: 0, gpus_per_engine: 0}"
    code, printed = run(submitted.folder, "--set", cpus, "--storage", str(tmp_path))
    assert code == 0, printed
    here = (tmp_path / "small" / RESULTS).read_bytes()
    assert ArtifactStore(submitted.storage).read(f"small/{RESULTS}") == here


def test_trainings_and_engines_ran_on_the_workers(submitted: Submitted):
    addresses = {node["node_id"]: node["node_ip"] for node in submitted.cluster.state("nodes")}
    tasks = submitted.cluster.state("tasks")
    ran = {
        name: {addresses[task["node_id"]] for task in tasks if task["name"] == name}
        for name in ("run_training", "EngineActor.run")
    }
    assert all(ran.values())
    assert set.union(*ran.values()) == {node.address for node in submitted.cluster.workers}


def test_adapters_are_in_the_caches_of_workers_alone(submitted: Submitted):
    def adapters(cache: Path) -> set[str]:
        files = cache.glob("weirdgen/*/attempt-*/adapter/adapter_model.safetensors")
        return {file.parent.parent.name for file in files}

    store = ArtifactStore(submitted.storage)
    trained = {
        attempt
        for training in store.folders("artifacts/train")
        for attempt in store.folders(f"artifacts/train/{training}")
    }
    assert len(trained) == 2
    caches = [adapters(worker.cache) for worker in submitted.cluster.workers]
    assert set.union(*caches) == trained
    assert not adapters(submitted.cluster.head.cache)


def test_the_same_job_again_does_nothing(submitted: Submitted):
    before = submitted.objects()
    code, printed = submitted.again()
    assert code == 0, printed
    assert "nothing to do: every step is there" in printed
    assert submitted.objects() == before


def test_nodes_that_cannot_read_the_storage_are_named(submitted: Submitted, s3: S3Server):
    key, storage = CREDENTIALS["AWS_ACCESS_KEY_ID"], s3.uri("blind")
    driver = "env", f"AWS_ACCESS_KEY_ID={key}", "weirdgen", "run", "study.yaml"
    tasks = {"AWS_ACCESS_KEY_ID": "nobody"}
    code, printed = submitted.cluster.submit(
        submitted.folder, *driver, "--storage", storage, environment=tasks
    )
    assert code == 1
    blind = ", ".join(sorted(node.address for node in submitted.cluster.nodes))
    assert f"weirdgen: --storage {storage}: {blind} cannot read what this process writes" in printed
    assert not ArtifactStore(storage).exists("artifacts")


@pytest.mark.parametrize("token", [{"RAY_AUTH_TOKEN": "0" * 64}, {"HOME": "/nonexistent"}])
def test_a_wrong_token_or_none_is_refused(submitted: Submitted, token: dict[str, str]):
    code, printed = submitted.again(access={"RAY_AUTH_MODE": "token"} | token)
    assert code == 1
    assert "AuthenticationError" in printed
    joining = {"RAY_ADDRESS": submitted.cluster.gcs_address, "RAY_AUTH_MODE": "token"}
    code, printed = run(submitted.folder, **joining, **token)
    assert code == 2
    refused = f"weirdgen: RAY_ADDRESS: {submitted.cluster.gcs_address} requires an auth token"
    assert printed.splitlines()[-1].startswith(refused)


def test_an_address_where_nobody_answers_is_said_at_once(submitted: Submitted):
    code, printed = run(submitted.folder, RAY_ADDRESS="127.0.1.1:1")
    assert (code, printed) == (
        2,
        "weirdgen: RAY_ADDRESS: nothing answers at 127.0.1.1:1 (Connection refused)\n",
    )
