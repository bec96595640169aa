"""Placement for a request or a machine: the database's words turned into the planner's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from millwright.core.lifecycle import ServiceClass
from millwright.core.placement import (
    MachineWant,
    Placement,
    PoolRoom,
    Snapshot,
    StartedCpu,
    or_woken,
    place,
)
from millwright.inventory.snapshot import snapshot

from .sizes import DEFAULT_POOL, Size, control_vcpus, requires_of, size_of


def want_for(
    name: str,
    spec: dict[str, Any],
    size: Size,
    *,
    cell: str,
    strict: bool,
    started: StartedCpu | None = None,
    pool_room: PoolRoom | None = None,
) -> MachineWant:
    """What the planner needs to know of one machine. `started`: it runs, and shall go on running elsewhere."""
    needs = requires_of(spec)
    return MachineWant(
        name=name,
        service_class=ServiceClass(spec["class"]),
        vcpus=size.vcpus,
        memory_bytes=size.memory_bytes,
        disk_bytes=size.disk_bytes,
        control_vcpus=control_vcpus(spec, size.name),
        strict=strict,
        cell=cell,
        hugepage_bytes=needs.hugepage_bytes,
        cpu_features=needs.cpu_features,
        storage_pool="" if needs.storage_pool == DEFAULT_POOL else needs.storage_pool,
        gpus=needs.gpus,
        gpu_model=needs.gpu_model,
        gpu_profile=needs.gpu_profile,
        nic_bytes_s=needs.nic_bytes_s,
        pool_room=pool_room,
        started=started,
    )


def started_cpu(machine: Any) -> StartedCpu | None:
    """The CPU with which a machine runs, as far as it was found."""
    return None if machine.started_cpu_id is None else cpu_of(machine.started_cpu)


def cpu_of(row: Any) -> StartedCpu:
    """A kept CPU as placements read it."""
    return StartedCpu(row.accel, row.model, frozenset(row.features), row.passthrough)


def preview(
    spec: dict[str, Any],
    size_name: str,
    *,
    cell: str,
    strict: bool,
    name: str = "request",
    wakes: bool = True,
) -> Placement:
    """Where a machine of this template and size would be placed now; `wakes`: if need be on a host that is woken."""
    want = want_for(name, spec, size_of(spec, size_name), cell=cell, strict=strict)
    plan = place(_pool(), want)
    return or_woken(plan) if wakes else plan


def _pool() -> Snapshot:
    """The pool with what its hosts have to do: at most three queries more than without."""
    from millwright.balancing.pictures import used_lately

    return snapshot(used=used_lately())


def _pool_room(machine: Any) -> PoolRoom | None:
    """Nothing for one that has a place: its pool counts it wherever it goes."""
    from millwright.balancing.pool_memory import room_for

    return None if machine.host_id is not None else room_for(machine)


def place_machine(
    machine: Any, hosts: set[str] | None = None, *, running: bool = False
) -> Placement:
    """Where this machine should go, on the pool as it is now; only on these hosts if any are named.

    `running`: it goes on running there, with the CPU that it was started with. Soft rules count in the score.
    """
    from millwright.balancing.ruling import soft_prices

    spec = machine.template_version.spec
    size = size_of(spec, machine.size)
    cell = machine.cell.slug if machine.cell else ""
    now = whole = _pool()
    if hosts is not None:
        now = Snapshot(tuple(host for host in now.hosts if host.name in hosts))
    started = started_cpu(machine) if running else None
    hosts_wanted, domains_wanted = soft_prices(machine)
    want = want_for(
        str(machine),
        spec,
        size,
        cell=cell,
        strict=machine.strict_realtime,
        started=started,
        pool_room=_pool_room(machine),
    )
    want = replace(want, soft_hosts=hosts_wanted, soft_domains=domains_wanted)
    return replace(place(now, want), pool=whole)
