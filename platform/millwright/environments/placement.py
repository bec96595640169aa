"""Placement for a request or a machine: the database's words turned into the planner's."""

from __future__ import annotations

from typing import Any

from millwright.core.lifecycle import ServiceClass
from millwright.core.placement import MachineWant, Placement, Snapshot, place
from millwright.inventory.snapshot import snapshot

from .sizes import Size, control_vcpus, size_of


def want_for(
    name: str, spec: dict[str, Any], size: Size, *, cell: str, strict: bool
) -> MachineWant:
    """What the planner needs to know of one machine."""
    return MachineWant(
        name=name,
        service_class=ServiceClass(spec["class"]),
        vcpus=size.vcpus,
        memory_bytes=size.memory_bytes,
        disk_bytes=size.disk_bytes,
        control_vcpus=control_vcpus(spec, size.name),
        strict=strict,
        cell=cell,
    )


def preview(
    spec: dict[str, Any], size_name: str, *, cell: str, strict: bool, name: str = "request"
) -> Placement:
    """Where a machine of this template and size would be placed now."""
    return place(
        snapshot(), want_for(name, spec, size_of(spec, size_name), cell=cell, strict=strict)
    )


def place_machine(machine: Any, hosts: set[str] | None = None) -> Placement:
    """Where this machine should go, on the pool as it is now; only on these hosts if any are named."""
    spec = machine.template_version.spec
    size = size_of(spec, machine.size)
    cell = machine.cell.slug if machine.cell else ""
    now = snapshot()
    if hosts is not None:
        now = Snapshot(tuple(host for host in now.hosts if host.name in hosts))
    return place(now, want_for(str(machine), spec, size, cell=cell, strict=machine.strict_realtime))
