"""The pool as the planner sees it, read with a constant number of queries."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db.models import Count, Q, Sum, TextField
from django.db.models.functions import Cast

from millwright.core.lifecycle import (
    OCCUPYING_ENVIRONMENT_STATES,
    HostAdministration,
    HostHealth,
    HostPower,
    MachineObserved,
)
from millwright.core.placement import OVERCOMMIT_RATIO, Card, HostSnapshot, Snapshot, Wake
from millwright.core.topology import Cpu, Topology, format_cpu_list, parse_cpu_list
from millwright.hypervisor import vgpu_uuid

from .equipment import (
    cards,
    cpu_features,
    cpu_model,
    nic_bytes_s,
    node_pages,
    pages,
    pages_aside,
    pages_bytes,
    shared_cards,
    storage_free,
    vgpus_free,
)
from .models import Cell, CpuClaim, DeviceClaim, Host
from .power import on_request, wake_s
from .waking import left_asleep

#: Kept back on each host for the system itself where the policy says nothing.
DEFAULT_RESERVED_BYTES = 512 * 2**20
#: What QEMU takes beside the guest's own memory.
OVERHEAD_BYTES = 192 * 2**20
#: States in which a machine's pages are in use on its host.
_RUN = (MachineObserved.RUNNING, MachineObserved.MIGRATING)
#: A policy's lists of CPUs.
_ROLES = ("housekeeping_cpus", "realtime_cpus", "shared_cpus")
#: What of a policy a topology depends on.
_CPU_KEYS = frozenset((*_ROLES, "cpus"))
#: What is read of every host, beside its topology: all that placements and the balancer ask of its row.
_READ = (
    *("name", "policy", "labels", "capabilities", "accel", "equipment"),
    *("health", "administration", "power"),
    *("memory_bytes", "disk_bytes", "disk_free_bytes"),
)
#: Topologies that are kept to be compared with.
MOST_KINDS = 16


def topology_of(host: Host) -> Topology:
    """A host's topology with the roles of its policy; one never seen has the CPUs that its policy names, or one.

    A CPU that the policy names and the host has no more has no role: one host must not end the placement of all.
    """
    cpus = [
        Cpu(
            id=entry["id"],
            node=entry.get("node", 0),
            socket=entry.get("socket", 0),
            siblings=frozenset(entry.get("siblings") or [entry["id"]]),
        )
        for entry in host.topology.get("cpus", [])
    ]
    policy = host.policy
    if not cpus:
        named = {cpu for key in _ROLES for cpu in parse_cpu_list(policy.get(key, ""))}
        cpus = [Cpu(cpu) for cpu in sorted(named)] or [Cpu(0)]
    if allowed := parse_cpu_list(policy.get("cpus", "")):
        # The host has more, but not for us.
        cpus = [cpu for cpu in cpus if cpu.id in allowed] or [Cpu(min(allowed))]
    there = {cpu.id for cpu in cpus}
    housekeeping, realtime, shared = (
        format_cpu_list(parse_cpu_list(policy.get(key, "")) & there) for key in _ROLES
    )
    return Topology.build(cpus, housekeeping=housekeeping, realtime=realtime, shared=shared)


def overcommit_ratio(policy: Mapping[str, Any]) -> float:
    """vCPUs per shared CPU that the host's owner allows: the one place where nothing said gets its meaning."""
    told = policy.get("overcommit_ratio")
    return OVERCOMMIT_RATIO if told is None else float(told)


def reserved_bytes(policy: Mapping[str, Any]) -> int:
    """Memory that the host keeps for itself, by its policy or as usual."""
    told = policy.get("memory_reserved_bytes")
    return DEFAULT_RESERVED_BYTES if told is None else int(told)


def reached_cells(policy: Mapping[str, Any], cells: frozenset[str]) -> frozenset[str]:
    """The cells that the host reaches: those of its policy, or all there are (`cells`)."""
    told = policy.get("cells")
    return frozenset(told) if isinstance(told, list) else cells


class Kinds:
    """Topologies of hosts that have the same CPUs with the same roles: of a kind there is one."""

    def __init__(self) -> None:
        self._known: list[tuple[object, dict[str, Any], Topology]] = []

    def of(self, host: Host) -> Topology:
        """As `topology_of`."""
        cpus = host.topology.get("cpus")
        roles = {key: value for key, value in host.policy.items() if key in _CPU_KEYS}
        for there, lists, topology in self._known:
            if there == cpus and lists == roles:
                return topology
        found = topology_of(host)
        # A pool has few kinds; of one where every host is another none is worth comparing with.
        if len(self._known) < MOST_KINDS:
            self._known.append((cpus, roles, found))
        return found


def _every_host() -> list[Host]:
    """The pool's hosts; of what many have in common, their CPUs, one copy is read and shared: nobody changes it."""
    hosts = list(Host.objects.only(*_READ).annotate(told=Cast("topology", TextField())))
    known: dict[str, dict[str, Any]] = {}
    for host in hosts:
        told = host.told
        if told not in known:
            known[told] = json.loads(told)
        host.topology = known[told]
    return hosts


def snapshot(
    only: Collection[Host] | None = None,
    used: Mapping[str, tuple[float, float]] | None = None,
) -> Snapshot:
    """Hosts with their claims and promises: five queries, whatever the size of the pool.

    A machine that is on its way counts on both hosts. `only`: these hosts, which were read already,
    in place of the whole pool; four queries. Where hosts have hugepages or tell the speed of their NICs there are at
    most three more, one more where they have cards to give, one where any is not awake, and one where any is drained.
    `used`: by host the shared CPUs that were used lately, and those that machines which nobody has measured are thought
    to want; who is not named holds nobody.
    """
    from millwright.environments.models import Machine, Move

    states = [str(state) for state in OCCUPYING_ENVIRONMENT_STATES]
    hosts = _every_host() if only is None else list(only)
    taken = CpuClaim.objects.order_by()
    placed = Machine.objects.filter(host__isnull=False, environment__state__in=states).order_by()
    arriving = Move.objects.filter(state="prepared")
    if only is not None:
        keys = [host.pk for host in only]
        taken = taken.filter(host__in=keys)
        placed = placed.filter(host__in=keys)
        arriving = arriving.filter(destination__in=keys)
    claims: dict[int, set[int]] = defaultdict(set)
    #: vCPUs that have a core of their own, of which each sibling is claimed
    served: dict[int, set[tuple[int, int]]] = defaultdict(set)
    for host_id, cpu, machine, vcpu in taken.values_list("host_id", "cpu", "machine_id", "vcpu"):
        claims[host_id].add(cpu)
        # As a number: its own hash is worked out in Python each time.
        served[host_id].add((machine.int, vcpu))
    promised: dict[int, dict[str, Any]] = {
        row["host"]: row
        for row in placed.values("host").annotate(
            memory=Sum("memory_bytes"),
            vcpus=Sum("vcpus"),
            count=Count("pk"),
        )
    }
    coming = arriving.values_list("destination", "machine__memory_bytes", "machine__vcpus")
    for host_id, memory, vcpus in coming:
        row = promised.setdefault(host_id, {"memory": 0, "vcpus": 0, "count": 0})
        row["memory"] += memory
        row["vcpus"] += vcpus
        row["count"] += 1
    cells = frozenset(Cell.objects.values_list("slug", flat=True))
    told = any(pages_bytes(host) or nic_bytes_s(host) for host in hosts)
    needs = _needs(placed, arriving) if told else _Needs()
    (given, parts), kinds = _given(hosts), Kinds()
    left, emptied = left_asleep(hosts), _emptied(hosts)
    return Snapshot(
        tuple(
            _host(
                host,
                kinds.of(host),
                claims[host.pk],
                len(served[host.pk]),
                promised.get(host.pk, {}),
                cells,
                needs.paged.get(host.pk, {}),
                needs.bound.get(host.pk, {}),
                given[host.pk],
                parts[host.pk],
                needs.bandwidth.get(host.pk, 0),
                None if used is None else used.get(host.name, (0.0, 0.0)),
                left.get(host.pk, ""),
                host.pk in emptied,
            )
            for host in hosts
        ),
        tuple(hosts),
    )


@dataclass(slots=True)
class _Needs:
    """Of each host what machines there were promised: bytes that lie in pages by their size, and of its NICs bytes/s."""

    paged: dict[int, dict[int, int]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(int))
    )
    bandwidth: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    #: pages of machines that are bound to NUMA nodes, by node and size: of all of them, and of those that run
    bound: dict[int, dict[tuple[int, int], list[int]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(lambda: [0, 0]))
    )


def _needs(placed: Any, arriving: Any) -> _Needs:
    """Three queries at most."""
    from millwright.catalog.models import TemplateVersion
    from millwright.environments.sizes import requires_of

    asked = TemplateVersion.objects.filter(
        Q(spec__requires__hugepages__in=("2M", "1G"))
        | Q(spec__requires__has_key="bandwidth_bytes_s")
    )
    told = {pk: requires_of(spec) for pk, spec in asked.values_list("pk", "spec")}
    wants = {pk: row for pk, row in told.items() if row.hugepage_bytes or row.nic_bytes_s}
    found = _Needs()
    if not wants:
        return found
    rows = [
        *placed.filter(template_version__in=wants).values_list(
            "host", "template_version", "memory_bytes", "cpu_assignment", "observed"
        ),
        *(
            # Nothing of it runs there yet.
            (*row, "")
            for row in arriving.filter(machine__template_version__in=wants).values_list(
                "destination",
                "machine__template_version",
                "machine__memory_bytes",
                "cpu_assignment",
            )
        ),
    ]
    for host, version, memory, assignment, observed in rows:
        if size := wants[version].hugepage_bytes:
            found.paged[host][size] += memory
            for node, count in pages_by_node(assignment, memory, size).items():
                held = found.bound[host][node, size]
                held[0] += count
                held[1] += count if observed in _RUN else 0
        found.bandwidth[host] += wants[version].nic_bytes_s
    return found


def pages_by_node(assignment: Mapping[str, Any], memory_bytes: int, size: int) -> dict[int, int]:
    """Pages of a machine by the NUMA nodes to which it is bound; nothing: it is bound to none.

    Of several nodes each has its part: the kernel takes from where there are any.
    """
    nodes = assignment.get("memory_nodes") or ()
    count = -(-memory_bytes // size)
    return {node: -(-count // len(nodes)) for node in nodes}


def bandwidth_reserved(hosts: Collection[int]) -> dict[int, int]:
    """Of these hosts (by key) what machines there, or on their way there, have reserved of the NICs, bytes per second.

    Three queries at most.
    """
    from millwright.environments.models import Machine, Move

    states = [str(state) for state in OCCUPYING_ENVIRONMENT_STATES]
    placed = Machine.objects.filter(host__in=hosts, environment__state__in=states).order_by()
    arriving = Move.objects.filter(state="prepared", destination__in=hosts)
    found = _needs(placed, arriving).bandwidth
    return {key: found.get(key, 0) for key in hosts}


def _given(
    hosts: Collection[Host],
) -> tuple[dict[int, set[str]], dict[int, list[tuple[str, str, str]]]]:
    """Host → addresses of the devices that machines have claimed, and card, profile and id of vGPU instances.

    No query where no host has any to give.
    """
    found: dict[int, set[str]] = defaultdict(set)
    parts: dict[int, list[tuple[str, str, str]]] = defaultdict(list)
    if any(cards(host) or shared_cards(host) for host in hosts):
        rows = DeviceClaim.objects.filter(host__in=[host.pk for host in hosts]).order_by("pk")
        count: dict[tuple[int, UUID], int] = defaultdict(int)
        for host_id, address, profile, machine in rows.values_list(
            "host_id", "address", "profile", "machine_id"
        ):
            if profile:
                number = count[host_id, machine]
                count[host_id, machine] += 1
                parts[host_id].append((address, profile, str(vgpu_uuid(machine, number))))
            else:
                found[host_id].add(address)
    return found, parts


def _host(
    host: Host,
    topology: Topology,
    claims: set[int],
    served: int,
    promised: dict[str, Any],
    cells: frozenset[str],
    paged: dict[int, int],
    bound: Mapping[tuple[int, int], Sequence[int]],
    given: set[str],
    parts: Collection[tuple[str, str, str]],
    bandwidth: int,
    used: tuple[float, float] | None,
    left: str,
    emptied: bool,
) -> HostSnapshot:
    nics = nic_bytes_s(host)
    reserved = reserved_bytes(host.policy)
    return HostSnapshot(
        name=host.name,
        health=HostHealth(host.health),
        administration=HostAdministration(host.administration),
        power=HostPower(host.power),
        wake=None if left else _wake(host, bool(promised)),
        left_asleep=left,
        emptied=emptied,
        topology=topology,
        memory_bytes=host.memory_bytes,
        # What is set aside for hugepages is nobody's ordinary memory, and who lies there takes none.
        memory_promised_bytes=reserved
        + pages_aside(host)
        + promised.get("memory", 0)
        - sum(paged.values())
        + promised.get("count", 0) * OVERHEAD_BYTES,
        disk_free_bytes=host.disk_free_bytes,
        claimed_cpus=frozenset(claims),
        # A control vCPU for which there was no core of its own runs on these too.
        shared_vcpus=promised.get("vcpus", 0) - served,
        capabilities={
            kind: probe.get("verdict") == "yes" for kind, probe in host.capabilities.items()
        },
        best_effort=bool(host.policy.get("best_effort", False)),
        accel=host.accel,
        cells=reached_cells(host.policy, cells),
        overcommit_ratio=overcommit_ratio(host.policy),
        labels=host.labels,
        hugepages_free=_pages_free(host, paged),
        node_pages_free=_node_pages_free(host, bound),
        cpu_model=cpu_model(host),
        cpu_features=cpu_features(host),
        storage_free=storage_free(host),
        cards_free=_cards_free(host, given),
        vgpus_free=vgpus_free(host, parts),
        nic_free_bytes_s=None if nics is None else nics - bandwidth,
        used_ratio=None if used is None else used[0] / max(1, len(topology.shared)),
        assumed_ratio=0.0 if used is None else used[1] / max(1, len(topology.shared)),
    )


def _emptied(hosts: Iterable[Host]) -> set[int]:
    """Hosts that are drained for sleep, by key. No query where none is drained."""
    from millwright.balancing.models import HostDrain

    drained = [row.pk for row in hosts if row.administration == HostAdministration.DRAINING]
    if not drained:
        return set()
    rows = HostDrain.objects.filter(host__in=drained, state="active", sleep_until__isnull=False)
    return set(rows.values_list("host_id", flat=True))


def _wake(host: Host, awaited: bool) -> Wake | None:
    """`awaited`: a machine holds room there, for which it is woken."""
    if host.power == HostPower.AWAKE or not on_request(host):
        return None
    watts = float(host.policy["sleep"].get("watts") or 0)
    return Wake(float(wake_s(host)), watts, begun=awaited or host.power == HostPower.WAKING)


def _pages_free(host: Host, paged: dict[int, int]) -> dict[int, int] | None:
    """Pages that nobody was promised and nobody, ours or not, uses."""
    total, free = pages(host), pages(host, "free")
    if total is None or free is None:
        return None
    return {
        size: min(free[size], count - -(-paged.get(size, 0) // size))
        for size, count in total.items()
    }


def _node_pages_free(
    host: Host, bound: Mapping[tuple[int, int], Sequence[int]]
) -> dict[int, dict[int, int]] | None:
    """As `_pages_free` for each NUMA node: less what is bound to it, and what others were found to use of it."""
    told = node_pages(host)
    if told is None:
        return None
    found: dict[int, dict[int, int]] = {}
    for node, sizes in told.items():
        found[node] = {}
        for size, (total, free) in sizes.items():
            promised, running = bound.get((node, size), (0, 0))
            others = max(0, total - free - running)
            found[node][size] = max(0, total - promised - others)
    return found


def _cards_free(host: Host, given: set[str]) -> tuple[Card, ...] | None:
    found = cards(host)
    return None if found is None else tuple(card for card in found if card.address not in given)
