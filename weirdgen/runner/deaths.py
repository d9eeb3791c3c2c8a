"""What Ray tells of a worker, an actor or a node that died."""

from __future__ import annotations

from ray.exceptions import ActorDiedError, ActorUnavailableError, NodeDiedError, RayError


def went_with_node(error: RayError) -> bool:
    """Whether Ray means that the node has gone, not what ran there alone."""
    if isinstance(error, NodeDiedError | ActorUnavailableError):
        return True
    return isinstance(error, ActorDiedError) and "node has died" in str(error)


def why(error: RayError) -> str:
    """What happened, and what Ray knows of the cause, which stands last."""
    first, *others = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join([first, *others[-1:]])}"
