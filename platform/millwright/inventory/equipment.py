"""What hosts have beside CPUs and memory: kept on their rows as they told it, and read back with "not known" as None."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Mapping
from typing import Any

from millwright.core.placement import Card
from millwright.hypervisor import Equipment

from .models import Host

#: PCI vendors of the screens of servers' management controllers: ASPEED, Matrox.
_MANAGEMENT = ("1a03", "102b")
#: Parts of a host's equipment, in the order in which people read them.
PARTS = ("cpu", "pages", "pools", "nics", "gpus")


def as_kept(found: Equipment, at: dt.datetime, parts: Collection[str] = PARTS) -> dict[str, Any]:
    """The equipment as data for the host's row: of the parts that were asked for, one that was not told is None.

    Why stands in `unread`.
    """
    kept = _as_data(found)
    unread = {key: why for key, why in found.unread.items() if key in parts}
    return {"at": at.isoformat(), "unread": unread, **{part: kept[part] for part in parts}}


def _as_data(found: Equipment) -> dict[str, Any]:
    return {
        "cpu": None
        if found.cpu is None
        else {
            "model": found.cpu.model,
            "vendor": found.cpu.vendor,
            "features": {str(way): sorted(names) for way, names in found.cpu.features.items()},
        },
        "pages": None
        if found.pages is None
        else [
            {
                "node": row.node,
                "size_bytes": row.size_bytes,
                "total": row.total,
                "free": row.free,
            }
            for row in found.pages
        ],
        "pools": None
        if found.pools is None
        else [
            {
                "name": row.name,
                "kind": row.kind,
                "active": row.active,
                "capacity_bytes": row.capacity_bytes,
                "allocation_bytes": row.allocation_bytes,
                "available_bytes": row.available_bytes,
            }
            for row in found.pools
        ],
        "nics": None
        if found.nics is None
        else [
            {"name": row.name, "up": row.up, "speed_bits_s": row.speed_bits_s} for row in found.nics
        ],
        "gpus": None
        if found.gpus is None
        else [
            {
                "address": row.address,
                "model": row.model,
                "name": row.name,
                "driver": row.driver,
                "iommu_group": row.iommu_group,
                "companions": list(row.companions),
                "profiles": dict(row.profiles),
                "instances": dict(row.instances),
            }
            for row in found.gpus
        ],
    }


def part(host: Host, name: str) -> Any:
    """One part as it was told; None: not known."""
    return (host.equipment or {}).get(name)


def cpu_features(host: Host) -> frozenset[str] | None:
    """What guests can be given, in the way that this host runs them."""
    cpu = part(host, "cpu")
    names = None if cpu is None else cpu["features"].get(host.accel)
    return None if names is None else frozenset(names)


def cpu_model(host: Host) -> str:
    """The host's CPU as libvirt names it; "": not known."""
    cpu = part(host, "cpu")
    return "" if cpu is None else str(cpu["model"])


def pages(host: Host, which: str = "total") -> Mapping[int, int] | None:
    """Hugepages by size in bytes, over all nodes: in `total`, or `free` of use."""
    rows = part(host, "pages")
    if rows is None:
        return None
    found: dict[int, int] = {}
    for row in rows:
        found[row["size_bytes"]] = found.get(row["size_bytes"], 0) + row[which]
    return found


def node_pages(host: Host) -> Mapping[int, Mapping[int, tuple[int, int]]] | None:
    """Hugepages by NUMA node and size in bytes: in total, and free of use; None: not known, or in one node only."""
    rows = part(host, "pages")
    if rows is None or len({row.get("node", 0) for row in rows}) < 2:
        return None
    found: dict[int, dict[int, tuple[int, int]]] = {}
    for row in rows:
        found.setdefault(row["node"], {})[row["size_bytes"]] = (row["total"], row["free"])
    return found


def pages_bytes(host: Host) -> int:
    """Memory that is set aside for hugepages; nobody has it as ordinary memory."""
    return sum(size * count for size, count in (pages(host) or {}).items())


def pages_aside(host: Host) -> int:
    """Bytes of the row's memory that hugepages take: a limit of the plant may leave them out already."""
    physical = int((host.topology or {}).get("memory_bytes") or host.memory_bytes)
    return max(0, pages_bytes(host) - max(0, physical - host.memory_bytes))


def storage_free(host: Host) -> Mapping[str, int] | None:
    """Free bytes of each pool that is active."""
    rows = part(host, "pools")
    if rows is None:
        return None
    return {row["name"]: row["available_bytes"] for row in rows if row["active"]}


def cards(host: Host) -> tuple[Card, ...] | None:
    """Cards that can be given whole: those in an IOMMU group.

    Not given: a card with vGPU types of its own, which is shared; the screen of the server's own management
    controller; a second card in another one's slot, which goes along with that.
    """
    rows = part(host, "gpus")
    if rows is None:
        return None
    given: list[Card] = []
    beside: set[str] = set()
    for row in rows:
        if (
            row["iommu_group"] is None
            or row["profiles"]
            or row["model"].partition(":")[0] in _MANAGEMENT
            or row["address"] in beside
        ):
            continue
        beside.update(row["companions"])
        given.append(Card(row["address"], row["model"], tuple(row["companions"])))
    return tuple(given)


def shared_cards(host: Host) -> Mapping[str, tuple[Mapping[str, int], Mapping[str, str]]] | None:
    """Cards that are given in parts, by address: free instances by vGPU profile, and those there are by their id.

    Both as the host told them; what was claimed since is not in them.
    """
    rows = part(host, "gpus")
    if rows is None:
        return None
    return {
        row["address"]: (row["profiles"], row.get("instances") or {})
        for row in rows
        if row["profiles"]
    }


def vgpus_free(
    host: Host, claims: Collection[tuple[str, str, str]]
) -> dict[str, dict[str, int]] | None:
    """Instances that nobody has claimed, by card and profile; a card holds one profile at a time.

    `claims`: card, profile and id of each instance that was claimed, made or not.
    """
    told = shared_cards(host)
    if told is None:
        return None
    found: dict[str, dict[str, int]] = {}
    for address, (profiles, instances) in told.items():
        mine = [(kind, key) for card, kind, key in claims if card == address]
        held = {kind for kind, _ in mine} | set(instances.values())
        coming = sum(1 for _, key in mine if key not in instances)
        found[address] = {
            kind: max(0, count - coming) if held <= {kind} else 0
            for kind, count in profiles.items()
        }
    return found


def nic_bytes_s(host: Host) -> float | None:
    """What all NICs that are up carry together."""
    speeds = _speeds(host)
    return sum(speeds) / 8 if speeds else None


def link_bytes_s(host: Host) -> float | None:
    """What a migration may count on: the slowest NIC that is up, since nobody has said which one it goes over."""
    speeds = _speeds(host)
    return min(speeds) / 8 if speeds else None


def _speeds(host: Host) -> list[int]:
    rows = part(host, "nics") or ()
    return [row["speed_bits_s"] for row in rows if row["up"] and row["speed_bits_s"]]
