"""Has the autoscaler bring GPUs and, once they are there, becomes a command: `weirdgen run` wants one when it starts, and asks for no more than it saw.

python cluster/await_gpus.py 8 weirdgen run ...
"""

from __future__ import annotations

import argparse
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


def wait(wanted: int, minutes: float) -> None:
    """Returns once so many GPUs are there. Where that takes longer, the process says how many came and ends with code 1."""
    deadline = time.monotonic() + 60 * minutes
    told = -1
    while (there := int(ray.cluster_resources().get("GPU", 0))) < wanted:
        if there > told:
            print(f"{there} of {wanted} GPUs", flush=True)
            told = there
        if time.monotonic() > deadline:
            sys.exit(
                f"await_gpus.py: {there} of {wanted} GPUs are there after {minutes:g} minutes: "
                "ask for fewer, or wait longer: --minutes M before their number"
            )
        time.sleep(LOOK_S)


def main() -> None:
    parser = argparse.ArgumentParser(description="Waits for GPUs, then becomes a command.")
    parser.add_argument(
        "--minutes", type=float, default=30.0, help="how long to wait at most (default: 30)"
    )
    parser.add_argument("gpus", type=int, help="how many; no more than the cluster may grow to")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what to run then")
    options = parser.parse_args()
    if not options.command:
        parser.error("a command is needed: await_gpus.py 8 weirdgen run ...")
    ray.init(log_to_driver=False, logging_level=logging.ERROR)  # the cluster of RAY_ADDRESS
    try:
        request_resources(bundles=[{"GPU": 1}] * options.gpus)
        wait(options.gpus, options.minutes)
        nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("GPU")]
        on = [NodeAffinitySchedulingStrategy(node["NodeID"], soft=False) for node in nodes]
        ray.get([_use.options(scheduling_strategy=each).remote() for each in on])
    finally:
        request_resources(bundles=[])  # from now on what has nothing to do may go
    ray.shutdown()
    os.execvp(options.command[0], options.command)  # noqa: S606, the command is the job's own


if __name__ == "__main__":
    main()
