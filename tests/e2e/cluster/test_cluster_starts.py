"""What under cluster/ starts Ray, run on this machine: the GPUs of an autoscaler, the nodes of a Slurm allocation."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from studies import REPOSITORY

RAY = Path(sys.executable).with_name("ray")
HEAD = "f" * 51 + "00000"
"""The head's id, as Ray's provider of made-up nodes knows it."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: Ray's sockets take no long one."""
    made = Path(tempfile.mkdtemp(prefix="wg"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def end(process: subprocess.Popen) -> None:
    """Ends a process and all that it started."""
    family = psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []
    process.terminate()
    process.wait(60)
    for each in family:
        if each.is_running():
            each.kill()


def until(true: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.fixture(scope="module")
def growing() -> Iterator[dict[str, str]]:
    """The environment of a cluster of no GPUs that grows to two, by Ray's own autoscaler, whose provider starts nodes on this machine."""
    folder = Path(tempfile.mkdtemp(prefix="wg"))
    address = f"127.0.0.1:{free_port()}"
    nothing: dict = {
        "auth": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        "cluster_synced_files": [],
        "initialization_commands": [],
    }
    for part in ("setup", "head_setup", "worker_setup", "head_start_ray", "worker_start_ray"):
        nothing[f"{part}_commands"] = []
    store = {"object_store_memory": 80_000_000}
    config = {
        **nothing,
        "cluster_name": "made-up",
        "max_workers": 2,
        "upscaling_speed": 2,
        "idle_timeout_minutes": 0.25,
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
            "launch_multiple": True,
            "head_node_id": HEAD,
            "gcs_address": address,
        },
        "head_node_type": "ray.head.default",
        "available_node_types": {
            "ray.head.default": {
                "resources": {"CPU": 0, **store},
                "node_config": {},
                "max_workers": 0,
            },
            "gpu": {
                "resources": {"CPU": 1, "GPU": 1, **store},
                "node_config": {},
                "min_workers": 0,
                "max_workers": 2,
            },
        },
    }
    (folder / "config.json").write_text(json.dumps(config))
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_enable_autoscaler_v2": "1"}
    of_head = {
        **environment,
        "RAY_FAKE_CLUSTER": "1",
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_OVERRIDE_NODE_ID_FOR_TESTING": HEAD,
        "RAY_CLOUD_INSTANCE_ID": HEAD,
        "RAY_NODE_TYPE_NAME": "ray.head.default",
    }
    command = [RAY, "start", "--head", "--block", f"--port={address.rpartition(':')[2]}"]
    command += ["--num-cpus=0", "--num-gpus=0", "--object-store-memory=80000000"]
    command += [f"--autoscaling-config={folder / 'config.json'}", f"--temp-dir={folder}"]
    command += ["--node-ip-address=127.0.0.1", "--include-dashboard=false"]
    with (folder / "log").open("w") as log:
        head = subprocess.Popen(command, env=of_head, stdout=log, stderr=log)
    try:
        until(lambda: "runtime started" in (folder / "log").read_text(), 60, "the head")
        yield {**environment, "RAY_ADDRESS": address}
    finally:
        end(head)
        shutil.rmtree(folder, ignore_errors=True)


AWAITS = [sys.executable, str(REPOSITORY / "cluster" / "await_gpus.py")]
GOING = [
    sys.executable,
    "-c",
    "import ray, time; ray.init(logging_level='ERROR', log_to_driver=False)\n"
    "gpus = lambda: ray.cluster_resources().get('GPU', 0)\n"
    "print('began with', gpus(), flush=True)\n"
    "while gpus(): time.sleep(0.5)\n"
    "print('none left')",
]


def ran(command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def said(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What `GOING` printed."""
    return [line for line in done.stdout.splitlines() if line.startswith(("began", "none"))]


def test_gpus_are_brought_from_zero_before_the_command_runs_and_go_when_it_does_nothing(
    growing: dict[str, str],
):
    done = ran([*AWAITS, "2", *GOING], growing)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == "0 of 2 GPUs"
    assert said(done) == ["began with 2.0", "none left"]


def test_where_fewer_gpus_come_the_wait_ends_and_they_go(growing: dict[str, str]):
    fewer = [*AWAITS, "--minutes", "0.02", "3", "echo", "began"]
    done = ran([*AWAITS, "2", *fewer], growing)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "await_gpus.py: 2 of 3 GPUs are there after 0.02 minutes: "
        "ask for fewer, or wait longer: --minutes M before their number"
    )
    assert said(done) == []
    assert said(ran(GOING, growing))[-1] == "none left"


def test_a_wait_that_is_stopped_asks_for_no_more(growing: dict[str, str]):
    """By SIGTERM, as `ray job stop` does it."""
    waits = subprocess.Popen([*AWAITS, "2", "true"], env=growing, stdout=subprocess.PIPE, text=True)
    assert waits.stdout is not None
    assert waits.stdout.readline() == "0 of 2 GPUs\n"
    waits.terminate()
    assert waits.wait(60) != 0
    time.sleep(10)  # by then they are there, if they come
    assert said(ran(GOING, growing))[-1] == "none left"


class Allocation:
    """Two nodes of an allocation, both this machine: what Slurm's commands and the environment would be."""

    def __init__(self, folder: Path, driver: str) -> None:
        self.folder, self.number = folder, str(free_port())
        commands = {
            "scontrol": f'echo "$*" >>{folder}/scontrol; [[ $1 != show ]] || printf "n1\\nn2\\n"',
            "srun": f'''echo "$*" >>{folder}/srun
                while [[ $1 == --* ]]; do shift; done
                if [[ $1 == python ]]; then echo 127.0.0.1; exit; fi
                exec "$@"''',
            "ray": f'exec {RAY} "$@"',
            "python": f'exec {sys.executable} "$@"',
            "weirdgen": driver,
        }
        (folder / "bin").mkdir()
        for name, script in commands.items():
            path = folder / "bin" / name
            path.write_text(f"#!/usr/bin/env bash\n{script}\n")
            path.chmod(0o755)
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith("RAY_")
        }
        environment |= {
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "ENVIRONMENT": str(folder),
            "STORAGE": "/storage",
            "SLURM_SUBMIT_DIR": str(REPOSITORY),
            "SLURM_JOB_NODELIST": "n[1-2]",
            "SLURM_JOB_ID": self.number,
            "SLURM_CPUS_PER_TASK": "1",
        }
        with (folder / "log").open("w") as log:
            self.job = subprocess.Popen(
                ["bash", REPOSITORY / "cluster" / "slurm.sbatch"],
                env=environment,
                stdout=log,
                stderr=log,
            )

    def told(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""


def rays(folder: Path) -> list[int]:
    """Raylets that belong to the allocation of `folder`, by their environment."""
    found = []
    for process in psutil.process_iter(["name", "pid"]):
        if process.info["name"] == "raylet":
            try:
                if process.environ().get("ENVIRONMENT") == str(folder):
                    found.append(process.info["pid"])
            except psutil.Error:
                continue
    return found


def test_an_allocation_starts_all_nodes_runs_the_driver_and_cleans_up(folder: Path):
    look = "import ray; ray.init(logging_level='ERROR'); print(sum(n['Alive'] for n in ray.nodes()), 'nodes', ray.cluster_resources()['CPU'], 'CPUs')"
    allocation = Allocation(folder, f'echo "$@" >{folder}/driver; python -c "{look}"; exit 7')
    try:
        assert allocation.job.wait(120) == 7, allocation.told("log")
    finally:
        end(allocation.job)
    assert allocation.told("driver") == "run jobs/russell-smollm2-1.7b.yaml --storage /storage\n"
    assert "2 nodes 2.0 CPUs" in allocation.told("log")
    started = [line for line in allocation.told("srun").splitlines() if "ray start" in line]
    nodes = {"--nodelist=n1" in line: "--head" in line for line in started}
    assert nodes == {True: True, False: False}, "the head on the first, no other"
    assert all("--cpus-per-task=1 --cpu-bind=none" in line for line in started)
    assert "requeue" not in allocation.told("scontrol")
    assert rays(folder) == []


def test_the_signal_before_the_time_is_up_ends_the_driver_and_queues_the_job_again(folder: Path):
    driver = f"trap 'echo ended >{folder}/ended; exit 143' TERM; touch {folder}/begun; while :; do sleep 0.1; done"
    allocation = Allocation(folder, driver)
    try:
        until((folder / "begun").exists, 120, "the driver")
        allocation.job.send_signal(signal.SIGUSR1)
        allocation.job.wait(60)
    finally:
        end(allocation.job)
    assert allocation.told("ended") == "ended\n"
    assert f"requeue {allocation.number}" in allocation.told("scontrol")
    assert rays(folder) == []
