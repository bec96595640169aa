"""A real daemon that freezes, dies and comes back: callers go on, guests do not notice."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from millwright.hypervisor import (
    Accel,
    AccessDenied,
    DirectBoot,
    DomainSpec,
    DomainState,
    Event,
    EventKind,
    HypervisorError,
    Metadata,
    ProbeGuest,
    ProbeKind,
    Retryable,
    ServiceClass,
    VcpuRole,
    VcpuSpec,
)
from millwright.hypervisor.driver import HostAddress, LibvirtHypervisor

from tests.contract.hypervisor.privatehost import PrivateHost
from tests.contract.hypervisor.realhost import RealHosts, real_hosts
from tests.integration.hypervisor.outage_tools import (
    MIB,
    SITE,
    boot_files,
    connected,
    source,
    until,
)

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def plant() -> RealHosts:
    return real_hosts()


@pytest.fixture
def real(plant: RealHosts) -> PrivateHost:
    return plant.hosts[0]


@pytest.fixture
def driver(real: PrivateHost) -> Iterator[LibvirtHypervisor]:
    with connected(real) as hypervisor:
        yield hypervisor


@pytest.fixture
def boot(driver: LibvirtHypervisor, plant: RealHosts) -> DirectBoot:
    return boot_files(driver, plant)


@pytest.fixture
def guest(driver: LibvirtHypervisor, boot: DirectBoot) -> DomainSpec:
    """A running, pinned guest."""
    uuid = uuid4()
    spec = DomainSpec(
        uuid=uuid,
        name=f"mw-outage-{uuid.hex[:8]}",
        metadata=Metadata(
            site=SITE, environment="outage", machine=str(uuid), operation="test", generation=1
        ),
        service_class=ServiceClass.REALTIME,
        accel=Accel.EMULATION,
        memory_bytes=192 * MIB,
        vcpus=(VcpuSpec(role=VcpuRole.CONTROL, cpus=frozenset({1})),),
        emulator_cpus=frozenset({0}),
        boot=boot,
    )
    driver.define(spec)
    driver.start(spec.uuid)
    return spec


def cpu_time(driver: LibvirtHypervisor, spec: DomainSpec) -> int:
    (state,) = [s for s in driver.bulk_state() if s.uuid == spec.uuid]
    assert state.state is DomainState.RUNNING
    return state.cpu_time_ns or 0


def test_a_frozen_daemon_hangs_nobody_and_is_found_again(
    driver: LibvirtHypervisor, real: PrivateHost, guest: DomainSpec
) -> None:
    seen: list[Event] = []
    driver.subscribe(seen.append)
    before = cpu_time(driver, guest)
    other = LibvirtHypervisor(HostAddress(name="other", uri="test:///default"), site=SITE)
    real.freeze()
    try:
        errors = []
        for _ in range(3):
            with pytest.raises(Retryable) as caught:
                driver.bulk_state(deadline_s=1.0)
            errors.append(caught.value)
            assert other.bulk_state()  # another host answers as ever
        assert all(error.host == driver.name for error in errors)
        until("the loss is told", lambda: any(e.kind is EventKind.DISCONNECTED for e in seen), 60)
        assert not driver.connected
        # A driver that starts against a frozen host does not hang either, nor does its end.
        late = LibvirtHypervisor(real.address, site=SITE)
        with pytest.raises(Retryable):
            late.bulk_state(deadline_s=2.0)
        late.close()
    finally:
        real.thaw()
        other.close()
    until("the connection is back", lambda: driver.connected and driver.bulk_state())
    assert [e.kind for e in seen if e.kind is EventKind.CONNECTED]
    assert cpu_time(driver, guest) > before
    assert driver.abandoned == 0


def test_many_callers_of_a_frozen_host_all_come_back(
    driver: LibvirtHypervisor, real: PrivateHost, guest: DomainSpec
) -> None:
    """Calls that wait side by side on one libvirt connection end the process when it is closed."""
    stop = threading.Event()
    endings: list[str] = []

    def ask(number: int) -> None:
        questions: list[Callable[[], object]] = [
            lambda: driver.bulk_state(deadline_s=3.0),
            lambda: driver.agent_ping(guest.uuid, deadline_s=3.0),
            lambda: driver.list_volumes("default", deadline_s=3.0),
            lambda: driver.start(guest.uuid, deadline_s=3.0),
        ]
        while not stop.is_set():
            try:
                questions[number % len(questions)]()
                endings.append("answer")
            except Retryable as error:
                endings.append(error.code)
                stop.wait(0.2)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    try:
        until("there are answers", lambda: endings.count("answer") > 50)
        real.freeze()
        until("the loss is noticed", lambda: not driver.connected, 60)
        until("callers are told", lambda: "deadline_exceeded" in endings)
    finally:
        real.thaw()
        frozen = len(endings)
    until("there are answers again", lambda: "answer" in endings[frozen:])
    stop.set()
    for thread in threads:
        thread.join(timeout=30)
        assert not thread.is_alive()
    until("no call hangs", lambda: driver.abandoned == 0)


def test_a_killed_daemon_leaves_the_guest_and_its_pins(
    driver: LibvirtHypervisor, real: PrivateHost, guest: DomainSpec
) -> None:
    seen: list[Event] = []
    driver.subscribe(seen.append)
    before, pins = cpu_time(driver, guest), driver.pins(guest.uuid)
    assert pins.vcpus == {0: frozenset({1})}
    real.kill_daemon()
    try:
        until("the loss is told", lambda: any(e.kind is EventKind.DISCONNECTED for e in seen), 60)
        with pytest.raises(Retryable):
            driver.bulk_state(deadline_s=2.0)
    finally:
        real.restore()
    until("the guest is seen again", lambda: cpu_time(driver, guest) >= before)
    assert driver.pins(guest.uuid) == pins
    assert driver.start(guest.uuid, generation=1) is False
    read = driver.domain(guest.uuid)
    assert read is not None
    assert read.metadata == guest.metadata


def test_an_upload_that_dies_with_the_daemon_is_done_again(
    driver: LibvirtHypervisor, real: PrivateHost, tmp_path: Path
) -> None:
    path = tmp_path / "image"
    path.write_bytes(hashlib.sha256(b"x").digest() * (64 * MIB // 32))
    given = source(path)
    half_sent = threading.Event()

    def progress(done: int, total: int) -> None:
        if done > total // 4 and not half_sent.is_set():
            half_sent.set()
            real.kill_daemon()

    try:
        with pytest.raises(HypervisorError):
            driver.upload_volume("default", "outage-image", given, progress=progress)
        assert half_sent.is_set()
    finally:
        real.restore()
    until("the host is back", lambda: driver.bulk_state() is not None)
    left = driver.volume("default", "outage-image")
    assert left is not None
    assert left.uploading
    assert not driver.volume_exists("default", "outage-image")
    assert driver.upload_volume("default", "outage-image", given).sha256 == given.sha256


def test_probes_tell_by_doing_and_leave_nothing(
    driver: LibvirtHypervisor, plant: RealHosts, boot: DirectBoot
) -> None:
    guest = ProbeGuest(kernel=boot.kernel, initrd=boot.initrd, boot_marker=plant.boot_marker)
    results = {kind: driver.probe(kind, guest) for kind in ProbeKind}
    assert all(result.detail for result in results.values())
    assert results[ProbeKind.NWFILTER].ok, results[ProbeKind.NWFILTER].detail
    assert not [s.name for s in driver.bulk_state() if s.name.startswith("mw-probe-")]


def test_the_console_shows_the_boot(
    driver: LibvirtHypervisor, plant: RealHosts, guest: DomainSpec
) -> None:
    driver.destroy(guest.uuid)
    driver.start(guest.uuid)
    console = driver.console_stream(guest.uuid)
    try:
        seen = bytearray()

        def booted() -> bool:
            seen.extend(console.read(timeout_s=1.0))
            return plant.boot_marker.encode() in seen

        until("the guest says that it is up", booted)
        console.write(b"\n")
    finally:
        console.close()
        console.close()


def test_another_certificate_of_the_same_ca_is_refused(plant: RealHosts, real: PrivateHost) -> None:
    orchestrator = Path(real.address.uri.partition("pkipath=")[2])
    stranger = orchestrator.with_name("client-somebody-else")
    assert stranger.is_dir()
    host = LibvirtHypervisor(real.address_for(stranger), site=SITE)
    with pytest.raises(AccessDenied):
        host.bulk_state()
    host.close()
