"""vGPU instances on a host: mediated devices, defined so that they come back with the host, and removed with their domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID
from xml.etree import ElementTree as ET

import libvirt

from millwright.hypervisor.equipment import MOST_VGPUS, VgpuSpec, vgpu_uuid


@dataclass(frozen=True, slots=True)
class Instance:
    """One mediated device that is there: where, of which type."""

    uuid: str
    card: str
    profile: str
    device: libvirt.virNodeDevice


def instances(conn: libvirt.virConnect) -> dict[str, Instance]:
    """All of the host's, running or only defined, by UUID."""
    found = {}
    for device in conn.listAllDevices(libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_MDEV):
        try:
            root = ET.fromstring(device.XMLDesc(0))  # noqa: S314 - libvirt's answer
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_NODE_DEVICE:
                continue
            raise
        if (row := parse_instance(root)) is not None:
            uuid, card, profile = row
            found[uuid] = Instance(uuid, card, profile, device)
    return found


def parse_instance(root: ET.Element) -> tuple[str, str, str] | None:
    """UUID, card (PCI address) and type of one `<device>`; None for what is no mediated device of a PCI card."""
    mdev = root.find("capability[@type='mdev']")
    parent = (root.findtext("parent") or "").split("_")
    if mdev is None or len(parent) != 5 or parent[0] != "pci":
        return None
    kind = mdev.find("type")
    uuid = mdev.findtext("uuid")
    if uuid is None:
        # Before libvirt 7.3 it stands only in the name: mdev_UUID, with _ for -.
        uuid = (root.findtext("name") or "").removeprefix("mdev_").replace("_", "-")[:36]
    _, domain, bus, slot, function = parent
    return uuid, f"{domain}:{bus}:{slot}.{function}", "" if kind is None else kind.get("id", "")


def ensure(conn: libvirt.virConnect, machine: UUID, wanted: Sequence[VgpuSpec]) -> None:
    """The machine's instances as they are wanted, and none of it beside."""
    there = instances(conn)
    for number in range(MOST_VGPUS):
        uuid = str(vgpu_uuid(machine, number))
        has = there.get(uuid)
        wants = wanted[number] if number < len(wanted) else None
        if has is not None and (
            wants is None or (has.card, has.profile) != (wants.card, wants.profile)
        ):
            _remove(has.device)
            has = None
        if wants is None:
            continue
        device = has.device if has is not None else conn.nodeDeviceDefineXML(_xml(uuid, wants), 0)
        # With the host it comes back by itself, as its domain does.
        device.setAutostart(1)
        if not device.isActive():
            device.create(0)


def remove(conn: libvirt.virConnect, machine: UUID) -> None:
    """Whatever instances the machine has on this host."""
    there = instances(conn)
    for number in range(MOST_VGPUS):
        if (has := there.get(str(vgpu_uuid(machine, number)))) is not None:
            _remove(has.device)


def _remove(device: libvirt.virNodeDevice) -> None:
    if device.isActive():
        device.destroy()
    if device.isPersistent():
        device.undefine(0)


def _xml(uuid: str, spec: VgpuSpec) -> str:
    root = ET.Element("device")
    parent = "pci_" + spec.card.replace(":", "_").replace(".", "_")
    ET.SubElement(root, "parent").text = parent
    mdev = ET.SubElement(root, "capability", type="mdev")
    ET.SubElement(mdev, "type", id=spec.profile)
    ET.SubElement(mdev, "uuid").text = uuid
    return ET.tostring(root, encoding="unicode")
