"""Where something ran, told with what came of it: a result, progress, or an error."""

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
    """All empty where it is not known."""

    host: str = ""
    gpu: str = ""
    """As CUDA_VISIBLE_DEVICES names it; empty without one."""
    node: str = ""
    """The id that Ray gave the node when it joined."""


def current_location() -> WorkerLocation:
    """Where this worker runs."""
    node = ray.get_runtime_context().get_node_id()
    return WorkerLocation(platform.node(), os.environ.get("CUDA_VISIBLE_DEVICES", ""), node)


def telling_node(function: Callable[P, R]) -> Callable[P, R]:
    """The function, whose errors bear the id of the node; some classes lose it on their way."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except Exception as error:
            error.__dict__["ray_node"] = ray.get_runtime_context().get_node_id()
            raise

    return call


def node_of(error: BaseException) -> str:
    """The id of the node where it was raised, or an empty string."""
    return getattr(error, "ray_node", "")
