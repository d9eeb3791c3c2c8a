"""A real S3-compatible server, SeaweedFS, that keeps its data on disk, for tests."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from pyarrow import fs

BUCKET = "bucket"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tests", "AWS_SECRET_ACCESS_KEY": "tests-secret"}
_PORTS = (
    "-s3.port",
    "-s3.port.grpc",
    "-filer.port",
    "-filer.port.grpc",
    "-master.port",
    "-master.port.grpc",
    "-volume.port",
    "-volume.port.grpc",
)
_STARTING_S = 60.0


class S3Server:
    """One server process on one folder and port, through all its starts; `BUCKET` is there."""

    def __init__(self, folder: Path, address: str = "127.0.0.1") -> None:
        self._folder, self.address = folder, address
        self._ports = free_ports(len(_PORTS))
        self.endpoint = f"{address}:{self._ports[0]}"
        self.url = f"http://{self.endpoint}"
        self._process: subprocess.Popen | None = None

    def uri(self, prefix: str) -> str:
        """What `--storage` takes."""
        return f"s3://{BUCKET}/{prefix}?endpoint_override={self.endpoint}&scheme=http"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Returns once an object can be written, some 2 s later."""
        self._folder.mkdir(parents=True, exist_ok=True)
        ports = [f"{name}={port}" for name, port in zip(_PORTS, self._ports, strict=True)]
        command = [
            Path(sys.executable).parent / "weed", "-logtostderr=true", "server",
            f"-dir={self._folder}", f"-ip={self.address}", f"-ip.bind={self.address}",
            "-filer", "-s3", *ports,
            "-s3.port.iceberg=0", "-s3.port.lance=0", "-s3.autoCreateBucket=false",
            f"-s3.localSocket={self._folder}/s3.sock", f"-filer.localSocket={self._folder}/filer.sock",
            # The sooner there is a leader, the sooner a server that was killed serves again.
            "-master.electionTimeout=200ms", "-master.heartbeatInterval=50ms",
            "-master.volumeSizeLimitMB=64", "-volume.max=0", "-master.telemetry=false",
        ]  # fmt: skip
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env=os.environ | CREDENTIALS, stdout=log, stderr=log
            )
        self._await()

    def kill(self) -> None:
        """As kill -9 does it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        for port in self._ports:
            for left in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                left.unlink()

    def _await(self) -> None:
        impatient = fs.S3FileSystem(
            access_key=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            secret_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
            endpoint_override=self.url,
            allow_bucket_creation=True,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1),
        )
        deadline = time.monotonic() + _STARTING_S
        while True:
            assert self._process is not None
            assert self._process.poll() is None, (self._folder / "server.log").read_text()[-2000:]
            try:
                impatient.create_dir(BUCKET)
                with impatient.open_output_stream(f"{BUCKET}/ready"):
                    return
            except OSError:
                assert time.monotonic() < deadline, "the S3 server does not come up"
                time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Ports that nobody has now, below those of connections, above those of Ray's workers."""
    found: set[int] = set()
    while len(found) < count:
        port = secrets.choice(range(20_000, 32_000))
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.add(port)
    return [*found]
