"""Filters and migration on real hosts: what must pass passes, what must fail fails."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from millwright.hypervisor import (
    Accel,
    Conflict,
    Direction,
    DiskSpec,
    DomainSpec,
    DomainState,
    FilterSpec,
    Flow,
    Metadata,
    MigrationSpec,
    NicSpec,
    Protocol,
    ServiceClass,
    VcpuRole,
    VcpuSpec,
    VolumeOwner,
)
from millwright.hypervisor.driver import LibvirtHypervisor

from tests.contract.hypervisor.privatehost import BRIDGE, SUBNET, remove_namespace, run
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
GUEST = f"{SUBNET}.100"
IN, OUT = Direction.INBOUND, Direction.OUTBOUND


@pytest.fixture(scope="module")
def plant() -> RealHosts:
    return real_hosts()


@pytest.fixture
def drivers(plant: RealHosts) -> Iterator[list[LibvirtHypervisor]]:
    with ExitStack() as stack:
        yield [stack.enter_context(connected(host)) for host in plant.hosts]


class Station:
    """A machine of the cell, in a namespace of its own."""

    def __init__(self, number: int) -> None:
        self.name, self.ip = f"mwt-station{number}", f"{SUBNET}.{50 + number}"
        run("ip", "netns", "add", self.name)
        end = f"mwt-s{number}"
        run("ip", "link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        run("ip", "link", "set", end, "master", BRIDGE, "up")
        for command in (
            "ip link set lo up",
            f"ip addr add {self.ip}/24 dev eth0",
            "ip link set eth0 up",
        ):
            run("ip", "netns", "exec", self.name, *command.split())

    def reaches(self, port: int, address: str = GUEST, wait_s: int = 3) -> bool:
        """Whether a TCP connection to the guest is accepted."""
        script = f"exec 3<>/dev/tcp/{address}/{port}"
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, "timeout", str(wait_s), "bash", "-c", script],
            capture_output=True,
            check=False,
        )
        return done.returncode == 0

    def pings(self) -> bool:
        """Whether the guest answers an echo."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.name, "busybox", "ping", "-c1", "-W3", GUEST],
            capture_output=True,
            check=False,
        )
        return done.returncode == 0


@pytest.fixture
def stations(plant: RealHosts) -> Iterator[list[Station]]:
    made = [Station(1), Station(2)]
    yield made
    for number, station in enumerate(made, start=1):
        run("ip", "link", "del", f"mwt-s{number}")
        remove_namespace(station.name)


def machine(
    driver: LibvirtHypervisor, plant: RealHosts, *, disks: tuple[DiskSpec, ...] = ()
) -> DomainSpec:
    uuid = uuid4()
    return DomainSpec(
        uuid=uuid,
        name=f"mw-cell-{uuid.hex[:8]}",
        metadata=Metadata(
            site=SITE, environment="cell", machine=str(uuid), operation="test", generation=1
        ),
        service_class=ServiceClass.REALTIME,
        accel=Accel.EMULATION,
        memory_bytes=192 * MIB,
        vcpus=(VcpuSpec(role=VcpuRole.CONTROL, cpus=frozenset({1})),),
        emulator_cpus=frozenset({0}),
        boot=boot_files(driver, plant, f"addr={GUEST}/24"),
        disks=disks,
        nics=(
            NicSpec(
                network="mw-cell",
                mac="52:54:00:ab:00:64",
                address=GUEST,
                filter="mw-cell-filter",
            ),
        ),
    )


def test_exactly_the_registered_pairs_pass(
    drivers: list[LibvirtHypervisor], plant: RealHosts, stations: list[Station]
) -> None:
    driver, (one, two) = drivers[0], stations
    driver.ensure_filter(
        FilterSpec(
            name="mw-cell-filter",
            flows=(
                Flow(direction=IN, peer=one.ip, port=502),
                Flow(direction=IN, peer=one.ip, protocol=Protocol.ICMP),
                Flow(direction=OUT, peer=two.ip, port=777),
            ),
        )
    )
    spec = machine(driver, plant)
    driver.define(spec)
    driver.start(spec.uuid)
    until("the guest answers its registered peer", lambda: one.reaches(502))
    assert one.pings()
    # The guest listens on both ports and to all: only the filter makes these fail.
    assert not one.reaches(503)
    assert not two.reaches(502)
    assert not two.pings()
    until("the agent answers", lambda: driver.agent_ping(spec.uuid) is None)
    servers = [
        subprocess.Popen(
            ["ip", "netns", "exec", station.name, "busybox", "httpd", "-f", "-p", "777"]
        )
        for station in stations
    ]
    try:

        def opens(address: str) -> bool:
            url = f"http://{address}:777/none"
            result = driver.agent_exec(
                spec.uuid, ["/bin/timeout", "5", "/bin/wget", "-q", "-O", "-", url]
            )
            return b"404" in result.stderr

        until("the guest opens its registered connection", lambda: opens(two.ip))
        assert not opens(one.ip)
    finally:
        for server in servers:
            server.kill()
            server.wait()
    # A change reaches the running machine, both ways.
    driver.ensure_filter(
        FilterSpec(name="mw-cell-filter", flows=(Flow(direction=IN, peer=two.ip, port=503),))
    )
    until("the new pair passes", lambda: two.reaches(503))
    assert not one.reaches(502)
    # An address that is not the machine's own does not leave it.
    other = f"{SUBNET}.101"
    driver.agent_exec(spec.uuid, ["/bin/ip", "addr", "add", f"{other}/24", "dev", "eth0"])
    assert not two.reaches(503, address=other)
    with pytest.raises(Conflict, match=spec.name):
        driver.remove_filter("mw-cell-filter")
    driver.destroy(spec.uuid)
    driver.undefine(spec.uuid)
    assert driver.remove_filter("mw-cell-filter")


def test_a_live_migration_ends_on_one_host_with_the_new_pins(
    drivers: list[LibvirtHypervisor], plant: RealHosts, stations: list[Station], tmp_path: Path
) -> None:
    source_host, target_host = drivers
    (station, _) = stations
    image = tmp_path / "base.raw"
    image.write_bytes(b"\0" * MIB)
    flows = (Flow(direction=IN, peer=station.ip, port=502),)
    path = ""
    for driver in drivers:
        driver.ensure_filter(FilterSpec(name="mw-cell-filter", flows=flows))
        driver.upload_volume("default", "outage-base", source(image))
        boot_files(driver, plant)
        path = driver.ensure_overlay(
            "default",
            "outage-disk",
            base="outage-base",
            capacity_bytes=16 * MIB,
            owner=VolumeOwner(site=SITE, machine="m", generation=1),
        ).path
    spec = machine(source_host, plant, disks=(DiskSpec(path=path),))
    source_host.define(spec)
    source_host.start(spec.uuid)
    until("the guest answers", lambda: station.reaches(502))
    until("the agent answers", lambda: source_host.agent_ping(spec.uuid) is None)
    boot_id = source_host.agent_read_file(spec.uuid, "/proc/sys/kernel/random/boot_id")
    target = replace(
        spec,
        metadata=replace(spec.metadata, generation=2),
        vcpus=(VcpuSpec(role=VcpuRole.CONTROL, cpus=frozenset({0})),),
        emulator_cpus=frozenset({1}),
        autostart=True,
    )
    # While it moves, the watcher's question is answered as ever.
    result = source_host.migrate(spec.uuid, target_host, target, MigrationSpec(timeout_s=120))
    assert result.elapsed_ms > 0
    assert source_host.domain(spec.uuid) is None
    (arrived,) = [s for s in target_host.bulk_state() if s.uuid == spec.uuid]
    assert arrived.state is DomainState.RUNNING
    assert arrived.metadata == target.metadata
    pins = target_host.pins(spec.uuid)
    assert pins.vcpus == {0: frozenset({0})}
    assert pins.emulator == frozenset({1})
    read = target_host.domain(spec.uuid)
    assert read is not None
    assert read.autostart
    until("the guest answers from there", lambda: station.reaches(502))
    assert not stations[1].reaches(502)
    assert not station.reaches(503)
    assert target_host.agent_read_file(spec.uuid, "/proc/sys/kernel/random/boot_id") == boot_id
    target_host.destroy(spec.uuid)
    target_host.start(spec.uuid, generation=2)
    assert target_host.pins(spec.uuid).vcpus == {0: frozenset({0})}
    target_host.destroy(spec.uuid)
    target_host.undefine(spec.uuid)
    for driver in drivers:
        driver.remove_filter("mw-cell-filter")


def test_a_migration_that_does_not_end_in_time_leaves_the_guest_where_it_was(
    drivers: list[LibvirtHypervisor], plant: RealHosts
) -> None:
    from millwright.hypervisor import DeadlineExceeded

    source_host, target_host = drivers
    for driver in drivers:
        driver.ensure_filter(FilterSpec(name="mw-cell-filter"))
        boot_files(driver, plant)
    spec = machine(source_host, plant)
    source_host.define(spec)
    source_host.start(spec.uuid)
    until("the agent answers", lambda: source_host.agent_ping(spec.uuid) is None)
    slow = MigrationSpec(copy_storage=False, bandwidth_bytes_s=MIB, timeout_s=4.0)
    started = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="did not converge"):
        source_host.migrate(
            spec.uuid,
            target_host,
            replace(spec, metadata=replace(spec.metadata, generation=2)),
            slow,
        )
    assert time.monotonic() - started >= 4.0
    (left,) = [s for s in source_host.bulk_state() if s.uuid == spec.uuid]
    assert left.state is DomainState.RUNNING
    assert left.metadata == spec.metadata
    until("nothing is left there", lambda: target_host.domain(spec.uuid) is None)
    until("no job is left here", lambda: source_host.job(spec.uuid) is None)
    source_host.agent_ping(spec.uuid)
    source_host.destroy(spec.uuid)
    source_host.undefine(spec.uuid)
    for driver in drivers:
        driver.remove_filter("mw-cell-filter")
