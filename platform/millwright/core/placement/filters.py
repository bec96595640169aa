"""Hard rules: each looks at one host and one want, and gives a reason or nothing."""

from __future__ import annotations

from collections.abc import Callable

from millwright.core import pinning
from millwright.core.lifecycle import HostAdministration, HostHealth, ServiceClass

from .model import HostSnapshot, MachineWant
from .reasons import Reason, ReasonCode

Filter = Callable[[HostSnapshot, MachineWant], Reason | None]


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.0f} MiB"


def alive(host: HostSnapshot, want: MachineWant) -> Reason | None:
    if host.health is HostHealth.DOWN:
        return Reason(ReasonCode.HOST_DOWN, "the host is down")
    if host.health is HostHealth.SUSPECT:
        return Reason(ReasonCode.HOST_SUSPECT, "the host does not answer at the moment")
    return None


def administered(host: HostSnapshot, want: MachineWant) -> Reason | None:
    codes = {
        HostAdministration.CORDONED: (
            ReasonCode.HOST_CORDONED,
            "the host is cordoned: it takes nothing new",
        ),
        HostAdministration.DRAINING: (ReasonCode.HOST_DRAINING, "the host is being drained"),
        HostAdministration.MAINTENANCE: (ReasonCode.HOST_MAINTENANCE, "the host is in maintenance"),
    }
    found = codes.get(host.administration)
    return Reason(*found) if found else None


def reaches_the_cell(host: HostSnapshot, want: MachineWant) -> Reason | None:
    if want.cell and want.cell not in host.cells:
        return Reason(ReasonCode.NO_CELL, f"the host has no way into cell {want.cell!r}")
    return None


def has_memory(host: HostSnapshot, want: MachineWant) -> Reason | None:
    needed = want.memory_bytes + want.overhead_bytes
    if needed > host.memory_free_bytes:
        return Reason(
            ReasonCode.NO_MEMORY,
            f"memory: {_mib(needed)} wanted, {_mib(max(0, host.memory_free_bytes))} free of {_mib(host.memory_bytes)}",
            needed,
            host.memory_free_bytes,
        )
    return None


def has_disk(host: HostSnapshot, want: MachineWant) -> Reason | None:
    if want.disk_bytes > host.disk_free_bytes:
        return Reason(
            ReasonCode.NO_DISK,
            f"disk: {_mib(want.disk_bytes)} wanted, {_mib(host.disk_free_bytes)} free",
            want.disk_bytes,
            host.disk_free_bytes,
        )
    return None


def has_realtime_cores(host: HostSnapshot, want: MachineWant) -> Reason | None:
    """Strict wants, and hosts without best effort, need whole free cores."""
    if want.service_class is not ServiceClass.REALTIME or not want.control_vcpus:
        return None
    if host.best_effort and not want.strict:
        return None
    free = len(pinning.free_cores(host.topology, host.claimed_cpus))
    if free < len(want.control_vcpus):
        return Reason(
            ReasonCode.NO_REALTIME_CORE,
            f"realtime cores: {len(want.control_vcpus)} wanted, {free} free of {len(host.topology.realtime)}",
            len(want.control_vcpus),
            free,
        )
    return None


def keeps_time(host: HostSnapshot, want: MachineWant) -> Reason | None:
    """Realtime wants KVM and FIFO scheduling, unless the host's policy is best effort."""
    if want.service_class is not ServiceClass.REALTIME or host.best_effort:
        return None
    if host.accel != "kvm":
        return Reason(
            ReasonCode.NOT_KVM, "the host only emulates (no working KVM): timing cannot be promised"
        )
    if not host.capabilities.get("fifo", False):
        return Reason(ReasonCode.NO_FIFO, "the host cannot give FIFO priority to a vCPU")
    return None


def has_shared_cpus(host: HostSnapshot, want: MachineWant) -> Reason | None:
    cpus = len(host.topology.shared)
    floating = want.vcpus - (
        len(want.control_vcpus) if want.service_class is ServiceClass.REALTIME else 0
    )
    limit = int(cpus * host.overcommit_ratio)
    if cpus == 0 or host.shared_vcpus + floating > limit:
        return Reason(
            ReasonCode.NO_CPU,
            f"shared CPUs: {host.shared_vcpus + floating} vCPUs wanted on {cpus}, at most {limit}",
            host.shared_vcpus + floating,
            limit,
        )
    return None


#: In the order in which people want to read them.
FILTERS: tuple[Filter, ...] = (
    alive,
    administered,
    reaches_the_cell,
    keeps_time,
    has_realtime_cores,
    has_shared_cpus,
    has_memory,
    has_disk,
)
