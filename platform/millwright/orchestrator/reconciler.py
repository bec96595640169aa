"""Compares intent and host, and names the difference. It changes nothing on any host."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from uuid import UUID

from millwright.core.lifecycle import MachineDesired, MachineObserved
from millwright.environments.models import Machine, Operation
from millwright.hypervisor import DomainState, DomainStats
from millwright.inventory.models import Drift, Host

_ACTIVE = (DomainState.RUNNING, DomainState.PAUSED, DomainState.MIGRATING)


def differences(
    domains: tuple[DomainStats, ...],
    machines: Mapping[UUID, Machine],
    site: str,
    busy: frozenset[UUID],
) -> dict[tuple[str, str], tuple[str, UUID | None]]:
    """(kind, name) → (detail, machine). Machines with an operation at work are between two states: left out."""
    found: dict[tuple[str, str], tuple[str, UUID | None]] = {}
    for row in domains:
        if not row.owned_by(site):
            whose = f"site {row.metadata.site}" if row.metadata else "no mark of ours"
            found["foreign", row.name] = (f"{row.state}; {whose}; it is left alone", None)
        elif row.metadata is not None and row.metadata.operation == "probe":
            # A guest that a host is probed with: libvirt ends it with the connection that made it.
            continue
        elif row.uuid not in machines and row.uuid in busy:
            # On its way here or from here: its move speaks for it.
            continue
        elif row.uuid not in machines:
            mark = row.metadata
            detail = (
                f"{row.state}; made by operation {mark.operation}, generation {mark.generation}"
                if mark
                else str(row.state)
            )
            found["orphan_domain", row.name] = (detail, None)
        elif row.uuid not in busy:
            machine = machines[row.uuid]
            wanted = MachineDesired(machine.desired)
            if row.metadata is not None and row.metadata.generation != machine.generation:
                found["state", row.name] = (
                    f"generation {row.metadata.generation} in place of {machine.generation}",
                    machine.pk,
                )
            elif (row.state in _ACTIVE) != (wanted is MachineDesired.RUNNING):
                found["state", row.name] = (f"{row.state} in place of {wanted}", machine.pk)
    there = {row.uuid for row in domains}
    for machine in machines.values():
        if (
            machine.pk not in there
            and machine.pk not in busy
            and machine.desired != MachineDesired.ABSENT
        ):
            if machine.observed == MachineObserved.ABSENT and machine.generation == 0:
                continue
            found["missing_domain", machine.domain_name] = ("the host does not know it", machine.pk)
    return found


def reconcile(
    host: Host,
    domains: tuple[DomainStats, ...],
    machines: Mapping[UUID, Machine],
    site: str,
    now: dt.datetime,
    later: frozenset[UUID] = frozenset(),
) -> None:
    """Write the host's differences; those that are gone are removed from the list.

    What is said of machines that changed `later` than the host was asked counts for nothing.
    """
    busy = frozenset(
        Operation.objects.live()
        .filter(machine__in=[*machines, *(row.uuid for row in domains)])
        .values_list("machine_id", flat=True)
    )
    found = differences(domains, machines, site, busy | later)
    known = {(row.kind, row.name): row for row in host.drifts.exclude(kind__in=Drift.VOLUMES)}
    Drift.objects.filter(pk__in=[row.pk for key, row in known.items() if key not in found]).delete()
    for (kind, name), (detail, machine) in found.items():
        row = known.get((kind, name))
        if row is None:
            Drift.objects.create(
                host=host,
                kind=kind,
                name=name,
                detail=detail,
                machine_id=machine,
                first_seen=now,
                last_seen=now,
            )
        elif row.detail != detail or (now - row.last_seen).total_seconds() > 60:
            Drift.objects.filter(pk=row.pk).update(detail=detail, last_seen=now)
