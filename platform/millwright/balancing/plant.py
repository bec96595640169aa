"""The plant as the balancer sees it, read from the database with a fixed number of queries."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable
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
    Movability,
    Recovery,
    ServiceClass,
)
from millwright.core.sla.intervals import Interval
from millwright.core.topology import CpuRole
from millwright.environments.models import DemandSample, Machine, Move
from millwright.inventory.models import Cell
from millwright.inventory.models import Host as HostRow
from millwright.inventory.snapshot import DEFAULT_RESERVED_BYTES, OVERHEAD_BYTES, topology_of

from .models import PlacementRule, ResourcePool

#: Demand is averaged over the last ten minutes and the last hour.
SHORT, LONG = dt.timedelta(minutes=10), dt.timedelta(hours=1)


def machines_on_hosts() -> Any:
    """Machines that hold room on a host."""
    states = [str(state) for state in OCCUPYING_ENVIRONMENT_STATES]
    return Machine.objects.filter(host__isnull=False, environment__state__in=states).select_related(
        "environment__project", "host", "cell", "pool"
    )


def read_plant(now: dt.datetime | None = None) -> Plant:
    """Hosts, machines with what they used lately, pools and rules. Machines go by `str(machine)`."""
    now = now or timezone.now()
    machines = list(machines_on_hosts())
    demand = _demand(now)
    open_windows = _open_windows(machines, now)
    cells = frozenset(Cell.objects.values_list("slug", flat=True))
    pools = {pool.pk: pool for pool in ResourcePool.objects.all()}
    return Plant(
        hosts=tuple(_host(row, cells) for row in HostRow.objects.all()),
        vms=tuple(
            _vm(row, demand.get(row.pk, (0.0, 0.0, 0.0)), row.environment_id in open_windows)
            for row in machines
        ),
        pools=tuple(
            Pool(
                name=pool.name,
                parent=pools[pool.parent_id].name if pool.parent_id else None,
                reservation=pool.cpu_reservation,
                limit=pool.cpu_limit,
                shares=pool.shares,
                mode=Mode(pool.balance_mode) if pool.balance_mode else None,
            )
            for pool in pools.values()
        ),
        rules=tuple(_rules({row.pk for row in machines})),
        settings=Settings(moves_running=Move.objects.filter(state="prepared").count()),
    )


def _demand(now: dt.datetime) -> dict[UUID, tuple[float, float, float]]:
    """CPUs used and waited for: short and long average, worst moment. One query."""
    used = F("cpu_ratio") + F("wait_ratio")
    rows = (
        DemandSample.objects.filter(at__gt=now - LONG)
        .order_by()
        .values("machine_id")
        .annotate(short=Avg(used, filter=Q(at__gt=now - SHORT)), long=Avg(used), peak=Max(used))
    )
    return {row["machine_id"]: (row["short"] or 0.0, row["long"], row["peak"]) for row in rows}


def _open_windows(machines: Iterable[Machine], now: dt.datetime) -> set[UUID]:
    from millwright.service_levels.measuring import windows_of

    asked = [row.environment_id for row in machines if row.movability == Movability.WINDOW]
    if not asked:
        return set()
    found = windows_of(asked, Interval(now, now + dt.timedelta(seconds=1)))
    return {environment for environment, spans in found.items() if now in spans}


def _host(row: HostRow, cells: frozenset[str]) -> Host:
    topology = topology_of(row)
    roles: dict[str, int] = defaultdict(int)
    for cpu in topology.cpus:
        roles[str(topology.role(cpu.id))] += 1
    return Host(
        name=row.name,
        # A CPU that keeps house and is shared as well counts, as it does for a placement.
        cpus=float(len(topology.shared)) * float(row.policy.get("overcommit_ratio", 1.0)),
        memory_bytes=row.memory_bytes,
        cores=roles[str(CpuRole.REALTIME)],
        housekeeping=roles[str(CpuRole.HOUSEKEEPING)],
        state=host_state(row),
        domain=str(row.labels.get("domain", "")),
        labels=host_labels(row, cells),
        memory_aside_bytes=int(row.policy.get("memory_reserved_bytes", DEFAULT_RESERVED_BYTES)),
    )


def host_labels(row: HostRow, cells: frozenset[str]) -> frozenset[str]:
    """What machines may require of it: the cells that it reaches (`cells`: all there are), its way to run guests."""
    reached = frozenset(row.policy["cells"]) if "cells" in row.policy else cells
    return frozenset(f"cell:{slug}" for slug in reached) | {f"accel:{row.accel}"}


def host_state(row: HostRow) -> HostState:
    """Health and administration in one word."""
    if row.health == HostHealth.DOWN:
        return HostState.DOWN
    if row.health == HostHealth.SUSPECT:
        return HostState.SUSPECT
    if row.administration == HostAdministration.DRAINING:
        return HostState.DRAINING
    if row.administration == HostAdministration.SCHEDULABLE:
        return HostState.UP
    return HostState.CORDONED


def _vm(row: Machine, demand: tuple[float, float, float], window_open: bool) -> Vm:
    # Cores that it has; a best-effort machine has none, and asks for none elsewhere.
    cores = len(row.cpu_assignment.get("claims", {}))
    return Vm(
        name=str(row),
        vcpus=row.vcpus,
        memory_bytes=row.memory_bytes + OVERHEAD_BYTES,
        host=row.host.name if row.host else None,
        service_class=ServiceClass(row.service_class),
        cores=cores,
        pool=row.pool.name if row.pool else "",
        shares=row.shares,
        cpu_reservation=row.cpu_reservation,
        cpu_limit=row.cpu_limit,
        memory_minimum_bytes=(
            None
            if row.memory_minimum_bytes is None or row.service_class == ServiceClass.REALTIME
            else row.memory_minimum_bytes + OVERHEAD_BYTES
        ),
        demand_short=demand[0],
        demand_long=demand[1],
        demand_peak=demand[2],
        requires=frozenset({f"cell:{row.cell.slug}"} if row.cell else ()),
        priority=row.priority,
        movability=Movability(row.movability),
        window_open=window_open,
        mode=Mode(row.balance_mode) if row.balance_mode else None,
        protected=row.protected,
        recovery=Recovery(row.recovery),
    )


def _rules(present: set[UUID]) -> Iterable[Rule]:
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
