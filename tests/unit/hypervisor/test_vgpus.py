"""vGPU instances: made with their domain, each once, and gone with it; on the fake and in libvirt's calls."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID
from xml.etree import ElementTree as ET

import libvirt
import pytest
from millwright.hypervisor import GpuFacts, InvalidSpec, NoSpace, VgpuSpec, vgpu_uuid
from millwright.hypervisor.driver import vgpus
from millwright.hypervisor.fake import FakePool

from tests.unit.hypervisor.specs import BASE

CARD, OTHER = "0000:65:00.0", "0000:b3:00.0"
SMALL = VgpuSpec(card=CARD, profile="nvidia-35")
MACHINE = UUID(int=7)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"card": "65:00.0", "profile": "nvidia-35"}, "pci_devices"),
        ({"card": CARD, "profile": "a b"}, "vgpus.profile"),
    ],
)
def test_what_is_no_instance_is_refused(fields: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidSpec, match=words):
        VgpuSpec(**fields)
    with pytest.raises(InvalidSpec, match="at most 16"):
        replace(BASE, vgpus=(SMALL,) * 17)


# -- the fake ------------------------------------------------------------------------


def _fake() -> Any:
    pool = FakePool(site=BASE.metadata.site)
    host = pool.add_host("h1", cpus=8, memory_bytes=2**34)
    host.parts.gpus = (
        GpuFacts(
            address=CARD,
            model="10de:1eb8",
            name="NVIDIA T4",
            driver="nvidia",
            iommu_group=27,
            profiles={"nvidia-35": 3, "nvidia-36": 1},
        ),
    )
    return host


def _spec(number: int, *wanted: VgpuSpec) -> Any:
    return replace(BASE, uuid=UUID(int=number), name=f"mw-a-{number}", vgpus=wanted)


def _told(host: Any) -> tuple[dict[str, int], dict[str, str]]:
    (card,) = host.equipment().gpus
    return dict(card.profiles), dict(card.instances)


def test_a_card_holds_so_many_of_one_profile_and_has_them_back() -> None:
    host = _fake()
    host.define(_spec(1, SMALL, SMALL))
    assert _told(host) == (
        {"nvidia-35": 1, "nvidia-36": 0},
        {str(vgpu_uuid(UUID(int=1), number)): "nvidia-35" for number in range(2)},
    )
    # Once more changes nothing; a second machine finds one, a third none, and no other profile.
    host.define(_spec(1, SMALL, SMALL))
    host.define(_spec(2, SMALL))
    for wanted in (SMALL, VgpuSpec(card=CARD, profile="nvidia-36")):
        with pytest.raises(NoSpace, match="no more instances"):
            host.define(_spec(3, wanted))
    for number in (1, 2):
        host.undefine(UUID(int=number))
    assert _told(host) == ({"nvidia-35": 3, "nvidia-36": 1}, {})


# -- libvirt's calls -----------------------------------------------------------------


@dataclass
class _Device:
    """A mediated device as libvirt has it."""

    host: _Host
    xml: str
    active: bool = False
    persistent: bool = True
    autostart: int = 0

    def XMLDesc(self, _flags: int) -> str:
        return self.xml

    def isActive(self) -> int:
        return int(self.active)

    def isPersistent(self) -> int:
        return int(self.persistent)

    def setAutostart(self, value: int) -> None:
        self.autostart = value

    def create(self, _flags: int) -> None:
        assert not self.active
        self.active = True

    def destroy(self) -> None:
        self.active = False
        if not self.persistent:
            self.host.devices.remove(self)

    def undefine(self, _flags: int) -> None:
        self.host.devices.remove(self)


@dataclass
class _Host:
    """A connection that knows mediated devices only."""

    devices: list[_Device] = field(default_factory=list)

    def listAllDevices(self, flags: int) -> list[_Device]:
        assert flags == libvirt.VIR_CONNECT_LIST_NODE_DEVICES_CAP_MDEV
        return list(self.devices)

    def nodeDeviceDefineXML(self, xml: str, _flags: int) -> _Device:
        self.devices.append(_Device(self, xml))
        return self.devices[-1]

    def what(self) -> list[tuple[str, str, str, bool, int]]:
        found = []
        for device in self.devices:
            row = vgpus.parse_instance(ET.fromstring(device.xml))  # noqa: S314 - our own
            assert row is not None
            found.append((*row, device.active, device.autostart))
        return found


def test_each_is_defined_once_started_and_comes_back_with_its_host() -> None:
    host: Any = _Host()
    for _ in range(2):
        vgpus.ensure(host, MACHINE, (SMALL, SMALL))
    assert host.what() == [
        (str(vgpu_uuid(MACHINE, number)), CARD, "nvidia-35", True, 1) for number in range(2)
    ]
    # The host was started anew and has not begun one of them.
    host.devices[0].active = False
    vgpus.ensure(host, MACHINE, (SMALL, SMALL))
    assert [device.active for device in host.devices] == [True, True]


def test_what_was_claimed_elsewhere_since_is_made_there_and_the_rest_is_gone() -> None:
    host: Any = _Host()
    vgpus.ensure(host, MACHINE, (SMALL, SMALL))
    vgpus.ensure(host, MACHINE, (VgpuSpec(card=OTHER, profile="nvidia-35"),))
    assert host.what() == [(str(vgpu_uuid(MACHINE, 0)), OTHER, "nvidia-35", True, 1)]


def test_a_machine_s_are_removed_and_nobody_else_s() -> None:
    host: Any = _Host()
    vgpus.ensure(host, MACHINE, (SMALL,))
    vgpus.ensure(host, UUID(int=8), (SMALL,))
    # One that somebody made by hand is not defined, and is left alone too.
    by_hand = vgpus._xml("c0ffee00-0000-4000-8000-000000000001", SMALL)
    host.devices.append(_Device(host, by_hand, active=True, persistent=False))
    for _ in range(2):
        vgpus.remove(host, MACHINE)
    assert [row[0] for row in host.what()] == [
        str(vgpu_uuid(UUID(int=8), 0)),
        "c0ffee00-0000-4000-8000-000000000001",
    ]


def test_an_older_libvirt_tells_the_id_in_the_name() -> None:
    root = ET.fromstring(  # noqa: S314 - our own
        "<device><name>mdev_4b20d080_1b54_4048_85b3_a6a62d165c01_0000_65_00_0</name>"
        "<parent>pci_0000_65_00_0</parent>"
        "<capability type='mdev'><type id='nvidia-35'/><iommuGroup number='12'/></capability></device>"
    )
    assert vgpus.parse_instance(root) == (
        "4b20d080-1b54-4048-85b3-a6a62d165c01",
        CARD,
        "nvidia-35",
    )
    css = ET.fromstring(  # noqa: S314 - our own
        "<device><parent>css_0_0_0052</parent><capability type='mdev'/></device>"
    )
    assert vgpus.parse_instance(css) is None
