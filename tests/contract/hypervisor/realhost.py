"""Real hosts for the contract and the outage tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contract.hypervisor import tinyguest
from tests.contract.hypervisor.privatehost import PrivateHost, private_hosts


@dataclass(frozen=True, kw_only=True)
class RealHosts:
    """Hosts and a guest that boots there."""

    hosts: list[PrivateHost]
    kernel: Path
    initrd: Path
    boot_marker: str = tinyguest.BOOT_MARKER
    bridge: str = "br0"
    cmdline: str = "console=ttyS0 quiet"


def require_root() -> None:
    """Skip without root; fail where continuous integration promised it."""
    if os.geteuid() != 0:
        message = "a real host needs root (network namespaces, libvirtd)"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(message)


@contextmanager
def real_hosts(folder: Path, count: int = 1) -> Iterator[RealHosts]:
    """Start `count` hosts; everything of them is gone at the end."""
    require_root()
    guest = tinyguest.build()
    with private_hosts(folder, count) as hosts:
        yield RealHosts(hosts=hosts, kernel=guest.kernel, initrd=guest.initrd)
