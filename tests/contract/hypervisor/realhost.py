"""A real libvirt host for the contract: one named by the environment, or the lab's first."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from millwright.hypervisor.driver import HostAddress


@dataclass(frozen=True, kw_only=True)
class RealHost:
    """Where it is, and a guest that boots there."""

    address: HostAddress
    kernel: Path
    initrd: Path
    bridge: str
    boot_marker: str
    has_agent: bool
    freeze: Callable[[], None]
    thaw: Callable[[], None]
    kill_daemon: Callable[[], None]
    restore: Callable[[], None]
    cmdline: str = "console=ttyS0 quiet"


def require_root() -> None:
    """Skip without root; fail where continuous integration promised it."""
    if os.geteuid() != 0:
        message = "a real host needs root (network namespaces, libvirtd)"
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(message)


@contextmanager
def real_host(folder: Path) -> Iterator[RealHost]:
    """The host to test on; `MW_TEST_HOST_URI` and friends name one that is there."""
    uri = os.environ.get("MW_TEST_HOST_URI")
    if uri:
        yield _given(uri)
        return
    raise NotImplementedError


def _given(uri: str) -> RealHost:
    """A host of the developer's own; `MW_TEST_HOST_PIDFILE` is its daemon's."""

    def send(number: signal.Signals) -> None:
        os.kill(int(Path(os.environ["MW_TEST_HOST_PIDFILE"]).read_text()), number)

    def restore() -> None:
        subprocess.run(["/bin/sh", "-c", os.environ["MW_TEST_HOST_RESTART"]], check=True)

    return RealHost(
        address=HostAddress(name="given", uri=uri),
        kernel=Path(os.environ["MW_TEST_KERNEL"]),
        initrd=Path(os.environ["MW_TEST_INITRD"]),
        bridge=os.environ.get("MW_TEST_BRIDGE", "mwt-br0"),
        boot_marker=os.environ["MW_TEST_BOOT_MARKER"],
        has_agent=os.environ.get("MW_TEST_AGENT") == "1",
        freeze=lambda: send(signal.SIGSTOP),
        thaw=lambda: send(signal.SIGCONT),
        kill_daemon=lambda: send(signal.SIGKILL),
        restore=restore,
    )
