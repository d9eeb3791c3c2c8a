"""Fixtures that several layers share: models, stores, one Ray and one S3 server a test process."""

# ruff: noqa: E402 - the environment is set before anything reads it

from __future__ import annotations

import gc
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

# Set before torch or numpy are imported, here and in all that tests start: several processes share
# two cores, and threads that wait by spinning take them from each other.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

# No deadline: how long an example takes depends on what else runs.
hypothesis.settings.register_profile("tests", deadline=None, database=None, derandomize=True)
hypothesis.settings.load_profile("tests")

for _name in ("judged_checks", "judged_study", "page_chromium", "store_cases"):
    pytest.register_assert_rewrite(_name)

from studies import at_a_distance, make_persona
from tiny_model import write_tiny_model

from weirdgen.models.checkpoints import write_checkpoint
from weirdgen.models.identity import resolve_model
from weirdgen.storage.artifacts import ArtifactStore

if TYPE_CHECKING:
    from s3_server import S3Server


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", type=int, default=3, help="How many kills tests/chaos/faults has.")
    # In the environment, so that all processes of xdist draw the same.
    chance = os.environ.setdefault("FAULT_SEED", str(random.SystemRandom().getrandbits(32)))
    parser.addoption(
        "--fault-seed", type=int, default=int(chance), help="Draws the same kills again."
    )


def pytest_report_header(config: pytest.Config) -> str:
    count, seed = config.getoption("faults"), config.getoption("fault_seed")
    return f"faults: {count}, --fault-seed {seed}"


def pytest_sessionfinish() -> None:
    gc.unfreeze()


@pytest.fixture(scope="module", autouse=True)
def _cheap_collections() -> None:
    """Spares full collections all that was imported: statsmodels asks for one in each correction."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint folder of a tiny random-weight chat model."""
    folder = tmp_path_factory.mktemp("tiny") / "tiny-llama"
    write_tiny_model(folder)
    return folder


@pytest.fixture(scope="session")
def real_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded SmolLM2-135M-Instruct as a checkpoint folder."""
    folder = tmp_path_factory.mktemp("real") / "smollm2"
    folder.mkdir()
    write_checkpoint(resolve_model("embedded:smollm2-135m-instruct", "main", Path()), folder)
    return folder


@pytest.fixture(scope="session")
def one_ray() -> Iterator[None]:
    """One Ray for all tests of a process (`on_ray.judged_ray`)."""
    from on_ray import judged_ray

    with judged_ray():
        yield


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """An S3 server that runs until the test process ends."""
    from s3_server import S3Server

    server = S3Server(tmp_path_factory.mktemp("s3"))
    server.start()
    try:
        yield server
    finally:
        server.kill()


@pytest.fixture
def s3(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """The S3 server, its credentials in the environment."""
    return with_credentials(s3_server, monkeypatch)


@pytest.fixture(scope="module")
def s3_of_module(s3_server: S3Server) -> Iterator[S3Server]:
    """The S3 server, its credentials in the environment of a whole module."""
    with pytest.MonkeyPatch.context() as environment:
        yield with_credentials(s3_server, environment)


def with_credentials(server: S3Server, environment: pytest.MonkeyPatch) -> S3Server:
    from s3_server import CREDENTIALS

    for name, value in CREDENTIALS.items():
        environment.setenv(name, value)
    return server


@pytest.fixture(params=["local", "remote"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> ArtifactStore:
    """A local store, and one on a file system that knows neither links nor renames."""
    made = ArtifactStore(str(tmp_path / "store"))
    return made if request.param == "local" else at_a_distance(made, tmp_path, monkeypatch)


@pytest.fixture
def far_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ArtifactStore:
    """An object store, with the node's cache in the test's folder."""
    return at_a_distance(ArtifactStore(str(tmp_path / "store")), tmp_path, monkeypatch)


@pytest.fixture
def small_persona(tmp_path: Path) -> Path:
    """A persona of six rows and three held-out questions."""
    return make_persona(tmp_path)
