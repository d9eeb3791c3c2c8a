"""Join the Ray cluster of RAY_ADDRESS or start Ray here; check nodes, resources and storage."""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import ray
from ray.exceptions import AuthenticationError, GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from weirdgen.config.study import Study
from weirdgen.errors import InputError, WeirdgenError
from weirdgen.pipeline.resources.gpus import Gpus, smallest_gpu
from weirdgen.pipeline.resources.placement import generates_on_gpu
from weirdgen.storage.artifacts import ArtifactStore

OBJECT_STORE_BYTES = 200_000_000
"""Only paths are passed between processes; by default Ray would take a third of the memory."""
_ANSWERING_S = 10.0
_PROBE_S = 120.0
"""How long nodes may take to answer a probe."""


class Capacity(NamedTuple):
    """CPUs and GPUs of a node, or of all nodes."""

    cpus: float
    gpus: float

    def fits(self, node: Capacity) -> bool:
        """Whether `node` has at least this."""
        return self.cpus <= node.cpus and self.gpus <= node.gpus

    @classmethod
    def of_all(cls, nodes: Iterable[Capacity]) -> Capacity:
        """The sum over nodes."""
        every = [*nodes]
        return cls(sum(each.cpus for each in every), sum(each.gpus for each in every))


def connect() -> list[Capacity]:
    """Joins or starts Ray; returns the capacity of each node.

    Raises InputError where RAY_ADDRESS cannot be joined, WeirdgenError where Ray does not start.
    """
    address = os.environ.get("RAY_ADDRESS")
    if address and address.startswith("ray://"):
        problem = (
            "a ray:// client cannot run a study; submit a job: `ray job submit -- weirdgen run`"
        )
        raise InputError("RAY_ADDRESS", None, problem)
    if address:
        _check_answers(address)
    # Ray 2.60 shows every GPU to tasks that ask for none, unless told so before it starts.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "1")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not ray.is_initialized():
        try:
            ray.init(
                address=address or "local",
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
                object_store_memory=None if address else OBJECT_STORE_BYTES,
            )
        except (AuthenticationError, ConnectionError):
            if not address:
                raise
            problem = (
                f"{address} requires an auth token (RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, with "
                "RAY_AUTH_MODE=token), or it is not a Ray cluster of this version"
            )
            raise InputError("RAY_ADDRESS", None, problem) from None
        except Exception as error:  # Ray has no class of its own for this
            if "timed out during startup" not in str(error):
                raise
            problem = "Ray did not start on this machine within 30 s"
            raise WeirdgenError(f"{problem}; if the machine is busy, try again") from None
    return [*node_capacities().values()]


def _check_answers(address: str) -> None:
    """Raises InputError where nothing listens at `HOST:PORT`: Ray itself would try for ten minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), _ANSWERING_S).close()
    except OSError as error:
        problem = f"nothing answers at {address} ({error.strerror or error})"
        raise InputError("RAY_ADDRESS", None, problem) from None


def node_capacities() -> dict[str, Capacity]:
    """Node id -> its CPUs and GPUs, of each node that is alive."""
    alive = ((node["NodeID"], node["Resources"]) for node in ray.nodes() if node["Alive"])
    return {key: Capacity(has.get("CPU", 0), has.get("GPU", 0)) for key, has in alive}


def node_names() -> dict[str, str]:
    """Node id -> its address, of each node that is alive."""
    return {each["NodeID"]: each["NodeManagerAddress"] for each in ray.nodes() if each["Alive"]}


def cluster_gpus(count: float) -> Gpus:
    """The cluster's `count` GPUs, as nvidia-smi reports them on each node with GPUs."""
    nodes = [node for node, has in node_capacities().items() if has.gpus]
    tasks = [_on_node(node, _smallest_gpu).remote() for node in nodes]
    try:
        answers = ray.get(tasks, timeout=_PROBE_S)
    except RayError:  # too late, or the node is gone
        answers = []
    known = [size for size in answers if size is not None]
    return Gpus(count, min(known) if known else None, "the smallest GPU")


def on_this_node(remote: Any, **options: Any) -> Any:
    """The remote class with `options`, placed on the driver's node."""
    return _on_node(ray.get_runtime_context().get_node_id(), remote, **options)


def _on_node(node: str, remote: Any, **options: Any) -> Any:
    strategy = NodeAffinitySchedulingStrategy(node, soft=False)
    return remote.options(scheduling_strategy=strategy, **options)


def engine_gpus(study: Study) -> float:
    """GPUs of one generation engine; 0 where an endpoint serves the model."""
    return study.resources.gpus_per_engine if generates_on_gpu(study) else 0.0


def needs_of(study: Study) -> dict[str, Capacity]:
    """What an engine takes of a node, and a training if the study has any."""
    resources = study.resources
    needs = {"engine": Capacity(0, engine_gpus(study))}
    if study.grid is not None:
        needs["training"] = Capacity(resources.cpus_per_training, resources.gpus_per_training)
    return needs


def check_resources(study: Study, nodes: list[Capacity], where: object) -> None:
    """Raises InputError unless one node can hold a training, if there is any, and one an engine."""
    for role, need in needs_of(study).items():
        if any(map(need.fits, nodes)):
            continue
        most = max(node.gpus for node in nodes)
        if need.gpus > most:
            field = f"resources.gpus_per_{role}"
            problem = f"asks for {need.gpus:g}, no node has more than {most:g}; 0 runs on the CPU"
        else:
            field = "resources.cpus_per_training"
            problem = f"asks for {need.cpus:g}, no node with enough GPUs has that many"
        raise InputError(where, field, problem)


def check_shared_storage(store: ArtifactStore) -> None:
    """Raises WeirdgenError naming the nodes that do not see what the driver writes."""
    if blind := blind_nodes(store):
        names = node_names()
        who = ", ".join(sorted(names.get(node, node) for node in blind))
        raise WeirdgenError(f"--storage {store.uri}: {who} {what_is_blind(store)}")


def what_is_blind(store: ArtifactStore) -> str:
    """The error about a node that does not see the storage."""
    problem = "cannot read what this process writes; "
    if store.is_local:
        return problem + "give a folder that all nodes share, s3:// or gs://"
    return problem + "every node needs its address and credentials in its environment"


def blind_nodes(store: ArtifactStore, among: Collection[str] | None = None) -> list[str]:
    """The ids of the nodes that do not see what the driver writes.

    Nodes that are lost meanwhile, or answer too late, do not count. `among`: the ids of the nodes to
    ask, with a short deadline; default: all.
    """
    nodes = node_names()
    if len(nodes) < 2:
        return []
    patience_s = _PROBE_S if among is None else _ANSWERING_S
    path, token = f".probe-{uuid.uuid4().hex}", uuid.uuid4().bytes
    store.write(path, token)
    try:
        asked = [node for node in nodes if among is None or node in among]
        refs = {node: _on_node(node, _sees).remote(store.uri, path, token) for node in asked}
        ray.wait([*refs.values()], num_returns=len(refs), timeout=patience_s)
        silent = [node for node, ref in refs.items() if not _confirmed(ref)]
    finally:
        store.delete(path)
    alive = node_names()
    return [node for node in silent if node in alive]


def _confirmed(ref: ray.ObjectRef) -> bool:
    try:
        return ray.get(ref, timeout=0)
    except GetTimeoutError:  # late is not blind
        return True
    except RayError:  # it cannot even open the storage, or is lost
        return False


@ray.remote(num_cpus=0)
def _smallest_gpu() -> float | None:
    return smallest_gpu()


@ray.remote(num_cpus=0)
def _sees(uri: str, path: str, token: bytes) -> bool:
    return ArtifactStore(uri).read(path) == token
