"""nwfilter XML: nothing passes but ARP for the machine's own address and registered flows.

Two layers. Ethernet frames: only IPv4 and ARP, from and to the nic's own MAC and IP (the
`$MAC` and `$IP` parameters of the interface). IPv4: only the registered pairs; libvirt makes
each such rule stateful, so that answers pass and nothing else does.
"""

from __future__ import annotations

import ipaddress
import re
from uuid import UUID
from xml.etree import ElementTree as ET

from .domain.spec import NAME
from .errors import InvalidSpec
from .types import Direction, FilterSpec, Flow, Protocol

#: libvirt evaluates smaller numbers first; -1000 to 1000.
_NO_SPOOFING, _LINK, _FLOWS, _REST = -900, -500, 100, 1000


def check_filter(spec: FilterSpec) -> None:
    """Refuse a specification that does not say exactly what may pass.

    Raises:
        InvalidSpec: a name, peer, port or protocol breaks a rule.
    """
    if not NAME.fullmatch(spec.name):
        raise InvalidSpec.of("filter.name", spec.name, "letters, digits, ._-; 1 to 63 characters")
    for index, flow in enumerate(spec.flows):
        where = f"filter.flows[{index}]"
        try:
            network = ipaddress.IPv4Network(flow.peer, strict=True)
        except ValueError:
            raise InvalidSpec.of(
                f"{where}.peer", flow.peer, "an IPv4 address or network without host bits"
            ) from None
        if network.prefixlen < 8:
            raise InvalidSpec.of(f"{where}.peer", flow.peer, "a prefix of at least 8 bits")
        if flow.protocol == Protocol.ICMP:
            if flow.port is not None:
                raise InvalidSpec.of(f"{where}.port", flow.port, "ICMP has no ports")
        elif flow.port is None or not 1 <= flow.port <= 65535:
            raise InvalidSpec.of(f"{where}.port", flow.port, "1 to 65535")


def render_filter(spec: FilterSpec, uuid: UUID) -> str:
    """The filter's XML; flows are sorted and unique, so equal filters give equal text."""
    check_filter(spec)
    root = ET.Element("filter", name=spec.name, chain="root")
    ET.SubElement(root, "uuid").text = str(uuid)
    _rule(root, "drop", "out", _NO_SPOOFING, "mac", match="no", srcmacaddr="$MAC")
    _rule(root, "drop", "out", _NO_SPOOFING + 1, "ip", match="no", srcipaddr="$IP")
    # ARP speaks only for the own address, so that a machine cannot answer for another.
    own = {"arpsrcmacaddr": "$MAC", "arpsrcipaddr": "$IP"}
    _rule(root, "accept", "out", _LINK, "arp", opcode="Request", **own)
    _rule(root, "accept", "out", _LINK + 1, "arp", opcode="Reply", **own)
    _rule(root, "accept", "in", _LINK + 2, "arp", opcode="Request", arpdstipaddr="$IP")
    _rule(root, "accept", "in", _LINK + 3, "arp", opcode="Reply", arpdstipaddr="$IP")
    # IPv4 frames go on to the IP layer below; every other protocol ends here.
    _rule(root, "accept", "inout", _LINK + 4, "mac", protocolid="ipv4")
    _rule(root, "drop", "inout", _LINK + 5)
    for number, flow in enumerate(sorted(set(spec.flows), key=repr)):
        _flow(root, flow, _FLOWS + min(number, 800))
    _rule(root, "drop", "inout", _REST, "all")
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _rule(
    root: ET.Element,
    action: str,
    direction: str,
    priority: int,
    protocol: str | None = None,
    **attributes: str,
) -> None:
    rule = ET.SubElement(root, "rule", action=action, direction=direction, priority=str(priority))
    if protocol is not None:
        ET.SubElement(rule, protocol, attributes)


def _flow(root: ET.Element, flow: Flow, priority: int) -> None:
    inbound = flow.direction == Direction.INBOUND
    there, back = ("in", "out") if inbound else ("out", "in")
    if flow.protocol == Protocol.ICMP:
        # With a type, libvirt makes no rule for the answer: echo and its reply, each said.
        _rule(root, "accept", there, priority, "icmp", **_peer(flow, there), type="8")
        _rule(root, "accept", back, priority, "icmp", **_peer(flow, back), type="0")
        return
    attributes = _peer(flow, there) | {"dstportstart": str(flow.port)}
    _rule(root, "accept", there, priority, str(flow.protocol), **attributes)


def _peer(flow: Flow, direction: str) -> dict[str, str]:
    """The peer is the source of what comes in and the destination of what goes out."""
    side = "src" if direction == "in" else "dst"
    network = ipaddress.IPv4Network(flow.peer)
    attributes = {f"{side}ipaddr": str(network.network_address)}
    if network.prefixlen < 32:
        attributes[f"{side}ipmask"] = str(network.prefixlen)
    return attributes


def normalise_filter(xml: str) -> tuple[object, ...]:
    """What a filter's XML says, whatever its layout: to see whether it has to be redefined.

    libvirt writes back defaults, another order and other spellings; those are levelled here.
    """
    root = ET.fromstring(xml)  # noqa: S314 - our own text, or libvirt's answer
    rules = []
    for rule in root.iterfind("rule"):
        children = tuple(
            (child.tag, tuple(sorted((k, _level(k, v)) for k, v in child.attrib.items())))
            for child in rule
        )
        key = (rule.get("action"), rule.get("direction"), rule.get("priority", "500"))
        rules.append((*key, children))
    return (root.get("name"), *sorted(rules, key=repr))


def _level(key: str, value: str) -> str:
    if key.endswith("mask") and re.fullmatch(r"\d+(\.\d+){3}", value):
        return str(ipaddress.IPv4Network(f"0.0.0.0/{value}").prefixlen)
    if key == "opcode":
        return {"Request": "1", "Reply": "2"}.get(value, value)
    if key == "protocolid":
        return {"ipv4": "0x800", "0x0800": "0x800"}.get(value, value)
    return value
