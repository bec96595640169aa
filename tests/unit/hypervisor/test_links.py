"""Networks, bridges and VLANs as libvirt's own test driver and its udev driver describe them."""

from __future__ import annotations

from collections.abc import Iterator

import libvirt
import pytest
from millwright.hypervisor.driver.links import links_of, networks_of, parse_link
from millwright.hypervisor.types import LinkFacts, NetworkFacts


@pytest.fixture
def conn() -> Iterator[libvirt.virConnect]:
    opened = libvirt.open("test:///default")
    yield opened
    opened.close()


def test_networks_are_told_with_bridge_and_whether_they_run(conn: libvirt.virConnect) -> None:
    assert networks_of(conn) == (NetworkFacts(name="default", bridge="virbr0", active=True),)
    conn.networkLookupByName("default").destroy()
    conn.networkDefineXML("<network><name>apart</name></network>")
    assert networks_of(conn) == (
        NetworkFacts(name="apart", bridge="", active=False),
        NetworkFacts(name="default", bridge="virbr0", active=False),
    )


def test_links_are_told_without_the_ends_of_guests(conn: libvirt.virConnect) -> None:
    for name in ("vnet7", "eno2"):
        conn.interfaceDefineXML(f"<interface type='ethernet' name='{name}'/>").create()
    assert [row.name for row in links_of(conn)] == ["eno2", "eth1"]


@pytest.mark.parametrize(
    ("text", "link"),
    [
        (
            "<interface type='bridge' name='br12'><bridge stp='off' delay='0'>"
            "<interface type='vlan' name='eno1.12'/><interface type='ethernet' name='vnet3'/>"
            "</bridge></interface>",
            LinkFacts(name="br12", kind="bridge", ports=("eno1.12",)),
        ),
        (
            "<interface type='vlan' name='eno1.12'><vlan tag='12'><interface name='eno1'/></vlan>"
            "</interface>",
            LinkFacts(name="eno1.12", kind="vlan", ports=("eno1",), vlan=12),
        ),
        (
            "<interface type='bond' name='bond0'><bond mode='802.3ad'><interface name='eno2'/>"
            "<interface name='eno1'/></bond></interface>",
            LinkFacts(name="bond0", kind="bond", ports=("eno1", "eno2")),
        ),
        ("<interface type='ethernet' name='eno1'/>", LinkFacts(name="eno1", kind="ethernet")),
    ],
)
def test_each_kind_of_link(text: str, link: LinkFacts) -> None:
    assert parse_link(text) == link


def test_a_build_without_the_driver_of_interfaces_tells_none() -> None:
    class Without:
        """A connection as libvirt makes it where that driver was left out."""

        def listAllInterfaces(self, _flags: int) -> list[object]:
            raise libvirt.libvirtError(
                "this function is not supported: virConnectListAllInterfaces"
            )

    assert links_of(Without()) == ()
