"""A Ray of its own on this machine, with logical GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import ray
from ray.cluster_utils import Cluster

NODE = {"num_cpus": 2, "num_gpus": 1, "object_store_memory": 100_000_000}
"""A node with a logical GPU."""


@contextmanager
def ray_with(gpus: int, *modules: ModuleType) -> Iterator[None]:
    """`modules`: of the tests, whose classes go to workers that cannot import them."""
    ray.init(
        "local",
        num_cpus=4,
        num_gpus=gpus,
        include_dashboard=False,
        object_store_memory=100_000_000,
    )
    for module in modules:
        ray.cloudpickle.register_pickle_by_value(module)
    yield
    ray.shutdown()


@contextmanager
def growing(*modules: ModuleType) -> Iterator[Cluster]:
    """A cluster of one NODE, joined by this process, to which others can be added."""
    made = Cluster(initialize_head=True, head_node_args=NODE | {"include_dashboard": False})
    ray.init(made.address, log_to_driver=False)
    for module in modules:
        ray.cloudpickle.register_pickle_by_value(module)
    yield made
    ray.shutdown()
    made.shutdown()
