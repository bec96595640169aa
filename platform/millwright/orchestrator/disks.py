"""Names the disks on hosts that are no machine's any more, and removes those set aside that a person wants gone."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Collection, Iterable, Mapping
from uuid import UUID

from django.utils import timezone

from millwright.balancing.parts import needs_by_version
from millwright.environments.models import Machine, Operation
from millwright.hypervisor import Hypervisor, HypervisorError, VolumeInfo
from millwright.inventory import disks
from millwright.inventory.equipment import storage_free
from millwright.inventory.models import Drift, Host, OldDisk
from millwright.operations import Hypervisors
from millwright.operations.volumes import POOL

from .readers import Readers

log = logging.getLogger(__name__)

#: Seconds for the list of a pool, and for a removal.
ANSWER_S = 15.0


class Disks(Readers):
    """Looks through the hosts' storage pools, round by round."""

    def __init__(self, hosts: Hypervisors, site: str) -> None:
        super().__init__(
            "disks", hosts, lambda driver, name: read_disks(driver, name, site, timezone.now())
        )


def read_disks(driver: Hypervisor, name: str, site: str, now: dt.datetime) -> bool:
    """Name a host's overlays of ours that no machine owns or that were set aside, with owner.

    Nothing is removed but what was set aside and a person has asked for. False: it is not up, or not in the inventory.

    Raises:
        HypervisorError: it does not answer; what was named before stands.
    """
    host = Host.objects.filter(name=name, health="up", power="awake").first()
    if host is None:
        return False
    named = {POOL, *(needs.storage_pool for needs in needs_by_version().values())}
    # Also where no template puts a disk any more.
    named |= set(host.old_disks.values_list("pool", flat=True))
    pools = named & {POOL, *(storage_free(host) or ())}
    volumes = [
        row for pool in sorted(pools) for row in driver.list_volumes(pool, deadline_s=ANSWER_S)
    ]
    owned = [row for row in volumes if row.owner is not None and row.owner.site == site]
    known = _known(row.owner.machine for row in owned if row.owner)
    lost = [row for row in owned if row.owner and row.owner.machine not in known]
    aside = [row for row in owned if row.aside and row not in lost]
    _name_volumes(host, "orphan_volume", lost, now)
    _name_volumes(host, "old_disk", aside, now)
    _keep_aside(host, pools, [row for row in owned if row.aside], now)
    _remove_asked(driver, host, pools, {(row.pool, row.name): row for row in owned}, now)
    return True


def _known(owners: Iterable[str]) -> Collection[str]:
    """Those of the owners that are machines with a host."""
    placed = Machine.objects.filter(pk__in=_uuids(owners)).exclude(host=None)
    return {str(pk) for pk in placed.values_list("pk", flat=True)}


def _names(owners: Iterable[str]) -> dict[str, str]:
    """Owner → "environment/machine", of those that there are or were."""
    rows = Machine.objects.filter(pk__in=_uuids(owners))
    found = rows.values_list("pk", "environment__name", "name")
    return {str(pk): f"{environment}/{name}" for pk, environment, name in found}


def _uuids(owners: Iterable[str]) -> list[UUID]:
    found = []
    for owner in set(owners):
        try:
            found.append(UUID(owner))
        except ValueError:
            # A mark of ours that names no machine of ours: nobody's.
            continue
    return found


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


def _keep_aside(
    host: Host, pools: Collection[str], volumes: list[VolumeInfo], now: dt.datetime
) -> None:
    """Keep what was set aside, with size and since when; forget what is gone, unless somebody asked for that.

    `pools`: those that were looked through. Of one that is not active nobody knows what is in it: that stays.
    """
    owners = {row.owner.machine for row in volumes if row.owner is not None}
    names = _names(owners)
    kept = {(row.pool, row.name): row for row in host.old_disks.all()}
    for volume in volumes:
        if volume.owner is None:
            continue
        told = {
            "owner": volume.owner.machine,
            "generation": volume.owner.generation,
            "allocation_bytes": volume.allocation_bytes,
            "capacity_bytes": volume.capacity_bytes,
            "last_seen": now,
        }
        if name := names.get(volume.owner.machine):
            told["machine"] = name
        known = kept.pop((volume.pool, volume.name), None)
        if known is None:
            OldDisk.objects.create(
                host=host, pool=volume.pool, name=volume.name, first_seen=now, **told
            )
        elif (known.owner, known.generation) == (volume.owner.machine, volume.owner.generation):
            # By its columns: what a person asks meanwhile is not written over.
            OldDisk.objects.filter(pk=known.pk).update(**told)
        else:
            # Another disk of this name: who asked for the first has not seen this one.
            known.delete()
            OldDisk.objects.create(
                host=host, pool=volume.pool, name=volume.name, first_seen=now, **told
            )
    gone = [row.pk for row in kept.values() if row.removal_asked_at is None and row.pool in pools]
    OldDisk.objects.filter(pk__in=gone, removal_asked_at=None).delete()


def _remove_asked(
    driver: Hypervisor,
    host: Host,
    pools: Collection[str],
    listed: Mapping[tuple[str, str], VolumeInfo],
    now: dt.datetime,
) -> None:
    asked = host.old_disks.exclude(removal_asked_at=None).select_related("host", "removal_by")
    for row in asked:
        volume = listed.get((row.pool, row.name))
        if volume is None and row.pool in pools:
            # Gone since: by an earlier try whose end was not noted, or by hand.
            disks.removed(row)
            continue
        if row.removal_asked_at is None or now - row.removal_asked_at > disks.HOLDS:
            disks.refuse(row, "it could not be removed within an hour; ask again")
            continue
        if volume is None:
            # Its pool is not active now: whether it is there is not known.
            continue
        if why := _not_now(row, volume):
            disks.refuse(row, why)
            continue
        try:
            driver.remove_volume(row.pool, row.name, deadline_s=ANSWER_S)
        except HypervisorError as error:
            if error.retryable:
                # Whether it is gone is not known: the next list says.
                log.info("disk %s: %s", row, error)
                continue
            disks.refuse(row, str(error))
            continue
        disks.removed(row)


def _not_now(row: OldDisk, volume: VolumeInfo) -> str:
    """Why it is not what was asked for any more, or is needed; "" if neither. The host itself refuses a disk in use."""
    owner = volume.owner
    if owner is None or not volume.aside:
        return "it is not set aside any more"
    machines = Machine.objects.filter(pk__in=_uuids([owner.machine]))
    if machines.exclude(host=None).filter(generation__lte=owner.generation).exists():
        # Hosts with one storage see each other's disks: a machine may have it that runs elsewhere.
        return "it is of its machine's placement now"
    if Operation.objects.live().filter(machine__in=machines).exists():
        return "an operation of its machine is under way; ask again when it has ended"
    return ""
