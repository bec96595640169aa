"""A real libvirt host for the contract: one named by the environment, or the lab's first."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

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
    cmdline: str = "console=ttyS0 quiet"


@contextmanager
def real_host(folder: Path) -> Iterator[RealHost]:
    """The host to test on; `MW_TEST_HOST_URI` and friends name one that is there."""
    uri = os.environ.get("MW_TEST_HOST_URI")
    if uri:
        yield RealHost(
            address=HostAddress(name="given", uri=uri),
            kernel=Path(os.environ["MW_TEST_KERNEL"]),
            initrd=Path(os.environ["MW_TEST_INITRD"]),
            bridge=os.environ.get("MW_TEST_BRIDGE", "mwt-br0"),
            boot_marker=os.environ["MW_TEST_BOOT_MARKER"],
            has_agent=os.environ.get("MW_TEST_AGENT") == "1",
        )
        return
    raise NotImplementedError
