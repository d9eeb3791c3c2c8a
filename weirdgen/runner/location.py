"""Where something ran: attached to results, progress and errors."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from functools import wraps
from typing import NamedTuple, ParamSpec, TypeVar

import ray

P = ParamSpec("P")
R = TypeVar("R")


class WorkerLocation(NamedTuple):
    """A host, a GPU and a Ray node; all empty where unknown."""

    host: str = ""
    gpu: str = ""
    """As CUDA_VISIBLE_DEVICES names it; empty without one."""
    node: str = ""
    """Ray's id of the node."""


def current_location() -> WorkerLocation:
    """Where this worker runs."""
    node = ray.get_runtime_context().get_node_id()
    return WorkerLocation(platform.node(), os.environ.get("CUDA_VISIBLE_DEVICES", ""), node)


def telling_node(function: Callable[P, R]) -> Callable[P, R]:
    """Wraps the function so that its errors carry the node's id; some error classes lose it in pickling."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            error.__dict__["ray_node"] = ray.get_runtime_context().get_node_id()
            raise

    return call


def node_of(error: BaseException) -> str:
    """The id of the node where the error was raised, or an empty string."""
    return getattr(error, "ray_node", "")
