"""Real hosts for the contract and the outage tests."""

from __future__ import annotations

import atexit
import fcntl
import functools
import os
import tempfile
from contextlib import ExitStack
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


@functools.cache
def real_hosts() -> RealHosts:
    """Two hosts for the whole test run; everything of them is gone at its end.

    One run at a time: the names and addresses are fixed.
    """
    require_root()
    guest = tinyguest.build()
    stack = ExitStack()
    atexit.register(stack.close)
    lock = stack.enter_context(Path("/run/lock/mwt-hosts.lock").open("w"))  # noqa: SIM115 - the stack closes it
    fcntl.flock(lock, fcntl.LOCK_EX)
    folder = stack.enter_context(
        tempfile.TemporaryDirectory(prefix="mwt-", ignore_cleanup_errors=True)
    )
    hosts = stack.enter_context(private_hosts(Path(folder), 2))
    return RealHosts(hosts=hosts, kernel=guest.kernel, initrd=guest.initrd)
