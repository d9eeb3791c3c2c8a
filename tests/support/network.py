"""Hosts with addresses of their own on this machine: network namespaces, joined by a bridge."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lacking import ROOT, lacking

_NAMESPACES = Path("/run/netns")
_NOWHERE = "02:00:00:00:00:00"
"""An address that no link has."""


class Host:
    """A namespace with one link to all others."""

    def __init__(self, namespace: str, link: str, switch: str, address: str) -> None:
        self._namespace, self._link, self._switch = namespace, link, switch
        self.address = address

    @property
    def enter(self) -> list[str]:
        """What stands before a command that is to run on this host."""
        return ["nsenter", f"--net={_NAMESPACES / self._namespace}", "--"]

    def unplug(self) -> None:
        """Whatever runs here lives on, and neither hears nor is heard."""
        _ip("-netns", self._switch, "link", "set", self._link, "down")

    def plug(self) -> None:
        _ip("-netns", self._switch, "link", "set", self._link, "up")

    @contextmanager
    def losing(self, address: str) -> Iterator[None]:
        """Meanwhile what this host sends to `address` is lost, without a word to the sender."""
        neighbour = "-netns", self._namespace, "neigh"
        _ip(*neighbour, "replace", address, "lladdr", _NOWHERE, "nud", "permanent", "dev", "eth0")
        try:
            yield
        finally:
            _ip(*neighbour, "del", address, "dev", "eth0")


class Network:
    """Hosts, and this process's own `address` among them."""

    def __init__(self) -> None:
        """Raises CalledProcessError where this process may not have one."""
        self._name = f"wg{secrets.token_hex(3)}"
        self._prefix = f"198.18.{secrets.randbelow(256)}"  # RFC 2544: for tests of networks
        self._hosts = 0
        self._switch = f"{self._name}-switch"
        try:
            _ip("netns", "add", self._switch)
            _ip("-netns", self._switch, "link", "add", "bridge", "type", "bridge")
            _ip("-netns", self._switch, "link", "set", "bridge", "up")
            self.address = self._join(self._name)
        except BaseException:
            self.remove()
            raise

    def host(self) -> Host:
        namespace = f"{self._name}-{self._hosts}"
        _ip("netns", "add", namespace)
        _ip("-netns", namespace, "link", "set", "lo", "up")
        link = f"host{self._hosts}"
        return Host(namespace, link, self._switch, self._join("eth0", namespace))

    def remove(self) -> None:
        """Whatever still runs on its hosts is without a network."""
        subprocess.run(["ip", "link", "del", self._name], capture_output=True, check=False)
        for path in _NAMESPACES.glob(f"{self._name}-*"):
            _ip("netns", "del", path.name)

    def _join(self, device: str, namespace: str | None = None) -> str:
        """Links the bridge with a new `device` in the namespace, or in this process's; its address."""
        port, address = f"host{self._hosts}", f"{self._prefix}.{self._hosts + 1}"
        self._hosts += 1
        there = ["-netns", namespace] if namespace else []
        place = ["netns", namespace or str(os.getpid())]
        at_switch = "-netns", self._switch, "link"
        _ip(*at_switch, "add", port, "type", "veth", "peer", "name", device, *place)
        _ip(*at_switch, "set", port, "master", "bridge", "up")
        _ip(*there, "addr", "add", f"{address}/24", "dev", device)
        _ip(*there, "link", "set", device, "up")
        return address


@contextmanager
def networking() -> Iterator[Network]:
    """A network until the end; skips the test where there cannot be one."""
    for program in ("ip", "nsenter"):
        if shutil.which(program) is None:
            lacking(f"{program} is not installed", ROOT)
    try:
        network = Network()
    except subprocess.CalledProcessError as error:
        lacking(f"no network namespaces: {error.stderr.strip()}", ROOT)
    try:
        yield network
    finally:
        network.remove()


def _ip(*command: str) -> None:
    subprocess.run(["ip", *command], check=True, capture_output=True, text=True)
