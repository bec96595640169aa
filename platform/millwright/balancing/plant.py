"""The plant as the balancer sees it, read from the database with a fixed number of queries."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from django.db.models import Avg, F, Max, Q
from django.utils import timezone

from millwright.core.balancing import (
    Host,
    HostState,
    Mode,
    Plant,
    Pool,
    Rule,
    RuleKind,
    Settings,
    Vm,
)
from millwright.core.lifecycle import (
    OCCUPYING_ENVIRONMENT_STATES,
    HostAdministration,
    HostHealth,
    HostPower,
    MachineObserved,
    Movability,
    Recovery,
    ServiceClass,
)
from millwright.core.placement import StartedCpu as Cpu
from millwright.core.placement import most_vcpus
from millwright.core.sla.intervals import Interval
from millwright.core.topology import CpuRole, Topology
from millwright.environments.models import DemandSample, Machine, StartedCpu
from millwright.environments.moving import OFF
from millwright.environments.placement import cpu_of
from millwright.environments.sizes import Requires
from millwright.inventory.models import Cell
from millwright.inventory.models import Host as HostRow
from millwright.inventory.snapshot import (
    OVERHEAD_BYTES,
    overcommit_ratio,
    reached_cells,
    reserved_bytes,
    topology_of,
)

from .arriving import on_their_way
from .hours import laid
from .models import Balancer, HostDrain, PlacementRule, ResourcePool
from .parts import NO_CPU, Held, Parts, dirty_bytes_s, needs_by_version, told_by_version
from .parts import machine as machine_parts

#: Demand is averaged over the last ten minutes and the last hour.
SHORT, LONG = dt.timedelta(minutes=10), dt.timedelta(hours=1)

#: CPUs wanted (short and long average, worst moment) and bytes in use, where a host has told.
Demand = tuple[float, float, float, float | None]
NOTHING: Demand = (0.0, 0.0, 0.0, None)

#: What is read of a machine, in the order of `_vm`, and of a host.
_MACHINE = (
    "pk",
    "environment_id",
    "environment__name",
    "name",
    "vcpus",
    "memory_bytes",
    "host__name",
    "service_class",
    "cpu_assignment",
    "pool__name",
    "shares",
    "cpu_reservation",
    "cpu_limit",
    "memory_minimum_bytes",
    "cell__slug",
    "priority",
    "movability",
    "balance_mode",
    "protected",
    "recovery",
    "environment__disruption",
    "template_version_id",
    "disk_bytes",
    "observed",
    "started_cpu_id",
    "traits",
)
_HOST = (
    "name",
    "memory_bytes",
    "topology",
    "policy",
    "labels",
    "accel",
    "health",
    "administration",
    "power",
    "disk_bytes",
    "disk_free_bytes",
    "equipment",
)


def machines_on_hosts() -> Any:
    """Machines that hold room on a host."""
    states = [str(state) for state in OCCUPYING_ENVIRONMENT_STATES]
    return Machine.objects.filter(host__isnull=False, environment__state__in=states).select_related(
        "environment__project", "host", "cell", "pool"
    )


def read_plant(now: dt.datetime | None = None) -> Plant:
    """Hosts and what they have, machines with what they need and used lately, pools and rules, by the calendar.

    Machines go by `str(machine)`.
    """
    now = now or timezone.now()
    plant, calendar = unlaid(now, now)
    return bound(laid(plant, calendar, now))


def unlaid(now: dt.datetime, at: dt.datetime) -> tuple[Plant, list[dict[str, Any]]]:
    """As `read_plant`, without the calendar, and the calendar's lines. `at`: when windows of maintenance are open."""
    # Tuples, not objects: of 20,000 machines the objects alone would take longer than the query.
    machines = list(machines_on_hosts().select_related(None).values_list(*_MACHINE))
    demand = _demand(now)
    open_windows = _open_windows(machines, at)
    cells = frozenset(Cell.objects.values_list("slug", flat=True))
    pools = {pool.pk: pool for pool in ResourcePool.objects.all()}
    after = _after({row[0]: f"{row[2]}/{row[3]}" for row in machines})
    # One that was never told anything has what a new one has.
    told = Balancer.objects.defer("state", "figures").filter(pk=1).first() or Balancer()
    roles: dict[str, dict[str, int]] = {}
    hosts = list(HostRow.objects.only(*_HOST))
    # A machine on a lost host does not run: where it is started again any CPU will do.
    lost = {row.name for row in hosts if row.health == HostHealth.DOWN}
    needs, suffered = told_by_version()
    asked = any(row[-2] is not None for row in machines)
    cpus = {row.pk: cpu_of(row) for row in StartedCpu.objects.all()} if asked else {}
    held = [_held(row, needs, cpus, lost) for row in machines]
    parts = Parts(held)
    shared = {row.name for row in hosts if row.policy.get("shared_storage")}
    plant = Plant(
        hosts=tuple(_host(row, cells, roles, parts) for row in hosts),
        vms=tuple(
            _vm(
                row,
                takes,
                demand.get(row[0], NOTHING),
                window_open=row[1] in open_windows,
                after=after.get(row[0], ()),
                dirty_bytes_s=dirty_bytes_s(row[-1], now),
                disruption=_disruption(row, suffered),
                # A shared disk stays where it is; of a local one what was found written is copied.
                node=parts.seat(takes),
                copied_bytes=0 if takes.host in shared else int(row[-1].get("disk_bytes", 0)),
                off=row[-3] in OFF and takes.host not in lost,
            )
            for row, takes in zip(machines, held, strict=True)
        ),
        pools=tuple(
            Pool(
                name=pool.name,
                parent=pools[pool.parent_id].name if pool.parent_id else "",
                reservation=pool.cpu_reservation,
                limit=pool.cpu_limit,
                shares=pool.shares,
                mode=Mode(pool.balance_mode) if pool.balance_mode else None,
                memory_reservation_bytes=pool.memory_reservation_bytes,
                memory_limit_bytes=pool.memory_limit_bytes,
                memory_shares=pool.memory_shares,
            )
            for pool in pools.values()
        ),
        rules=tuple(rules_of({row[0] for row in machines})),
        settings=Settings(
            moves_running=len(on_their_way()),
            spare_hosts=told.spare_hosts,
            max_moves=told.max_moves,
            sustain_rounds=told.sustain_rounds,
            cooldown_rounds=told.cooldown_rounds,
            link_moves=told.link_moves,
        ),
    )
    return plant, told.calendar


def read_some(
    machines: Any, known: Sequence[HostRow] = ()
) -> tuple[tuple[Host, ...], list[tuple[UUID, Vm]]]:
    """All hosts, and of machines only these (a query set of those on hosts), without what they used.

    As `read_plant` has them, but that hosts have left what nobody holds and what these machines hold: ordinary
    memory, CPUs and cores, which hosts do not tell, count as if there were no others. `known`: all hosts, where they were read just now.
    Six queries at most.
    """
    rows = list(machines.select_related(None).order_by().values_list(*_MACHINE))
    hosts = known or list(HostRow.objects.only(*_HOST))
    cells = frozenset(Cell.objects.values_list("slug", flat=True))
    lost = {row.name for row in hosts if row.health == HostHealth.DOWN}
    needs = needs_by_version()
    cpus = {row.pk: cpu_of(row) for row in StartedCpu.objects.all()}
    held = [_held(row, needs, cpus, lost) for row in rows]
    parts, roles = Parts(held), dict[str, dict[str, int]]()
    return tuple(_host(row, cells, roles, parts) for row in hosts), [
        (row[0], _vm(row, takes, NOTHING, node=parts.seat(takes)))
        for row, takes in zip(rows, held, strict=True)
    ]


def placed(machine: Machine, host: str, cores: int, *, binds: bool = False) -> Vm:
    """A machine that is about to be placed there with so many cores of its own. One query.

    `binds`: its pages lie in the NUMA node of its cores.
    """
    row = Machine.objects.values_list(*_MACHINE).get(pk=machine.pk)
    takes = replace(_held(row, needs_by_version(), {}, ()), binds=binds)
    return _vm(row, takes, NOTHING, host=host, cores=cores)


def _held(
    row: tuple[Any, ...],
    needs: Mapping[int, Requires],
    cpus: Mapping[int, Cpu],
    lost: Collection[str],
) -> Held:
    version, disk, observed, cpu, _traits = row[-5:]
    host, memory = row[6], row[5]
    runs = observed in (MachineObserved.RUNNING, MachineObserved.MIGRATING) and host not in lost
    known = cpus.get(cpu, NO_CPU) if runs else NO_CPU
    takes, assignment = needs.get(version, Requires()), row[8]
    nodes = tuple(assignment.get("memory_nodes", ())) if takes.hugepage_bytes else ()
    return Held(host, memory, disk, takes, known, nodes, binds=len(nodes) == 1)


def _demand(now: dt.datetime) -> dict[UUID, Demand]:
    """CPUs used and waited for: short and long average, worst moment; memory in use. One query.

    Of memory the larger of both averages counts, as of CPUs: a lull is not trusted.
    """
    used = F("cpu_ratio") + F("wait_ratio")
    rows = (
        DemandSample.objects.filter(at__gt=now - LONG)
        .order_by()
        .values("machine_id")
        .annotate(
            short=Avg(used, filter=Q(at__gt=now - SHORT)),
            long=Avg(used),
            peak=Max(used),
            memory=Avg("memory_bytes", filter=Q(at__gt=now - SHORT, memory_bytes__gt=0)),
            memory_long=Avg("memory_bytes", filter=Q(memory_bytes__gt=0)),
        )
    )
    return {
        row["machine_id"]: (
            row["short"] or 0.0,
            row["long"],
            row["peak"],
            # Who has told nothing lately is not known by what was an hour ago.
            None if row["memory"] is None else max(row["memory"], row["memory_long"]),
        )
        for row in rows
    }


def _open_windows(machines: Iterable[tuple[Any, ...]], now: dt.datetime) -> set[UUID]:
    from millwright.service_levels.measuring import windows_of

    at = _MACHINE.index("movability")
    asked = [row[1] for row in machines if row[at] == Movability.WINDOW]
    if not asked:
        return set()
    found = windows_of(asked, Interval(now, now + dt.timedelta(seconds=1)))
    return {environment for environment, spans in found.items() if now in spans}


def _host(
    row: HostRow, cells: frozenset[str], known: dict[str, dict[str, int]], parts: Parts
) -> Host:
    roles, has = _roles(row, known), parts.host(row)
    cores = {int(key[len(_CORES) :]): n for key, n in roles.items() if key.startswith(_CORES)}
    aside = reserved_bytes(row.policy)
    return Host(
        name=row.name,
        # A CPU that keeps house and is shared as well counts, as it does for a placement. It has its own time and
        # no more, however many vCPUs its owner lets promise on it.
        cpus=float(roles["shared"]),
        most_vcpus=most_vcpus(roles["shared"], overcommit_ratio(row.policy)),
        # Cores, with all their siblings: what a control vCPU takes.
        cores=roles["cores"],
        housekeeping=roles.get(str(CpuRole.HOUSEKEEPING), 0),
        state=host_state(row),
        domain=str(row.labels.get("domain", "")),
        labels=host_labels(row, cells),
        memory_aside_bytes=aside + has.pop("memory_aside"),
        nodes=parts.nodes(row, cores, has["hugepages"]),
        **has,
    )


#: Before a NUMA node's number: cores in it that are given whole.
_CORES = "cores of node "


def _roles(row: HostRow, known: dict[str, dict[str, int]]) -> dict[str, int]:
    """How many CPUs have each main role, and how many are shared; hosts of a kind are counted once."""
    policy = {key: value for key, value in row.policy.items() if key.endswith("cpus")}
    kind = repr((row.topology.get("cpus"), policy))
    if kind not in known:
        topology = topology_of(row)
        counted: dict[str, int] = defaultdict(int)
        for cpu in topology.cpus:
            counted[str(topology.role(cpu.id))] += 1
        for node, cores in node_cores(topology).items():
            counted[f"{_CORES}{node}"] = cores
        known[kind] = {
            **counted,
            "shared": len(topology.shared),
            "cores": len(topology.whole_cores),
        }
    return known[kind]


def node_cores(topology: Topology) -> dict[int, int]:
    """By NUMA node how many cores are given whole; also nodes that have none."""
    nodes = {cpu.id: cpu.node for cpu in topology.cpus}
    found = dict.fromkeys(nodes.values(), 0)
    for lead in topology.whole_cores:
        found[nodes[lead]] += 1
    return found


#: Before the name of a storage that several hosts see.
_STORAGE = "storage:"


def host_labels(row: HostRow, cells: frozenset[str]) -> frozenset[str]:
    """What machines may require of it: the cells that it reaches (`cells`: all there are), its way to run guests."""
    reached = reached_cells(row.policy, cells)
    shared = row.policy.get("shared_storage")
    storage = {f"{_STORAGE}{shared}"} if shared else set()
    return frozenset(f"cell:{slug}" for slug in reached) | {f"accel:{row.accel}"} | storage


def host_state(row: HostRow) -> HostState:
    """Health, power and administration in one word."""
    return state_of(row.health, row.administration, row.power)


def state_of(health: str, administration: str, power: str = HostPower.AWAKE) -> HostState:
    """As `host_state`, of the words. One on its way to sleep or from it counts as asleep, unless it is lost."""
    if health == HostHealth.DOWN:
        return HostState.DOWN
    if power != HostPower.AWAKE:
        return HostState.ASLEEP
    if health == HostHealth.SUSPECT:
        return HostState.SUSPECT
    if administration == HostAdministration.DRAINING:
        return HostState.DRAINING
    if administration == HostAdministration.SCHEDULABLE:
        return HostState.UP
    return HostState.CORDONED


def _after(names: dict[UUID, str]) -> dict[UUID, tuple[str, ...]]:
    """By machine the names of those that it starts after, as far as they have a place. One query."""
    found: dict[UUID, list[str]] = defaultdict(list)
    for machine, other in Machine.after.through.objects.values_list(
        "from_machine_id", "to_machine_id"
    ):
        if other in names:
            found[machine].append(names[other])
    return {machine: tuple(sorted(others)) for machine, others in found.items()}


def _vm(row: tuple[Any, ...], takes: Held, demand: Demand, **more: Any) -> Vm:
    """One machine; `more`: fields that its row does not have, or that shall be others."""
    (_pk, _environment, environment, name, vcpus, memory, host, service_class, assignment) = row[:9]
    (pool, shares, reservation, limit, minimum, cell, priority, movability) = row[9:17]
    (balance_mode, protected, recovery) = row[17:20]
    fields: dict[str, Any] = {
        # As `str(machine)` names it.
        "name": f"{environment}/{name}",
        "vcpus": vcpus,
        "memory_bytes": memory + OVERHEAD_BYTES,
        "host": host,
        "service_class": ServiceClass(service_class),
        # Cores that it has; a best-effort machine has none, and asks for none elsewhere.
        "cores": len(assignment.get("claims", {})),
        "pool": pool or "",
        "shares": shares,
        "cpu_reservation": reservation,
        "cpu_limit": limit,
        "memory_minimum_bytes": (
            None
            if minimum is None or service_class == ServiceClass.REALTIME
            else minimum + OVERHEAD_BYTES
        ),
        "demand_short": demand[0],
        "demand_long": demand[1],
        "demand_peak": demand[2],
        "memory_active_bytes": (
            None if demand[3] is None else min(int(demand[3]), memory) + OVERHEAD_BYTES
        ),
        "requires": _required(cell, takes),
        "priority": priority,
        "movability": Movability(movability),
        "mode": Mode(balance_mode) if balance_mode else None,
        "protected": protected,
        "recovery": Recovery(recovery),
    }
    # One object of two dozen fields each: to make it anew with some changed would take as long again.
    return Vm(**(fields | machine_parts(takes) | more))


def _disruption(row: tuple[Any, ...], suffered: Mapping[int, float]) -> float:
    """What its users suffer from a move: as said for the environment, else by its template."""
    own = row[_MACHINE.index("environment__disruption")]
    return float(suffered.get(row[-5], 0.0) if own is None else own)


def _required(cell: str | None, takes: Held) -> frozenset[str]:
    """Labels that its host must have."""
    wanted = [f"cell:{cell}"] if cell else []
    if takes.cpu.accel == "kvm":
        # It goes on by KVM or not at all; what is emulated can go on so anywhere.
        wanted.append("accel:kvm")
    return frozenset(wanted)


def bound(plant: Plant) -> Plant:
    """What stays whatever the calendar says: who runs with a card of its host, who is off with its disk on its host alone."""
    shared = {host.name for host in plant.hosts if _shared(host)}

    def stays(vm: Vm) -> bool:
        return bool(vm.host not in shared and any(vm.disks.values()) if vm.off else vm.gpus)

    if not any(map(stays, plant.vms)):
        return plant
    vms = (replace(vm, movability=Movability.NEVER) if stays(vm) else vm for vm in plant.vms)
    return replace(plant, vms=tuple(vms))


def with_disks(plant: Plant) -> Plant:
    """For whoever plans moves: who is off goes only where its disks are seen, since nothing is copied.

    Not for restarts, which build a machine anew where they have to.
    """
    seen = {host.name: _shared(host) for host in plant.hosts}
    if not any(vm.off and seen.get(vm.host or "") for vm in plant.vms):
        return plant
    vms = (
        replace(vm, requires=vm.requires | seen[vm.host])
        if vm.off and vm.host in seen and any(vm.disks.values())
        else vm
        for vm in plant.vms
    )
    return replace(plant, vms=tuple(vms))


def _shared(host: Host) -> frozenset[str]:
    """The label that says which storage the host shares with others; none where it shares none."""
    return frozenset(label for label in host.labels if label.startswith(_STORAGE))


def rules_of(present: set[UUID]) -> Iterable[Rule]:
    """The rules in force, with those of their machines that are present. Three queries."""
    rows = PlacementRule.objects.filter(enabled=True).prefetch_related(
        "machines__environment", "hosts"
    )
    for row in rows:
        names = tuple(str(machine) for machine in row.machines.all() if machine.pk in present)
        if names:
            hosts = tuple(host.name for host in row.hosts.all())
            yield Rule(
                row.name, RuleKind(row.kind), names, hosts, row.hard, row.weight, row.minimum
            )


def being_emptied(plant: Plant) -> set[str]:
    """Hosts that are drained so that they can sleep. One query, none where no host is drained."""
    drained = [host.name for host in plant.hosts if host.state is HostState.DRAINING]
    if not drained:
        return set()
    rows = HostDrain.objects.filter(
        host__name__in=drained, state="active", sleep_until__isnull=False
    )
    return set(rows.values_list("host__name", flat=True))


def not_emptied(plant: Plant) -> Plant:
    """The plant with the host open that is being emptied to sleep.

    What has room nowhere else calls that off, and so does any drain for maintenance. One query, none where no host is
    drained.
    """
    names = being_emptied(plant)
    if not names:
        return plant
    return replace(
        plant,
        hosts=tuple(
            replace(host, state=HostState.UP) if host.name in names else host
            for host in plant.hosts
        ),
    )
