"""What a host has: hugepages, CPU, storage pools, NICs and graphics cards, read part by part.

Each part is one listing, and one question for each object in it, all on one connection. A part that this libvirt
cannot tell does not keep the others from being read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID
from xml.etree import ElementTree as ET

import libvirt

from millwright.hypervisor.equipment import (
    CpuModelFacts,
    Equipment,
    GpuFacts,
    GuestCpu,
    NicFacts,
    PageFacts,
    StorageFacts,
)
from millwright.hypervisor.errors import Conflict
from millwright.hypervisor.rules import check_dirty_rate_seconds
from millwright.hypervisor.types import Accel

from .base import Base
from .deadline import Deadline
from .vgpus import instances

KIB, MIB = 1024, 2**20
#: Where there are more devices than this the part is not read: half of it would say that the rest is not there.
MOST_DEVICES = 1024
#: What an odd host's answer may end in, beside libvirt's own errors: one part that is not told.
_ODD = (ValueError, TypeError, KeyError, AttributeError, ET.ParseError)
#: libvirt's names of the ways to run guests.
_VIRT_TYPES = {Accel.KVM: "kvm", Accel.EMULATION: "qemu"}
#: A PCI address as the kernel writes it.
_ADDRESS = "{:04x}:{:02x}:{:02x}.{:x}"
#: PCI class of display controllers.
_DISPLAY = "0x03"


class EquipmentVerbs(Base):
    """`equipment`, `guest_cpu` and `dirty_rate`."""

    def equipment(
        self, *, parts: Collection[str] | None = None, deadline_s: float | None = None
    ) -> Equipment:
        """See the port."""

        def ask(conn: libvirt.virConnect, deadline: Deadline) -> Equipment:
            capabilities = ET.fromstring(conn.getCapabilities())  # noqa: S314 - libvirt's answer
            readers: dict[str, Callable[[], Any]] = {
                "pages": lambda: _pages(conn, capabilities),
                "cpu": lambda: _cpu(conn, capabilities),
                "pools": lambda: _pools(conn),
                "nics": lambda: _nics(conn, deadline),
                "gpus": lambda: _gpus(conn, deadline),
            }
            found: dict[str, Any] = {}
            unread: dict[str, str] = {}
            for name, read in readers.items():
                if parts is not None and name not in parts:
                    continue
                deadline.check()
                try:
                    found[name] = read()
                except libvirt.libvirtError as error:
                    if not conn.isAlive():
                        raise
                    unread[name] = (error.get_error_message() or str(error))[:300]
                except _ODD as error:
                    unread[name] = f"not understood: {error}"[:300]
            return Equipment(**found, unread=unread)

        return self._call("equipment", deadline_s, ask)

    def guest_cpu(self, uuid: UUID, *, deadline_s: float | None = None) -> GuestCpu:
        """See the port."""

        def ask(conn: libvirt.virConnect, _: Deadline) -> GuestCpu:
            domain = self._known(conn, uuid)
            if not domain.isActive():
                raise Conflict(f"domain {domain.name()!r} is off", host=self.name)
            root = ET.fromstring(domain.XMLDesc(0))  # noqa: S314 - libvirt's answer
            accel = Accel.KVM if root.get("type") == "kvm" else Accel.EMULATION
            cpu = root.find("cpu")
            if accel is Accel.EMULATION or cpu is None:
                return GuestCpu(accel=accel)
            if cpu.get("mode") in ("host-passthrough", "maximum"):
                host = _cpu(conn, ET.fromstring(conn.getCapabilities()))  # noqa: S314 - libvirt's
                return GuestCpu(
                    accel=accel,
                    model=host.model,
                    features=host.features.get(accel, frozenset()),
                    passthrough=True,
                )
            features = _expanded(conn, accel, cpu)
            return GuestCpu(accel=accel, model=cpu.findtext("model") or "", features=features)

        return self._call("guest_cpu", deadline_s, ask)

    def dirty_rate(
        self, uuid: UUID, *, seconds: int = 1, deadline_s: float | None = None
    ) -> int | None:
        """See the port. Begun and looked at in calls of their own: nobody waits behind the measuring."""
        check_dirty_rate_seconds(seconds, self.name)
        whole = Deadline("dirty_rate", self.name, deadline_s)

        def begin(conn: libvirt.virConnect, _: Deadline) -> None:
            domain = self._owned(conn, uuid)
            if not domain.isActive():
                raise Conflict(f"domain {domain.name()!r} is off", host=self.name)
            domain.startDirtyRateCalc(seconds, 0)

        def look(conn: libvirt.virConnect, _: Deadline) -> dict[str, Any]:
            rows = conn.domainListGetStats(
                [self._known(conn, uuid)], libvirt.VIR_DOMAIN_STATS_DIRTYRATE
            )
            return rows[0][1] if rows else {}

        self._call("dirty_rate", whole.left_s, begin)
        while True:
            values = self._call("dirty_rate", whole.left_s, look)
            if values.get("dirtyrate.calc_status") == libvirt.VIR_DOMAIN_DIRTYRATE_MEASURED:
                rate = values.get("dirtyrate.megabytes_per_second")
                return None if rate is None else int(rate) * MIB
            whole.check()
            time.sleep(min(0.2, whole.left_s))


def _pages(conn: libvirt.virConnect, capabilities: ET.Element) -> tuple[PageFacts, ...]:
    """Sizes and totals are in the capabilities; how many are free is asked for all nodes at once."""
    totals: dict[tuple[int, int], int] = {}
    for cell in capabilities.iterfind("host/topology/cells/cell"):
        for page in cell.iterfind("pages"):
            size = int(page.get("size", "0"))
            if page.get("unit") == "KiB" and size > 4:
                totals[int(cell.get("id", "0")), size] = int(page.text or 0)
    if not totals:
        return ()
    nodes = sorted({node for node, _ in totals})
    sizes = sorted({size for _, size in totals})
    free = conn.getFreePages(sizes, nodes[0], nodes[-1] - nodes[0] + 1)
    return tuple(
        PageFacts(
            node=node, size_bytes=size * KIB, total=total, free=int(free.get(node, {}).get(size, 0))
        )
        for (node, size), total in sorted(totals.items())
    )


def _cpu(conn: libvirt.virConnect, capabilities: ET.Element) -> CpuModelFacts:
    features: dict[Accel, frozenset[str]] = {}
    model, vendor = "", capabilities.findtext("host/cpu/vendor") or ""
    for accel, virt in _VIRT_TYPES.items():
        if capabilities.find(f"guest/arch[@name='x86_64']/domain[@type='{virt}']") is None:
            continue
        answer = conn.getDomainCapabilities(None, "x86_64", "q35", virt, 0)
        found = ET.fromstring(answer).find("cpu/mode[@name='host-model']")  # noqa: S314 - libvirt's
        if found is None or found.get("supported") != "yes":
            continue
        model = model or found.findtext("model") or ""
        features[accel] = _expanded(conn, accel, found)
    return CpuModelFacts(
        model=model or capabilities.findtext("host/cpu/model") or "",
        vendor=vendor,
        features=features,
    )


def _expanded(conn: libvirt.virConnect, accel: Accel, cpu: ET.Element) -> frozenset[str]:
    """All features of a CPU of libvirt's: those of its model too, less what is switched off."""
    asked = ET.Element("cpu")
    asked.extend(child for child in cpu if child.tag in ("model", "vendor", "feature"))
    answer = conn.baselineHypervisorCPU(
        None,
        "x86_64",
        None,
        _VIRT_TYPES[accel],
        [ET.tostring(asked, encoding="unicode")],
        libvirt.VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES,
    )
    return features_of(ET.fromstring(answer))  # noqa: S314 - libvirt's answer


def features_of(cpu: ET.Element) -> frozenset[str]:
    """Features that a written-out CPU has."""
    return frozenset(
        feature.get("name", "")
        for feature in cpu.iterfind("feature")
        if feature.get("policy", "require") in ("require", "force")
    )


def _pools(conn: libvirt.virConnect) -> tuple[StorageFacts, ...]:
    found = []
    for pool in conn.listAllStoragePools(0)[:MOST_DEVICES]:
        try:
            root = ET.fromstring(pool.XMLDesc(0))  # noqa: S314 - libvirt's answer
            _, capacity, allocation, available = pool.info()
            active = bool(pool.isActive())
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_STORAGE_POOL:
                continue  # it went away between the two questions
            raise
        found.append(
            StorageFacts(
                name=pool.name(),
                kind=root.get("type", ""),
                active=active,
                capacity_bytes=int(capacity),
                allocation_bytes=int(allocation),
                available_bytes=int(available),
            )
        )
    return tuple(sorted(found, key=lambda row: row.name))


def _devices(conn: libvirt.virConnect, flags: int, deadline: Deadline) -> Iterator[ET.Element]:
    """Node devices of a kind; one that goes away meanwhile is left out."""
    devices = conn.listAllDevices(flags)
    if len(devices) > MOST_DEVICES:
        raise ValueError(f"{len(devices)} devices, at most {MOST_DEVICES} are read one by one")
    for device in devices:
        deadline.check()
        try:
            yield ET.fromstring(device.XMLDesc(0))  # noqa: S314 - libvirt's answer
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_NODE_DEVICE:
                raise


def _nics(conn: libvirt.virConnect, deadline: Deadline) -> tuple[NicFacts, ...]:
    devices = _devices(conn, libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_NET, deadline)
    rows = (parse_nic(root) for root in devices)
    return tuple(sorted((row for row in rows if row is not None), key=lambda row: row.name))


def _gpus(conn: libvirt.virConnect, deadline: Deadline) -> tuple[GpuFacts, ...]:
    devices = _devices(conn, libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_PCI_DEV, deadline)
    rows = [row for root in devices if (row := parse_gpu(root)) is not None]
    if any(row.profiles for row in rows):
        made: dict[str, dict[str, str]] = {}
        for one in instances(conn).values():
            made.setdefault(one.card, {})[one.uuid] = one.profile
        rows = [replace(row, instances=made.get(row.address, {})) for row in rows]
    return tuple(sorted(rows, key=lambda row: row.address))


def parse_nic(root: ET.Element) -> NicFacts | None:
    """One `<device>` with a NIC; None for what only software made (bridges, cables of guests, the loopback)."""
    net = root.find("capability[@type='net']")
    if net is None or root.findtext("parent") == "computer":
        return None
    link = net.find("link")
    speed = None if link is None else link.get("speed")
    return NicFacts(
        name=net.findtext("interface") or "",
        up=link is not None and link.get("state") == "up",
        # libvirt gives Mbit/s, and 0 or all bits set where the driver knows nothing.
        speed_bits_s=int(speed) * 10**6
        if speed is not None and speed.isdecimal() and 0 < int(speed) < 2**31
        else None,
    )


def parse_gpu(root: ET.Element) -> GpuFacts | None:
    """One PCI `<device>`; None for what is no display controller."""
    pci = root.find("capability[@type='pci']")
    if pci is None or not (pci.findtext("class") or "").startswith(_DISPLAY):
        return None
    place = [int(pci.findtext(part) or 0) for part in ("domain", "bus", "slot", "function")]
    numbers = []
    for tag in ("vendor", "product"):
        element = pci.find(tag)
        text = "0x0" if element is None else element.get("id", "0x0")
        numbers.append(f"{int(text, 16):04x}")
    group = pci.find("iommuGroup")
    address = _ADDRESS.format(*place)
    together = [] if group is None else [_address(row) for row in group.iterfind("address")]
    slot = address.rpartition(".")[0]
    beside = sorted(row for row in together if row != address and row.startswith(f"{slot}."))
    types = pci.findall("capability[@type='mdev_types']/type")
    return GpuFacts(
        address=address,
        model=":".join(numbers),
        name=" ".join(filter(None, (pci.findtext("vendor"), pci.findtext("product")))),
        driver=root.findtext("driver/name") or "",
        companions=tuple(beside),
        iommu_group=int(group.get("number", "0")) if group is not None else None,
        profiles={
            kind.get("id", ""): int(kind.findtext("availableInstances") or 0) for kind in types
        },
    )


def _address(row: ET.Element) -> str:
    parts = ("domain", "bus", "slot", "function")
    return _ADDRESS.format(*(int(row.get(part, "0"), 16) for part in parts))
