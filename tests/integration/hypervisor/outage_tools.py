"""What the tests on real hosts share."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from millwright.hypervisor import DirectBoot, NetworkSpec, Retryable, UploadSource
from millwright.hypervisor.driver import LibvirtHypervisor

from tests.contract.hypervisor.privatehost import PrivateHost
from tests.contract.hypervisor.realhost import RealHosts

SITE = "outages"
MIB = 2**20


def until(what: str, check: Callable[[], object], limit_s: float = 90.0) -> None:
    """Wait until `check` is true; a retryable error counts as "not yet"."""
    end, last = time.monotonic() + limit_s, None
    while time.monotonic() < end:
        try:
            if check():
                return
        except Retryable as error:
            last = error
        time.sleep(0.2)
    raise AssertionError(f"{what}: not within {limit_s} s; last: {last!r}")


def source(path: Path) -> UploadSource:
    data = path.read_bytes()
    return UploadSource(path=path, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))


@contextmanager
def connected(host: PrivateHost) -> Iterator[LibvirtHypervisor]:
    """A driver; what the test made on its host is removed at the end."""
    hypervisor = LibvirtHypervisor(host.address, site=SITE)
    hypervisor.ensure_pool("default", "/var/lib/libvirt/images")
    hypervisor.ensure_network(NetworkSpec(name="mw-cell", bridge="br0"))
    yield hypervisor
    for state in hypervisor.bulk_state():
        if state.owned_by(SITE):
            hypervisor.destroy(state.uuid)
            hypervisor.undefine(state.uuid)
    for volume in sorted(hypervisor.list_volumes("default"), key=lambda v: v.owner is None):
        if volume.name.startswith("outage-"):
            hypervisor.remove_volume("default", volume.name)
    hypervisor.close()


def boot_files(driver: LibvirtHypervisor, plant: RealHosts, cmdline: str = "") -> DirectBoot:
    kernel = driver.upload_volume("default", "outage-kernel", source(plant.kernel))
    initrd = driver.upload_volume("default", "outage-initrd", source(plant.initrd))
    return DirectBoot(
        kernel=kernel.path, initrd=initrd.path, cmdline=f"{plant.cmdline} {cmdline}".strip()
    )
