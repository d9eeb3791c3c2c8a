"""Where something ran, told with what came of it: a result, progress, or an error."""

from __future__ import annotations

import os
import platform
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import wraps
from typing import NamedTuple, ParamSpec, TypeVar

import ray

P = ParamSpec("P")
R = TypeVar("R")


class Place(NamedTuple):
    """All empty where it is not known."""

    host: str = ""
    gpu: str = ""
    """As CUDA_VISIBLE_DEVICES names it; empty without one."""
    node: str = ""
    """The id that Ray gave the node when it joined."""


@dataclass(frozen=True, eq=False)
class Trouble:
    """A failure on a node, of one step or of several together."""

    node: str
    is_error: bool = False
    """Whether it was a Python error, which comes again in the same place."""


def to_avoid(troubles: Collection[Trouble]) -> set[str]:
    """The nodes where the same would be tried in vain: after an error, or a second death."""
    deaths = Counter(each.node for each in troubles)
    return {each.node for each in troubles if each.is_error or deaths[each.node] > 1}


def here() -> Place:
    """Where this worker runs."""
    node = ray.get_runtime_context().get_node_id()
    return Place(platform.node(), os.environ.get("CUDA_VISIBLE_DEVICES", ""), node)


def telling_node(function: Callable[P, R]) -> Callable[P, R]:
    """The function, whose errors bear the id of the node: Ray tells it with none."""

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
