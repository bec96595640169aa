"""A host's networks, bridges and VLANs, as its libvirt tells them: read only."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import libvirt

from millwright.hypervisor.types import LinkFacts, NetworkFacts

#: Ends of guests' cables, and the loopback: as many as there are guests, and no part of the host's network.
_OF_GUESTS = ("vnet", "tap", "macvtap", "lo")
#: More interfaces are no list that anybody reads.
MOST = 128


def networks_of(conn: libvirt.virConnect) -> tuple[NetworkFacts, ...]:
    """libvirt's networks by name; one that goes away meanwhile is left out."""
    found = []
    for network in conn.listAllNetworks()[:MOST]:
        try:
            root = ET.fromstring(network.XMLDesc(0))  # noqa: S314 - libvirt's own answer
            bridge = root.find("bridge")
            found.append(
                NetworkFacts(
                    name=network.name(),
                    bridge="" if bridge is None else bridge.get("name", ""),
                    active=bool(network.isActive()),
                )
            )
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_NETWORK:
                raise
    return tuple(sorted(found, key=lambda row: row.name))


def links_of(conn: libvirt.virConnect) -> tuple[LinkFacts, ...]:
    """The host's own interfaces by name; none where its libvirt cannot say."""
    found: list[LinkFacts] = []
    try:
        rows = conn.listAllInterfaces(libvirt.VIR_CONNECT_LIST_INTERFACES_ACTIVE)
    except libvirt.libvirtError:
        # Not every build has the driver, and no machine depends on what is only shown.
        return ()
    for row in rows:
        if row.name().startswith(_OF_GUESTS) or len(found) == MOST:
            continue
        try:
            found.append(parse_link(row.XMLDesc(0)))
        except libvirt.libvirtError:
            # Gone meanwhile, or of a kind that the driver cannot describe.
            continue
    return tuple(sorted(found, key=lambda link: link.name))


def parse_link(text: str) -> LinkFacts:
    """One `<interface>` of libvirt."""
    root = ET.fromstring(text)  # noqa: S314 - libvirt's own answer
    kind = root.get("type", "ethernet")
    vlan = root.find("vlan")
    inner = {"bridge": "bridge/interface", "bond": "bond/interface", "vlan": "vlan/interface"}
    ports = root.iterfind(inner[kind]) if kind in inner else ()
    return LinkFacts(
        name=root.get("name", ""),
        kind=kind,
        ports=tuple(
            sorted(
                name
                for port in ports
                if (name := port.get("name", "")) and not name.startswith(_OF_GUESTS)
            )
        ),
        vlan=int(vlan.get("tag", "0")) if vlan is not None else None,
    )
