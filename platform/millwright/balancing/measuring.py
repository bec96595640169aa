"""What came of the moves that rounds decided: measured once both hosts have run long enough with them."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from django.db.models import Avg, F, Q
from django.utils import timezone

from millwright.core.balancing import Plant, Why, loads, memory_loads
from millwright.core.lifecycle import MachineDesired, OperationState
from millwright.core.placement.model import OVERCOMMIT_RATIO
from millwright.environments.models import DemandSample

from .models import Recommendation
from .plant import LONG, SHORT, machines_on_hosts, read_plant

#: Moves that are looked at in one round.
AT_ONCE = 100
#: What shadow noted longer ago, while nobody measured, is not compared with what is now.
NOTED_FOR = dt.timedelta(hours=6)


def measure_round(now: dt.datetime | None = None) -> int:
    """Write the actual effect of moves that ended; returns how many were settled. A fixed number of queries."""
    now = now or timezone.now()
    ended = (OperationState.SUCCEEDED, OperationState.FAILED, OperationState.CANCELLED)
    rows = list(
        Recommendation.objects.filter(state="moving", operation__state__in=ended).select_related(
            "operation__move", "source", "destination"
        )[:AT_ONCE]
    )
    failed = [row for row in rows if row.operation.state != OperationState.SUCCEEDED]
    for row in failed:
        row.state, row.actual = "failed", {"error": row.operation.error[:300]}
        row.ended_at = row.operation.ended_at or now
    done = [
        row
        for row in rows
        if row.operation.state == OperationState.SUCCEEDED
        and (row.operation.ended_at or now) <= now - SHORT
    ]
    noted = _noted(now)
    if done or noted:
        plant = read_plant(now)
        entitled, used = loads(plant), used_on(plant)
        memory: dict[str, float] = {}
        both = [*done, *noted]
        waits = waited_on(
            {row.source_id for row in both} | {row.destination_id for row in both}, now
        )
        for row in both:
            here, there = row.source.name, row.destination.name
            after = waits.get(row.source_id, 0.0) + waits.get(row.destination_id, 0.0)
            move = getattr(row.operation, "move", None)
            row.state = "moved" if row.state == "moving" else row.state
            row.actual = {
                # What was expected is measured so, too.
                "source": _rounded(entitled.get(here)),
                "target": _rounded(entitled.get(there)),
                "used_source": used.get(here),
                "used_target": used.get(there),
                "waited_before": row.effect.get("waited"),
                "waited_after": round(after, 4),
                "elapsed_s": None if move is None or not move.elapsed_ms else move.elapsed_ms / 1e3,
                "downtime_ms": None if move is None else move.downtime_ms,
            }
            if row.why == Why.MEMORY:
                memory = memory or memory_loads(plant)
                row.actual |= {
                    "memory_source": _rounded(memory.get(here)),
                    "memory_target": _rounded(memory.get(there)),
                }
    Recommendation.objects.bulk_update([*failed, *done, *noted], ["state", "actual", "ended_at"])
    return len(failed) + len(done) + len(noted)


def _noted(now: dt.datetime) -> list[Recommendation]:
    """Moves of shadow that would have ended as long ago as those that are measured: without them, how is it?"""
    rows = Recommendation.objects.filter(
        state="shadow", actual={}, created_at__lte=now - SHORT, created_at__gt=now - NOTED_FOR
    ).select_related("operation", "source", "destination")[:AT_ONCE]
    return [
        row for row in rows if row.created_at + dt.timedelta(seconds=row.seconds) <= now - SHORT
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def cpus_used(plant: Plant) -> dict[str, float]:
    """Shared CPUs used and waited for lately by the machines of each host that has any."""
    wanted: dict[str, float] = defaultdict(float)
    for vm in plant.vms:
        if vm.host is not None:
            wanted[vm.host] += max(vm.demand_short - vm.cores, 0.0)
    return wanted


def cpus_used_lately(now: dt.datetime) -> dict[str, tuple[float, float]]:
    """Of each host that holds machines the shared CPUs that they used and waited for lately, and those that others of
    them, which nobody has measured, are thought to want. Two queries.

    Of one that has told nothing for ten minutes what it used within the hour before counts, else what it promises: its
    reservation, or its vCPUs as those that were measured use theirs. What is switched off wants nothing.
    """
    used = F("cpu_ratio") + F("wait_ratio")
    demand = (
        DemandSample.objects.filter(at__gt=now - LONG, machine__host__isnull=False)
        .order_by()
        .values("machine_id")
        .annotate(short=Avg(used, filter=Q(at__gt=now - SHORT)), long=Avg(used))
    )
    told = {row["machine_id"]: (row["short"], row["long"]) for row in demand}
    rows = machines_on_hosts().select_related(None).order_by()
    found: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    #: host, shared vCPUs, reservation
    silent: list[tuple[str, int, float]] = []
    wanted, vcpus = 0.0, 0
    fields = ("pk", "host__name", "cpu_assignment", "vcpus", "cpu_reservation", "desired")
    for key, host, assignment, number, reserved, desired in rows.values_list(*fields):
        own = len(assignment.get("claims", {}))
        short, long = told.get(key, (None, None))
        if short is not None:
            wants = max(short - own, 0.0)
            found[host][0] += wants
            wanted, vcpus = wanted + wants, vcpus + number - own
        elif desired != MachineDesired.RUNNING:
            continue
        elif long is not None:
            found[host][1] += max(long - own, 0.0)
        else:
            silent.append((host, number - own, reserved))
    usual = min(1.0, wanted / vcpus) if vcpus else 1.0 / OVERCOMMIT_RATIO
    for host, number, reserved in silent:
        found[host][1] += max(reserved, number * usual)
    return {host: (measured, assumed) for host, (measured, assumed) in found.items()}


def used_on(plant: Plant) -> dict[str, float]:
    """CPUs used and waited for lately on each host that is not down, as a ratio of its shared CPUs."""
    wanted = cpus_used(plant)
    return {
        host.name: round(wanted.get(host.name, 0.0) / host.cpus, 4)
        for host in plant.hosts
        if host.cpus > 0 and not host.state.off
    }


def waited_on(hosts: Iterable[Any], now: dt.datetime) -> dict[Any, float]:
    """By host (primary keys) the CPUs that its machines of now have waited for lately. One query."""
    rows = (
        DemandSample.objects.filter(machine__host__in=list(hosts), at__gt=now - SHORT, at__lte=now)
        .order_by()
        .values("machine_id", "machine__host_id")
        .annotate(waited=Avg("wait_ratio"))
    )
    found: dict[Any, float] = defaultdict(float)
    for row in rows:
        found[row["machine__host_id"]] += row["waited"]
    return found
