"""Names the disks on hosts that are no machine's any more: orphans, and those of earlier placements that were set aside."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterable
from uuid import UUID

from django.utils import timezone

from millwright.balancing.parts import needs_by_version
from millwright.environments.models import Machine
from millwright.hypervisor import Hypervisor, VolumeInfo
from millwright.inventory.equipment import storage_free
from millwright.inventory.models import Drift, Host
from millwright.operations import Hypervisors
from millwright.operations.volumes import POOL

from .readers import Readers

#: Seconds for the list of a pool.
ANSWER_S = 15.0


class Disks(Readers):
    """Looks through the hosts' storage pools, round by round."""

    def __init__(self, hosts: Hypervisors, site: str) -> None:
        super().__init__(
            "disks", hosts, lambda driver, name: read_disks(driver, name, site, timezone.now())
        )


def read_disks(driver: Hypervisor, name: str, site: str, now: dt.datetime) -> bool:
    """Name a host's overlays of ours that no machine owns or that were set aside, with owner; nothing is removed.

    False: it is not up, or not in the inventory.

    Raises:
        HypervisorError: it does not answer; what was named before stands.
    """
    host = Host.objects.filter(name=name, health="up").first()
    if host is None:
        return False
    named = {POOL, *(needs.storage_pool for needs in needs_by_version().values())}
    volumes = [
        row
        for pool in sorted(named & {POOL, *(storage_free(host) or ())})
        for row in driver.list_volumes(pool, deadline_s=ANSWER_S)
    ]
    owned = [row for row in volumes if row.owner is not None and row.owner.site == site]
    known = _known(row.owner.machine for row in owned if row.owner)
    lost = [row for row in owned if row.owner and row.owner.machine not in known]
    aside = [row for row in owned if row.aside and row not in lost]
    _name_volumes(host, "orphan_volume", lost, now)
    _name_volumes(host, "old_disk", aside, now)
    return True


def _known(owners: Iterable[str]) -> Collection[str]:
    """Those of the owners that are machines with a host."""
    asked = []
    for owner in set(owners):
        try:
            asked.append(UUID(owner))
        except ValueError:
            # A mark of ours that names no machine of ours: nobody's.
            continue
    placed = Machine.objects.filter(pk__in=asked).exclude(host=None)
    return {str(pk) for pk in placed.values_list("pk", flat=True)}


def _name_volumes(host: Host, kind: str, volumes: list[VolumeInfo], now: dt.datetime) -> None:
    found = {
        row.name: f"machine {row.owner.machine}, generation {row.owner.generation}, {row.allocation_bytes // 2**20} MiB"
        for row in volumes
        if row.owner is not None
    }
    host.drifts.filter(kind=kind).exclude(name__in=list(found)).delete()
    for name, detail in found.items():
        Drift.objects.update_or_create(
            host=host,
            kind=kind,
            name=name,
            defaults={"detail": detail, "last_seen": now},
            create_defaults={"detail": detail, "first_seen": now, "last_seen": now},
        )
