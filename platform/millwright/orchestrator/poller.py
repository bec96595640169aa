"""Picks queued operations up from the outbox: those that wake hosts first, then the oldest; one for each machine."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from django.db.models import Case, When

from millwright.core.lifecycle import HostPower, OperationKind, OperationState
from millwright.environments.models import Operation

#: Operations at work at once, over all machines; how many beside them may wait for a host that is being woken; and how
#: many wakings begin whatever else is at work: what is waited for must not wait for those who wait.
MAX_AT_WORK, MAX_WAITING, MAX_WAKING = 24, 16, 4


class Runner(Protocol):
    def start(self, operation_id: UUID, attempt: int) -> None: ...


def pick_up(runner: Runner, started: set[tuple[UUID, int]]) -> int:
    """Start what may start now; returns how many were. `started` remembers this process's own."""
    at_work = list(
        Operation.objects.live()
        .exclude(state=OperationState.QUEUED)
        .values_list("machine_id", "kind", "machine__host__power")
    )
    busy = {machine for machine, _, _ in at_work if machine is not None}
    waiting = sum(
        kind == OperationKind.PROVISION and power not in (None, HostPower.AWAKE)
        for _, kind, power in at_work
    )
    waking = sum(kind == OperationKind.WAKE_HOST for _, kind, _ in at_work)
    room = MAX_AT_WORK - len(at_work) + min(waiting, MAX_WAITING)
    begun = 0
    queued = Operation.objects.filter(state=OperationState.QUEUED).order_by(
        Case(When(kind=OperationKind.WAKE_HOST, then=0), default=1), "created_at"
    )
    rows = queued.values_list("pk", "machine_id", "attempt", "kind")
    for pk, machine, attempt, kind in rows[:200]:
        if (pk, attempt) in started:
            if machine is not None:
                busy.add(machine)
            continue
        wakes = kind == OperationKind.WAKE_HOST
        full = begun >= room and not (wakes and waking < MAX_WAKING)
        if full or (machine is not None and machine in busy):
            continue
        runner.start(pk, attempt)
        started.add((pk, attempt))
        begun += 1
        waking += wakes
        if machine is not None:
            busy.add(machine)
    return begun


def unfinished() -> list[tuple[UUID, int]]:
    """Operations at work by the record, with their attempt: at a start, those that another process left."""
    rows = Operation.objects.live().exclude(state=OperationState.QUEUED)
    return list(rows.values_list("pk", "attempt"))
