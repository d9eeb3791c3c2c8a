"""A Ray of its own on this machine, with logical GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import ray


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
