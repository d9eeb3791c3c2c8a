"""Ray on this machine, with logical GPUs; its workers import what is in tests/support."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import ray
from asking import assert_secret
from fake_endpoint import KEY, VARIABLE
from ray.cluster_utils import Cluster
from studies import REPOSITORY, SUPPORT

NODE = {"num_cpus": 2, "num_gpus": 1, "object_store_memory": 100_000_000}
"""A node with a logical GPU."""

IMPORTS = os.pathsep.join(map(str, (REPOSITORY, SUPPORT)))
"""PYTHONPATH of workers."""


@contextmanager
def _environment() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.delenv("RAY_ADDRESS", raising=False)
        environment.setenv("PYTHONPATH", IMPORTS)
        yield


@contextmanager
def ray_with(gpus: int, temp_dir: str | None = None) -> Iterator[None]:
    """One node of 4 CPUs, joined by this process."""
    with _environment():
        _start(
            num_cpus=4,
            num_gpus=gpus,
            include_dashboard=False,
            object_store_memory=100_000_000,
            log_to_driver=False,
            _temp_dir=temp_dir,
        )
        yield
        ray.shutdown()


@contextmanager
def judged_ray() -> Iterator[None]:
    """4 CPUs and 2 logical GPUs, a judge's key in the environment; the key is in no file of Ray's."""
    folder = tempfile.mkdtemp(prefix="wg")  # Ray's sockets take no long path
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(VARIABLE, KEY)
        with ray_with(gpus=2, temp_dir=folder):
            yield
    assert_secret(storage=Path(folder))


def _start(**options: Any) -> None:
    """Ray gives a node 30 s to start, which may not do beside other tests."""
    for left in (2, 1, 0):
        try:
            ray.init("local", **options)
        except Exception as error:
            if not left or "timed out" not in str(error):
                raise
            ray.shutdown()
        else:
            return


@contextmanager
def growing() -> Iterator[Cluster]:
    """A cluster of one NODE, joined by this process, to which others can be added."""
    with _environment():
        made = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
        ray.init(made.address, log_to_driver=False)
        yield made
        ray.shutdown()
        made.shutdown()
