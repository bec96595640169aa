"""Reads what hosts say of themselves: topology, memory, disk and equipment; each host by itself, in nobody's way.

A host has one reader at a time and every question its deadline: one that hangs keeps neither the rounds nor the other
hosts waiting, and is asked again when its reader has come back. What changes by the minute (free pages, room of storage
pools) is read each time, what changes seldom (CPU, NICs, cards) every few minutes or when libvirt, QEMU or the CPU are
others.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from django.db import connections
from django.utils import timezone

from millwright.hypervisor import HostFacts, Hypervisor, HypervisorError, PoolInfo
from millwright.inventory.equipment import PARTS, as_kept
from millwright.inventory.models import Host
from millwright.operations import Hypervisors
from millwright.operations.volumes import POOL

log = logging.getLogger(__name__)

#: Hosts that are read at once.
AT_ONCE = 8
#: Seconds for an answer: facts and the pool; equipment.
ANSWER_S, EQUIPMENT_S = 10.0, 20.0
#: Parts that are read each time; the others after so long.
OFTEN = ("pages", "pools")
SELDOM = dt.timedelta(minutes=10)


class Facts:
    """Reads hosts round by round, each in a thread of a pool."""

    def __init__(self, hosts: Hypervisors) -> None:
        self._hosts = hosts
        self._pool = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="facts")
        self._busy: dict[str, Future[bool]] = {}

    def round(self, names: Collection[str]) -> dict[str, Future[bool]]:
        """Have these hosts read, without waiting for any; returns the readings that were begun, by host.

        One whose reader has not come back is left out.
        """
        self._busy = {name: future for name, future in self._busy.items() if not future.done()}
        begun = {
            name: self._pool.submit(self._safely, name) for name in names if name not in self._busy
        }
        self._busy |= begun
        return begun

    def close(self) -> None:
        """Begin nothing more; what hangs ends by its deadlines."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _safely(self, name: str) -> bool:
        try:
            return read_host(self._hosts.get(name), name, timezone.now())
        except HypervisorError as error:
            # Away: what it said before stands, with its age.
            log.info("facts of %s: %s", name, error)
        except Exception:
            # One odd host keeps no other from being read; the trace says what it was.
            log.exception("facts of %s", name)
        finally:
            connections.close_all()
        return False


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
    return tuple(part for part in PARTS if part in OFTEN or part in kept.get("unread", {}))


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
