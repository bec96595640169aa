"""Picks queued operations up from the outbox: oldest first, one at a time for each machine."""

from __future__ import annotations

from typing import Protocol
from uuid import UUID

from millwright.core.lifecycle import OperationState
from millwright.environments.models import Operation

#: Operations at work at once, over all machines.
MAX_AT_WORK = 24


class Runner(Protocol):
    def start(self, operation_id: UUID, attempt: int) -> None: ...


def pick_up(runner: Runner, started: set[tuple[UUID, int]]) -> int:
    """Start what may start now; returns how many were. `started` remembers this process's own."""
    at_work = list(
        Operation.objects.live()
        .exclude(state=OperationState.QUEUED)
        .values_list("machine_id", flat=True)
    )
    busy = {machine for machine in at_work if machine is not None}
    room = MAX_AT_WORK - len(at_work)
    begun = 0
    queued = Operation.objects.filter(state=OperationState.QUEUED).order_by("created_at")
    for pk, machine, attempt in queued.values_list("pk", "machine_id", "attempt")[:200]:
        if (pk, attempt) in started:
            if machine is not None:
                busy.add(machine)
            continue
        if begun >= room or (machine is not None and machine in busy):
            continue
        runner.start(pk, attempt)
        started.add((pk, attempt))
        begun += 1
        if machine is not None:
            busy.add(machine)
    return begun


def unfinished() -> list[tuple[UUID, int]]:
    """Operations at work by the record, with their attempt: at a start, those that another process left."""
    rows = Operation.objects.live().exclude(state=OperationState.QUEUED)
    return list(rows.values_list("pk", "attempt"))
