"""Has the autoscaler bring GPUs and, once they are there, becomes a command: `weirdgen run` wants one when it starts, and asks for no more than it saw.

python cluster/await_gpus.py 8 weirdgen run ...
"""

from __future__ import annotations

import logging
import os
import sys
import time

import ray
from ray.autoscaler.sdk import request_resources
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

LOOK_S = 2.0
"""How long to wait between two looks at the cluster."""


@ray.remote(num_cpus=0, num_gpus=0.01)
def _use() -> None:
    """Starts the clock of a node anew, by which it would come to count as idle."""


def main() -> None:
    wanted, command = int(sys.argv[1]), sys.argv[2:]
    ray.init(log_to_driver=False, logging_level=logging.ERROR)  # the cluster of RAY_ADDRESS
    request_resources(bundles=[{"GPU": 1}] * wanted)
    told = -1
    while (there := int(ray.cluster_resources().get("GPU", 0))) < wanted:
        if there > told:
            print(f"{there} of {wanted} GPUs", flush=True)
            told = there
        time.sleep(LOOK_S)
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU")]
    on = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
    ray.get([_use.options(scheduling_strategy=each).remote() for each in on])
    request_resources(bundles=[])  # from now on what has nothing to do may go
    ray.shutdown()
    os.execvp(command[0], command)  # noqa: S606, the command is the job's own


if __name__ == "__main__":
    main()
