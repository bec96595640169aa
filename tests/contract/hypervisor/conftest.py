"""The same suite on every kind of host; `MW_TEST_HOST_URI` names one of your own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from millwright.hypervisor import Capability
from millwright.hypervisor.driver import HostAddress, LibvirtHypervisor
from millwright.hypervisor.fake import FakePool

from tests.contract.hypervisor import tinyguest
from tests.contract.hypervisor.realhost import RealHosts, real_hosts
from tests.contract.hypervisor.subjects import Subject
from tests.support.lab import RunningLab

SITE = "contract"


class LabGuest:
    """What the suite needs to know of a lab's host."""

    boot_marker = tinyguest.BOOT_MARKER
    cmdline = "console=ttyS0 quiet"

    def __init__(self, guest: tinyguest.TinyGuest, bridge: str) -> None:
        self.kernel, self.initrd, self.bridge = guest.kernel, guest.initrd, bridge


def _fake(folder: Path) -> Subject:
    pool = FakePool(SITE)
    host = pool.add_host("fake-1")
    kernel, initrd = folder / "kernel", folder / "initrd"
    kernel.write_bytes(b"kernel" * 1000)
    initrd.write_bytes(b"initrd" * 1000)

    def remove(uuid: UUID) -> None:
        host._domains.pop(uuid)

    return Subject(
        hypervisor=host,
        kernel=kernel,
        initrd=initrd,
        bridge="br0",
        sleep=pool.clock.sleep,
        make_foreign_domain=lambda name: host.add_foreign_domain(name),
        remove_foreign_domain=remove,
        add_foreign_volume=lambda name: host.add_foreign_volume("default", name),
        leave_partial_upload=lambda name, _: host.leave_partial_upload("default", name),
        boot_limit_s=60.0,
    )


def _libvirt(address: HostAddress, folder: Path, real: RealHosts | LabGuest | None) -> Subject:
    import libvirt

    driver = LibvirtHypervisor(address, site=SITE)
    direct = libvirt.open(address.uri)

    def make_foreign(name: str) -> UUID:
        uuid = uuid4()
        kind = "test" if real is None else "qemu"
        direct.defineXML(
            f"<domain type='{kind}'><name>{name}</name><uuid>{uuid}</uuid>"
            "<memory unit='MiB'>64</memory><os><type arch='x86_64'>hvm</type></os></domain>"
            if real is not None
            else f"<domain type='{kind}'><name>{name}</name><uuid>{uuid}</uuid>"
            "<memory unit='MiB'>64</memory><os><type>hvm</type></os></domain>"
        )
        return uuid

    def remove_foreign(uuid: UUID) -> None:
        domain = direct.lookupByUUID(uuid.bytes)
        domain.undefine()

    def volume(name: str) -> None:
        pool = direct.storagePoolLookupByName("default")
        pool.createXML(
            f"<volume><name>{name}</name><capacity>1024</capacity>"
            "<target><format type='raw'/></target></volume>"
        )

    def partial(name: str, sha256: str) -> None:
        volume(f"{name}.mw-up.{sha256}")
        volume(name)

    return Subject(
        hypervisor=driver,
        kernel=real.kernel if real else folder / "none",
        initrd=real.initrd if real else folder / "none",
        bridge=real.bridge if real else "br0",
        sleep=time.sleep,
        make_foreign_domain=make_foreign,
        remove_foreign_domain=remove_foreign,
        add_foreign_volume=volume if real else None,
        leave_partial_upload=partial if real else None,
        boot_marker=real.boot_marker if real else "",
        has_agent=real is not None,
        cmdline=real.cmdline if real else "",
    )


@pytest.fixture(
    scope="session",
    params=[
        "fake",
        "test-driver",
        pytest.param("real", marks=pytest.mark.lab),
        pytest.param("lab", marks=pytest.mark.lab),
    ],
)
def _subject(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Subject]:
    folder = tmp_path_factory.mktemp("contract")
    if request.param == "fake":
        yield _fake(folder)
        return
    if request.param == "test-driver":
        # A file of its own gives every session a fresh host without the built-in domain.
        subject = _libvirt(HostAddress(name="test", uri="test:///default"), folder, None)
        yield subject
        subject.hypervisor.close()
        return
    if request.param == "real":
        real: RealHosts | LabGuest = real_hosts()
        address = real_hosts().hosts[0].address
    else:
        lab: RunningLab = request.getfixturevalue("session_lab")
        first = lab.plan.hosts[0]
        address = HostAddress(name=first.name, uri=lab.lab.uri(first))
        real = LabGuest(tinyguest.build(), lab.plan.host_cell_bridge)
    subject = _libvirt(address, folder, real)
    subject.hypervisor.ensure_pool("default", "/var/lib/libvirt/images")
    yield subject
    for volume in subject.hypervisor.list_volumes("default"):
        if volume.name.startswith("contract-"):
            subject.hypervisor.remove_volume("default", volume.name)
    subject.hypervisor.close()


@pytest.fixture
def subject(_subject: Subject, request: pytest.FixtureRequest) -> Iterator[Subject]:
    """The host under test; a test marked `needs(...)` runs where the driver can do it."""
    marker = request.node.get_closest_marker("needs")
    if marker is not None and not _subject.can(*marker.args):
        pytest.skip("the driver cannot: " + ", ".join(Capability(c).value for c in marker.args))
    yield _subject
    _subject.clean()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*capabilities): what the host's driver must be able")
