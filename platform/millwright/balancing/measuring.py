"""What came of the moves that rounds decided: measured once both hosts have run long enough with them."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from typing import Any

from django.db.models import Avg, Q
from django.utils import timezone

from millwright.core.balancing import HostState, Plant
from millwright.core.lifecycle import OperationState
from millwright.environments.models import DemandSample, Machine

from .models import Recommendation
from .plant import SHORT, read_plant

#: Moves that are looked at in one round.
AT_ONCE = 100


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
    done = [
        row
        for row in rows
        if row.operation.state == OperationState.SUCCEEDED
        and (row.operation.ended_at or now) <= now - SHORT
    ]
    if done:
        loads = loads_of(read_plant(now))
        waits = _waits(done, now)
        for row in done:
            before, after = waits[row.pk]
            move = getattr(row.operation, "move", None)
            row.state = "moved"
            row.actual = {
                "source": loads.get(row.source.name),
                "target": loads.get(row.destination.name),
                "waited_before": before,
                "waited_after": after,
                "elapsed_s": None if move is None or not move.elapsed_ms else move.elapsed_ms / 1e3,
                "downtime_ms": None if move is None else move.downtime_ms,
            }
    Recommendation.objects.bulk_update([*failed, *done], ["state", "actual"])
    return len(failed) + len(done)


def loads_of(plant: Plant) -> dict[str, float]:
    """CPUs wanted on each host that is not down, as a ratio of its shared CPUs."""
    wanted: dict[str, float] = defaultdict(float)
    for vm in plant.vms:
        if vm.host is not None:
            wanted[vm.host] += max(vm.demand_short - vm.cores, 0.0)
    return {
        host.name: round(wanted[host.name] / host.cpus, 4)
        for host in plant.hosts
        if host.cpus > 0 and host.state is not HostState.DOWN
    }


def _waits(rows: list[Recommendation], now: dt.datetime) -> dict[int, tuple[float, float]]:
    """CPUs waited for by all machines of both hosts: before the decision and now. Two queries."""
    hosts = {row.source_id for row in rows} | {row.destination_id for row in rows}
    home: dict[Any, Any] = dict(
        Machine.objects.filter(host__in=hosts).order_by().values_list("pk", "host_id")
    )
    spans = {row.pk: (row.created_at - SHORT, row.created_at) for row in rows}
    wanted = {
        f"before_{pk}": Avg("wait_ratio", filter=Q(at__gt=begin, at__lte=end))
        for pk, (begin, end) in spans.items()
    }
    samples = (
        DemandSample.objects.filter(
            machine__in=list(home), at__gt=min(begin for begin, _ in spans.values())
        )
        .order_by()
        .values("machine_id")
        .annotate(after=Avg("wait_ratio", filter=Q(at__gt=now - SHORT)), **wanted)
    )
    found = list(samples)
    result = {}
    for row in rows:
        ours = {row.source_id, row.destination_id}
        mine = [entry for entry in found if home.get(entry["machine_id"]) in ours]
        result[row.pk] = (
            round(sum(entry[f"before_{row.pk}"] or 0.0 for entry in mine), 4),
            round(sum(entry["after"] or 0.0 for entry in mine), 4),
        )
    return result
