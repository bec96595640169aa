"""What machines hold of their resource pools' memory, and whether one more keeps within the limits above it."""

from __future__ import annotations

from typing import Any

from millwright.core.lifecycle import OCCUPYING_ENVIRONMENT_STATES, ServiceClass
from millwright.core.placement import PoolRoom
from millwright.environments.models import Machine
from millwright.environments.sizes import requires_of
from millwright.inventory.snapshot import OVERHEAD_BYTES

from .models import ResourcePool
from .parts import needs_by_version


def held_in_pools(but: Any = None) -> dict[int, int]:
    """By pool (its key) memory that its machines, and those of pools below it, have and cannot be taken.

    As the model of the core counts it: with what the hypervisor needs beside, but for what lies in hugepages.
    `but`: a machine (its key) that does not count. Three queries.
    """
    states = [str(state) for state in OCCUPYING_ENVIRONMENT_STATES]
    rows = Machine.objects.filter(
        host__isnull=False, pool__isnull=False, environment__state__in=states
    )
    fields = ("pk", "pool_id", "memory_bytes", "memory_minimum_bytes", "service_class")
    found = list(rows.order_by().values_list(*fields, "template_version_id"))
    above = dict(ResourcePool.objects.values_list("pk", "parent_id"))
    needs = needs_by_version() if found else {}
    held = dict.fromkeys(above, 0)
    for key, pool, memory, minimum, kind, version in found:
        if key == but:
            continue
        paged = version in needs and bool(needs[version].hugepage_bytes)
        size = _least(memory, minimum, kind, paged=paged)
        at: int | None = pool
        seen: set[int] = set()
        # One that was removed since the machines were read holds nobody.
        while at in above and at not in seen:
            seen.add(at)
            held[at] += size
            at = above[at]
    return held


def _least(memory: int, minimum: int | None, service_class: str, *, paged: bool) -> int:
    if paged:
        return memory
    if minimum is None or service_class == ServiceClass.REALTIME:
        return memory + OVERHEAD_BYTES
    return min(minimum, memory) + OVERHEAD_BYTES


def room_for(machine: Machine, *, lock: bool = False) -> PoolRoom | None:
    """What the machine takes of the tightest memory limit of its pool and those above it; nothing: there is none.

    The machine itself does not count among those that are there. `lock`: hold the pools until the transaction
    ends, so that two machines never take the same room. No query where the machine is in no pool.
    """
    if machine.pool_id is None:
        return None
    query = ResourcePool.objects.order_by("pk")
    rows = {row.pk: row for row in (query.select_for_update() if lock else query)}
    limited: dict[int, ResourcePool] = {}
    at: int | None = machine.pool_id
    seen: set[int] = set()
    # The machine may have been read before its pool was removed.
    while at in rows and at not in seen:
        seen.add(at)
        if rows[at].memory_limit_bytes is not None:
            limited[at] = rows[at]
        at = rows[at].parent_id
    if not limited:
        return None
    held = held_in_pools(but=machine.pk)
    needs = requires_of(machine.template_version.spec)
    size = _least(
        machine.memory_bytes,
        machine.memory_minimum_bytes,
        machine.service_class,
        paged=bool(needs.hugepage_bytes),
    )
    return min(
        (
            PoolRoom(
                row.name,
                size,
                (row.memory_limit_bytes or 0) - held[pk],
                row.memory_limit_bytes or 0,
            )
            for pk, row in limited.items()
        ),
        key=lambda room: room.free_bytes,
    )
