"""nwfilter: default drop, no spoofing, exactly the registered pairs."""

from __future__ import annotations

import os
from pathlib import Path
from uuid import UUID
from xml.etree import ElementTree as ET

from millwright.hypervisor import Direction, FilterSpec, Flow, Protocol
from millwright.hypervisor.filters import normalise_filter, render_filter
from millwright.hypervisor.rules import object_uuid

GOLDEN = Path(__file__).parent / "golden" / "filter.xml"
UUID_1 = UUID(int=1)
FLOWS = (
    Flow(direction=Direction.INBOUND, peer="10.90.1.2", port=502),
    Flow(direction=Direction.INBOUND, peer="10.90.1.2", port=4840),
    Flow(direction=Direction.INBOUND, peer="10.90.1.1", port=9400),
    Flow(direction=Direction.INBOUND, peer="10.90.1.1", protocol=Protocol.ICMP),
    Flow(direction=Direction.OUTBOUND, peer="10.90.1.50", port=502),
    Flow(direction=Direction.OUTBOUND, peer="10.90.1.64/26", protocol=Protocol.UDP, port=123),
)


def rules(*flows: Flow) -> list[ET.Element]:
    root = ET.fromstring(render_filter(FilterSpec(name="mw-f", flows=flows), UUID_1))  # noqa: S314 - our own text
    return list(root.iterfind("rule"))


def test_golden() -> None:
    rendered = render_filter(FilterSpec(name="mw-filling-line-1-plc", flows=FLOWS), UUID_1)
    if os.environ.get("MW_WRITE_GOLDEN") == "1":
        GOLDEN.write_text(rendered, encoding="utf-8")
    assert rendered == GOLDEN.read_text(encoding="utf-8")


def test_without_flows_nothing_but_arp_passes() -> None:
    accepted = [rule for rule in rules() if rule.get("action") == "accept"]
    assert [child.tag for rule in accepted for child in rule] == ["arp"] * 4 + ["mac"]
    last = rules()[-1]
    assert (last.get("action"), last.get("direction"), last[0].tag) == ("drop", "inout", "all")
    assert max(int(rule.get("priority", 0)) for rule in rules()) == int(last.get("priority", 0))


def test_arp_speaks_for_the_own_address_only() -> None:
    for rule in rules():
        for arp in rule.iterfind("arp"):
            if rule.get("direction") == "out":
                assert arp.get("arpsrcipaddr") == "$IP"
                assert arp.get("arpsrcmacaddr") == "$MAC"
            else:
                assert arp.get("arpdstipaddr") == "$IP"


def test_a_flow_opens_one_direction_of_one_pair() -> None:
    (rule,) = [r for r in rules(FLOWS[0]) if r.find("tcp") is not None]
    assert (rule.get("action"), rule.get("direction")) == ("accept", "in")
    assert rule[0].attrib == {"srcipaddr": "10.90.1.2", "dstportstart": "502"}
    (rule,) = [r for r in rules(FLOWS[4]) if r.find("tcp") is not None]
    assert rule.get("direction") == "out"
    assert rule[0].attrib == {"dstipaddr": "10.90.1.50", "dstportstart": "502"}


def test_a_network_gets_its_mask() -> None:
    (rule,) = [r for r in rules(FLOWS[5]) if r.find("udp") is not None]
    assert rule[0].attrib["dstipaddr"] == "10.90.1.64"
    assert rule[0].attrib["dstipmask"] == "26"


def test_echo_and_its_answer_are_both_said() -> None:
    found = {
        (r.get("direction"), r[0].get("type"))
        for r in rules(FLOWS[3])
        if r.find("icmp") is not None
    }
    assert found == {("in", "8"), ("out", "0")}


def test_order_and_repetition_do_not_matter() -> None:
    one = render_filter(FilterSpec(name="f", flows=FLOWS), UUID_1)
    other = render_filter(FilterSpec(name="f", flows=(*reversed(FLOWS), FLOWS[0])), UUID_1)
    assert one == other


def test_what_libvirt_writes_back_is_recognised() -> None:
    ours = render_filter(FilterSpec(name="f", flows=FLOWS[:1]), UUID_1)
    theirs = ours.replace("/>", "></dummy>").replace("></dummy>", "/>")
    theirs = theirs.replace('opcode="Request"', 'opcode="1"').replace('"ipv4"', '"0x800"')
    assert normalise_filter(ours) == normalise_filter(theirs)
    changed = render_filter(FilterSpec(name="f", flows=FLOWS[1:2]), UUID_1)
    assert normalise_filter(ours) != normalise_filter(changed)


def test_the_uuid_stays_the_filter_s_own() -> None:
    assert object_uuid("mw0", "filter", "a") == object_uuid("mw0", "filter", "a")
    different = {
        object_uuid(site, kind, name)
        for site in ("mw0", "mw1")
        for kind in ("filter", "network")
        for name in ("a", "b")
    }
    assert len(different) == 8
