"""Hard rules: each looks at one host and one want, and gives a reason or nothing."""

from __future__ import annotations

from collections.abc import Callable

from millwright.core import pinning
from millwright.core.lifecycle import HostAdministration, HostHealth, HostPower, ServiceClass

from .model import HostSnapshot, MachineWant
from .reasons import Reason, ReasonCode

Filter = Callable[[HostSnapshot, MachineWant], Reason | None]


_CLOSED = {
    HostAdministration.CORDONED: (
        ReasonCode.HOST_CORDONED,
        "the host is cordoned: it takes nothing new",
    ),
    HostAdministration.DRAINING: (ReasonCode.HOST_DRAINING, "the host is being drained"),
    HostAdministration.MAINTENANCE: (ReasonCode.HOST_MAINTENANCE, "the host is in maintenance"),
}

_SLEEPING = {
    HostPower.FALLING_ASLEEP: "the host is falling asleep",
    HostPower.ASLEEP: "the host is asleep",
    HostPower.WAKING: "the host is waking",
}


def _mib(size_bytes: int) -> str:
    return f"{size_bytes / 2**20:.0f} MiB"


def alive(host: HostSnapshot, want: MachineWant) -> Reason | None:
    if host.health is HostHealth.DOWN:
        return Reason(ReasonCode.HOST_DOWN, "the host is down")
    if host.health is HostHealth.SUSPECT:
        return Reason(ReasonCode.HOST_SUSPECT, "the host does not answer at the moment")
    return None


def awake(host: HostSnapshot, want: MachineWant) -> Reason | None:
    found = _SLEEPING.get(host.power)
    if not found:
        return None
    if host.wake is not None and host.power is not HostPower.WAKING:
        found += f" and can be woken in about {host.wake.seconds:.0f} s"
    elif host.left_asleep:
        again = " once more, it" if host.power is HostPower.WAKING else " and"
        found += f"{again} {host.left_asleep}"
    return Reason(ReasonCode.HOST_ASLEEP, found)


def administered(host: HostSnapshot, want: MachineWant) -> Reason | None:
    if host.emptied:
        return Reason(ReasonCode.HOST_DRAINING, "the host is being emptied so that it can sleep")
    found = _CLOSED.get(host.administration)
    return Reason(*found) if found else None


def reaches_the_cell(host: HostSnapshot, want: MachineWant) -> Reason | None:
    if want.cell and want.cell not in host.cells:
        return Reason(ReasonCode.NO_CELL, f"the host has no way into cell {want.cell!r}")
    return None


def has_memory(host: HostSnapshot, want: MachineWant) -> Reason | None:
    needed = want.ordinary_bytes
    if needed > host.memory_free_bytes:
        return Reason(
            ReasonCode.NO_MEMORY,
            f"memory: {_mib(needed)} wanted, {_mib(max(0, host.memory_free_bytes))} free of {_mib(host.memory_bytes)}",
            needed,
            host.memory_free_bytes,
        )
    return None


def keeps_the_pool_s_limit(host: HostSnapshot, want: MachineWant) -> Reason | None:
    """Of its resource pool's memory; the same for every host, so that each of them says it."""
    room = want.pool_room
    if room is None or room.wanted_bytes <= room.free_bytes:
        return None
    return Reason(
        ReasonCode.NO_POOL_MEMORY,
        f"memory of resource pool {room.name!r}: {_mib(room.wanted_bytes)} wanted, "
        f"{_mib(max(0, room.free_bytes))} free of its limit of {_mib(room.limit_bytes)}",
        room.wanted_bytes,
        room.free_bytes,
    )


def has_disk(host: HostSnapshot, want: MachineWant) -> Reason | None:
    free = host.disk_free_bytes
    if want.storage_pool:
        if host.storage_free is None:
            return None
        if want.storage_pool not in host.storage_free:
            return Reason(
                ReasonCode.NO_STORAGE_POOL,
                f"the host has no storage pool {want.storage_pool!r} that is active",
            )
        free = host.storage_free[want.storage_pool]
    if want.disk_bytes > free:
        return Reason(
            ReasonCode.NO_DISK,
            f"disk: {_mib(want.disk_bytes)} wanted, {_mib(free)} free",
            want.disk_bytes,
            free,
        )
    return None


def has_hugepages(host: HostSnapshot, want: MachineWant) -> Reason | None:
    if not want.hugepage_bytes or host.hugepages_free is None:
        return None
    free = max(0, host.hugepages_free.get(want.hugepage_bytes, 0))
    if want.pages > free:
        return Reason(
            ReasonCode.NO_HUGEPAGES,
            f"hugepages of {_mib(want.hugepage_bytes)}: {want.pages} wanted, {free} free",
            want.pages,
            free,
        )
    return None


def node_pages(host: HostSnapshot, want: MachineWant) -> pinning.NodePages | None:
    """What a machine that is bound to the nodes of its cores must find there; nothing: it is not, or one node is all."""
    if not want.binds or host.node_pages_free is None:
        return None
    free = {node: pages.get(want.hugepage_bytes, 0) for node, pages in host.node_pages_free.items()}
    return pinning.NodePages(want.pages, free)


def has_pages_beside_its_cores(host: HostSnapshot, want: MachineWant) -> Reason | None:
    """Its cores and its pages in the same NUMA nodes; on hosts of best effort only what is strict insists."""
    if host.best_effort and not want.strict:
        return None
    pages, count = node_pages(host, want), len(want.control_vcpus)
    if (
        pages is None
        or pinning.count_free_cores(host.topology, host.claimed_cpus) < count
        or has_hugepages(host, want) is not None
    ):
        # There is nothing to ask, or other filters say what lacks on the whole host.
        return None
    if pinning.cores_with_pages(host.topology, host.claimed_cpus, count, pages) is not None:
        return None
    return Reason(
        ReasonCode.NO_NUMA_NODE,
        f"NUMA nodes: none has {count} free cores and {want.pages} free hugepages "
        f"of {_mib(want.hugepage_bytes)}",
        want.pages,
        max(pages.free.values(), default=0),
    )


def has_cpu_features(host: HostSnapshot, want: MachineWant) -> Reason | None:
    if host.cpu_features is None or want.cpu_features <= host.cpu_features:
        return None
    lacking = ", ".join(sorted(want.cpu_features - host.cpu_features))
    return Reason(
        ReasonCode.NO_CPU_FEATURE, f"the host's CPU has not all that is wanted: {lacking}"
    )


def has_the_cpu_it_runs_with(host: HostSnapshot, want: MachineWant) -> Reason | None:
    """A running guest goes on with the CPU that it was started with, or not at all."""
    started = want.started
    if started is None:
        return None
    # What is emulated goes on being emulated on a host with KVM too.
    if started.accel == "kvm" and host.accel != "kvm":
        return Reason(
            ReasonCode.OTHER_CPU,
            f"it was started with {started.accel} and the host runs guests by {host.accel}",
        )
    if started.passthrough and host.cpu_model and started.model != host.cpu_model:
        return Reason(
            ReasonCode.OTHER_CPU,
            f"it was started with the CPU {started.model} and the host has {host.cpu_model}",
        )
    if host.cpu_features is not None and not started.features <= host.cpu_features:
        lacking = ", ".join(sorted(started.features - host.cpu_features)[:8])
        return Reason(
            ReasonCode.OTHER_CPU,
            f"the host's CPU has not all that it was started with: {lacking}",
        )
    return None


def has_gpus(host: HostSnapshot, want: MachineWant) -> Reason | None:
    if not want.gpus or want.gpu_profile:
        return None
    if host.cards_free is None:
        # A card that nobody has named cannot be given: the one thing for which not known is not enough.
        return Reason(ReasonCode.NO_GPU, "the host has not told yet which graphics cards it has")
    free = len(want.fitting(host.cards_free))
    if want.gpus > free:
        return Reason(
            ReasonCode.NO_GPU,
            f"graphics cards: {want.gpus} wanted, {free} free of {want.gpu_model or 'any model'}",
            want.gpus,
            free,
        )
    return None


def has_vgpus(host: HostSnapshot, want: MachineWant) -> Reason | None:
    """Instances of a vGPU profile; as a card, they have to be named before they can be given."""
    if not want.gpus or not want.gpu_profile:
        return None
    if host.vgpus_free is None:
        return Reason(ReasonCode.NO_VGPU, "the host has not told yet which vGPU profiles it has")
    free = sum(max(0, card.get(want.gpu_profile, 0)) for card in host.vgpus_free.values())
    if want.gpus > free:
        return Reason(
            ReasonCode.NO_VGPU,
            f"vGPU instances of {want.gpu_profile}: {want.gpus} wanted, {free} free",
            want.gpus,
            free,
        )
    return None


def has_bandwidth(host: HostSnapshot, want: MachineWant) -> Reason | None:
    free = host.nic_free_bytes_s
    if not want.nic_bytes_s or free is None or want.nic_bytes_s <= free:
        return None
    return Reason(
        ReasonCode.NO_BANDWIDTH,
        f"network bandwidth: {want.nic_bytes_s * 8 / 1e6:g} Mbit/s wanted, {max(0.0, free) * 8 / 1e6:g} Mbit/s free",
        want.nic_bytes_s,
        free,
    )


def has_realtime_cores(host: HostSnapshot, want: MachineWant) -> Reason | None:
    """Strict wants, and hosts without best effort, need whole free cores."""
    if want.service_class is not ServiceClass.REALTIME or not want.control_vcpus:
        return None
    if host.best_effort and not want.strict:
        return None
    free = pinning.count_free_cores(host.topology, host.claimed_cpus)
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
    floating = want.vcpus
    if want.service_class is ServiceClass.REALTIME:
        free = pinning.count_free_cores(host.topology, host.claimed_cpus)
        floating -= min(len(want.control_vcpus), free)
    limit = host.most_vcpus
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
    awake,
    administered,
    reaches_the_cell,
    keeps_time,
    has_realtime_cores,
    has_shared_cpus,
    has_memory,
    keeps_the_pool_s_limit,
    has_disk,
    has_hugepages,
    has_pages_beside_its_cores,
    has_cpu_features,
    has_the_cpu_it_runs_with,
    has_gpus,
    has_vgpus,
    has_bandwidth,
)


def filters_for(want: MachineWant) -> tuple[Filter, ...]:
    """Those that may refuse a host for this want; the others pass all of them."""
    realtime = want.service_class is ServiceClass.REALTIME
    idle: set[Filter] = set()
    for check, asked in (
        (reaches_the_cell, want.cell),
        (keeps_time, realtime),
        (has_realtime_cores, realtime and want.control_vcpus),
        (has_hugepages, want.hugepage_bytes),
        (has_pages_beside_its_cores, want.binds),
        (has_cpu_features, want.cpu_features),
        (has_the_cpu_it_runs_with, want.started),
        (has_gpus, want.gpus and not want.gpu_profile),
        (has_vgpus, want.gpus and want.gpu_profile),
        (has_bandwidth, want.nic_bytes_s),
        (keeps_the_pool_s_limit, want.pool_room),
    ):
        if not asked:
            idle.add(check)
    return tuple(check for check in FILTERS if check not in idle)
