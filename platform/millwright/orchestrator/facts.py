"""Reads what hosts say of themselves: topology, memory, disk and equipment; each host by itself, in nobody's way.

What changes by the minute (free pages, room of storage pools, instances on shared cards) is read each time, what
changes seldom (CPU, NICs, other cards) every few minutes or when libvirt, QEMU or the CPU are others.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict
from typing import Any

from django.utils import timezone

from millwright.hypervisor import HostFacts, Hypervisor, PoolInfo
from millwright.inventory.equipment import PARTS, as_kept
from millwright.inventory.models import Host
from millwright.operations import Hypervisors
from millwright.operations.volumes import POOL

from .readers import Readers

#: Seconds for an answer: facts and the pool; equipment.
ANSWER_S, EQUIPMENT_S = 10.0, 20.0
#: Parts that are read each time; the others after so long.
OFTEN = ("pages", "pools")
SELDOM = dt.timedelta(minutes=10)


class Facts(Readers):
    """Reads what hosts say of themselves, round by round."""

    def __init__(self, hosts: Hypervisors) -> None:
        super().__init__(
            "facts", hosts, lambda driver, name: read_host(driver, name, timezone.now())
        )


def read_host(driver: Hypervisor, name: str, now: dt.datetime) -> bool:
    """Ask a host and keep what it says; False: it is not connected or not in the inventory.

    Raises:
        HypervisorError: it does not answer; what it said before stands.
    """
    if not driver.connected:
        return False
    facts = driver.facts(deadline_s=ANSWER_S)
    pool = driver.ensure_pool(POOL, deadline_s=ANSWER_S)
    host = Host.objects.filter(name=name).first()
    if host is None:
        return False
    _keep_facts(host, facts, pool)
    parts = due_parts(host.equipment or {}, _versions(facts), now)
    found = as_kept(driver.equipment(parts=parts, deadline_s=EQUIPMENT_S), now, parts)
    kept = host.equipment or {}
    unread = {key: why for key, why in kept.get("unread", {}).items() if key not in parts}
    note = {
        "unread": unread | found["unread"],
        "seldom_at": now.isoformat() if parts == PARTS else kept.get("seldom_at"),
        "versions": _versions(facts),
    }
    Host.objects.filter(pk=host.pk).update(equipment={**kept, **found, **note})
    return True


def due_parts(kept: dict[str, Any], versions: list[str], now: dt.datetime) -> tuple[str, ...]:
    """The parts of its equipment that a host is asked for now."""
    read = kept.get("seldom_at")
    if (
        read is None
        or kept.get("versions") != versions
        # A moment that is still to come was told by a clock that was wrong.
        or not dt.timedelta() <= now - dt.datetime.fromisoformat(read) < SELDOM
    ):
        return PARTS
    often = {*OFTEN, *kept.get("unread", {})}
    if any(row.get("profiles") for row in kept.get("gpus") or ()):
        # Of a shared card what is left changes with every machine that comes or goes.
        often.add("gpus")
    return tuple(part for part in PARTS if part in often)


def _versions(facts: HostFacts) -> list[str]:
    """What the parts that change seldom hang on."""
    return [str(facts.libvirt_version), str(facts.hypervisor_version), facts.cpu_model]


def _keep_facts(host: Host, facts: HostFacts, pool: PoolInfo) -> None:
    topology = {
        "cpus": [
            {
                "id": cpu.id,
                "core": cpu.core,
                "socket": cpu.socket,
                "node": cpu.numa_node,
                "siblings": sorted(cpu.siblings),
            }
            for cpu in facts.cpus
        ],
        "cpu_model": facts.cpu_model,
        "libvirt": facts.libvirt_version,
        "qemu": facts.hypervisor_version,
        "networks": [asdict(row) for row in facts.networks],
        "links": [asdict(row) for row in facts.links],
        # Without the plant's own limit, which `memory_bytes` of the row keeps.
        "memory_bytes": facts.memory_bytes,
    }
    limit = int(host.policy.get("memory_limit_bytes") or 0) or facts.memory_bytes
    Host.objects.filter(pk=host.pk).update(
        topology=topology,
        memory_bytes=min(limit, facts.memory_bytes),
        disk_bytes=pool.capacity_bytes,
        disk_free_bytes=pool.available_bytes,
    )
