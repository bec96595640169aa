"""What a host has beside CPUs and memory, in words: what is there, what is missing, and how to mend it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from millwright.inventory import equipment
from millwright.inventory.models import Host
from millwright.inventory.snapshot import bandwidth_reserved
from millwright.portal.templatetags.mw import binary_size


@dataclass(frozen=True, slots=True)
class Part:
    """One part for the page. `known` False: the host has not told it, which locks nobody out."""

    title: str
    good_for: str
    known: bool
    lines: tuple[str, ...] = ()
    #: long lists, shown when they are opened
    more: str = ""
    mend: str = ""
    #: why it could not be read, as libvirt said it
    why: str = ""


def read_at(host: Host) -> dt.datetime | None:
    """When the host told it last."""
    told = (host.equipment or {}).get("at")
    return dt.datetime.fromisoformat(told) if told else None


def parts_of(host: Host) -> list[Part]:
    """All parts, in the order in which people read them."""
    unread = (host.equipment or {}).get("unread", {})
    makers = {"cpu": _cpu, "pages": _pages, "pools": _pools, "nics": _nics, "gpus": _gpus}
    titles = {
        "cpu": (_("CPU model"), _("templates may ask for features; running machines keep theirs")),
        "pages": (_("Huge pages"), _("memory of machines whose template asks for it")),
        "pools": (_("Storage pools"), _("disks of machines, and images")),
        "nics": (
            _("Network cards"),
            _("how fast a migration may be; bandwidth that templates reserve"),
        ),
        "gpus": (_("Graphics cards"), _("given whole to machines whose template asks for one")),
    }
    found = []
    for name, (title, good_for) in titles.items():
        told = equipment.part(host, name)
        if told is None:
            mend = _mend_unread(name) if name in unread else ""
            found.append(Part(title, good_for, False, mend=mend, why=unread.get(name, "")))
        else:
            found.append(makers[name](host, told, title, good_for))
    return found


def _mend_unread(name: str) -> str:
    words = {
        "cpu": _("Install QEMU for x86-64, and see that virsh domcapabilities answers."),
        "pages": _("See that virsh capabilities shows the host's NUMA cells."),
        "pools": _("Install libvirt's storage driver, and restart libvirtd."),
        "nics": _("Install libvirt's driver of node devices, and restart libvirtd."),
        "gpus": _("Install libvirt's driver of node devices, and restart libvirtd."),
    }
    return str(words[name])


def _cpu(host: Host, told: dict[str, Any], title: str, good_for: str) -> Part:
    features = equipment.cpu_features(host)
    line = " ".join(filter(None, (told["vendor"], told["model"])))
    if features is None:
        mend = _("QEMU cannot run guests in the host's way: see virsh domcapabilities.")
        return Part(title, good_for, True, (line,), mend=mend)
    count = ngettext("%(n)s feature", "%(n)s features", len(features)) % {"n": len(features)}
    return Part(title, good_for, True, (f"{line}, {count}",), more=", ".join(sorted(features)))


def _pages(host: Host, told: list[dict[str, Any]], title: str, good_for: str) -> Part:
    rows = [row for row in told if row["total"]]
    if not rows:
        mend = _(
            "Reserve them at boot: hugepagesz=1G hugepages=N on the kernel's command line, or for 2 MiB "
            "by sysctl vm.nr_hugepages=N. What is reserved is no ordinary memory any more."
        )
        return Part(title, good_for, True, (_("none are reserved"),), mend=mend)
    text = _("node %(node)s: %(total)s of %(size)s, %(free)s free")
    lines = tuple(
        text
        % {
            "node": row["node"],
            "total": row["total"],
            "size": binary_size(row["size_bytes"]),
            "free": row["free"],
        }
        for row in rows
    )
    return Part(title, good_for, True, lines)


def _pools(host: Host, told: list[dict[str, Any]], title: str, good_for: str) -> Part:
    text = _("%(name)s (%(kind)s): %(free)s free of %(all)s")
    off = _("%(name)s (%(kind)s): not active")
    lines = tuple(
        (text if row["active"] else off)
        % {
            "name": row["name"],
            "kind": row["kind"],
            "free": binary_size(row["available_bytes"]),
            "all": binary_size(row["capacity_bytes"]),
        }
        for row in told
    )
    asleep = [row["name"] for row in told if not row["active"]]
    mend = _("Start it: virsh pool-start %(name)s") % {"name": asleep[0]} if asleep else ""
    return Part(title, good_for, True, lines or (_("none"),), mend=mend)


def _nics(host: Host, told: list[dict[str, Any]], title: str, good_for: str) -> Part:
    lines = tuple(f"{row['name']}: {_speed(row)}" for row in told)
    mend, carried, reserved = (
        "",
        equipment.nic_bytes_s(host),
        bandwidth_reserved([host.pk])[host.pk],
    )
    if reserved:
        words = _("reserved by machines: %(reserved)s of %(all)s Mbit/s")
        whole = "?" if carried is None else f"{carried * 8 / 1e6:g}"
        lines = (*lines, words % {"reserved": f"{reserved * 8 / 1e6:g}", "all": whole})
    if not carried:
        mend = _(
            "No network card tells its speed: 1 Gbit/s is assumed for migrations. See ethtool NAME."
        )
    return Part(title, good_for, True, lines or (_("none"),), mend=mend)


def _speed(row: dict[str, Any]) -> str:
    if not row["up"]:
        return _("no link")
    if not row["speed_bits_s"]:
        return _("its driver does not tell its speed")
    return f"{row['speed_bits_s'] / 1e9:g} Gbit/s"


def _gpus(host: Host, told: list[dict[str, Any]], title: str, good_for: str) -> Part:
    claimed: dict[str, list[str]] = {}
    for address, name in host.device_claims.order_by("pk").values_list(
        "address", "machine__environment__name"
    ):
        claimed.setdefault(address, []).append(name)
    lines, locked = [], False
    for row in told:
        words = [f"{row['name'] or row['model']} ({row['model']}, {row['address']})"]
        if row["iommu_group"] is None:
            locked = True
            words.append(_("cannot be given to a guest"))
        elif row["address"] in claimed:
            words.append(
                _("given to %(machine)s") % {"machine": ", ".join(claimed[row["address"]])}
            )
        if row["profiles"]:
            kinds = ", ".join(
                f"{name} × {count}" for name, count in sorted(row["profiles"].items())
            )
            words.append(_("vGPU types: %(kinds)s") % {"kinds": kinds})
        lines.append("; ".join(words))
    mend = ""
    if locked:
        mend = _(
            "Switch on the IOMMU in the firmware and at boot: intel_iommu=on or amd_iommu=on, and iommu=pt."
        )
    return Part(title, good_for, True, tuple(lines) or (_("none"),), mend=mend)
