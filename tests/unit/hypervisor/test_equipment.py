"""NICs and cards as libvirt's node devices describe them, the test driver's parts, and the fake's rules."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree as ET

import pytest
from millwright.hypervisor import (
    Accel,
    Conflict,
    GpuFacts,
    GuestCpu,
    InvalidSpec,
    MigrationSpec,
    NicFacts,
    NoSpace,
    Unsupported,
)
from millwright.hypervisor.driver import HostAddress, LibvirtHypervisor
from millwright.hypervisor.driver.equipment import features_of, parse_gpu, parse_nic
from millwright.hypervisor.fake import FakeHypervisor, FakePool

from tests.unit.hypervisor.specs import BASE

NIC = """<device><name>net_eno1</name><parent>{parent}</parent><capability type='net'>
<interface>eno1</interface><address>52:54:00:00:00:01</address><link speed='{speed}' state='{state}'/>
</capability></device>"""

CARD = """<device><name>pci_0000_65_00_0</name><parent>pci_0000_64_00_0</parent>
<driver><name>nvidia</name></driver>
<capability type='pci'><class>0x030200</class><domain>0</domain><bus>101</bus><slot>0</slot><function>0</function>
<product id='0x1eb8'>TU104GL [Tesla T4]</product><vendor id='0x10de'>NVIDIA Corporation</vendor>
<capability type='mdev_types'>
<type id='nvidia-222'><name>GRID T4-1B</name><deviceAPI>vfio-pci</deviceAPI><availableInstances>16</availableInstances></type>
<type id='nvidia-230'><name>GRID T4-2Q</name><deviceAPI>vfio-pci</deviceAPI><availableInstances>8</availableInstances></type>
</capability>
<iommuGroup number='27'><address domain='0x0000' bus='0x65' slot='0x00' function='0x0'/>
<address domain='0x0000' bus='0x65' slot='0x00' function='0x1'/>
<address domain='0x0000' bus='0x64' slot='0x00' function='0x0'/></iommuGroup>
</capability></device>"""


def _xml(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 - our own text


@pytest.mark.parametrize(
    ("speed", "state", "found"),
    [
        ("10000", "up", NicFacts(name="eno1", up=True, speed_bits_s=10**10)),
        ("0", "down", NicFacts(name="eno1", up=False, speed_bits_s=None)),
        ("4294967295", "up", NicFacts(name="eno1", up=True, speed_bits_s=None)),
        ("", "unknown", NicFacts(name="eno1", up=False, speed_bits_s=None)),
    ],
)
def test_a_nic_s_speed_is_told_where_its_driver_knows_it(
    speed: str, state: str, found: NicFacts
) -> None:
    text = NIC.format(parent="pci_0000_02_00_0", speed=speed, state=state)
    assert parse_nic(_xml(text)) == found


def test_what_software_made_is_no_nic() -> None:
    assert parse_nic(_xml(NIC.format(parent="computer", speed="10000", state="up"))) is None


def test_a_card_is_told_with_its_types_and_whether_it_can_be_given() -> None:
    card = parse_gpu(_xml(CARD))
    assert card == GpuFacts(
        address="0000:65:00.0",
        model="10de:1eb8",
        name="NVIDIA Corporation TU104GL [Tesla T4]",
        driver="nvidia",
        iommu_group=27,
        companions=("0000:65:00.1",),
        profiles={"nvidia-222": 16, "nvidia-230": 8},
    )
    assert parse_gpu(_xml(CARD.replace("0x030200", "0x020000"))) is None
    start, end = CARD.index("<iommuGroup"), CARD.index("</iommuGroup>") + len("</iommuGroup>")
    without = parse_gpu(_xml(CARD[:start] + CARD[end:]))
    assert without is not None
    assert without.iommu_group is None


def test_features_that_are_switched_off_are_not_there() -> None:
    cpu = _xml(
        "<cpu><model>x</model><feature policy='require' name='avx2'/>"
        "<feature policy='disable' name='pni'/><feature name='sse4.2'/></cpu>"
    )
    assert features_of(cpu) == {"avx2", "sse4.2"}


def test_what_a_libvirt_cannot_tell_keeps_nothing_else_from_being_read() -> None:
    driver = LibvirtHypervisor(HostAddress(name="test", uri="test:///default"), site="mw0")
    found = driver.equipment()
    driver.close()
    assert found.pools is not None
    assert [(pool.name, pool.active) for pool in found.pools] == [("default-pool", True)]
    assert found.pools[0].available_bytes > 0


# --- the fake --------------------------------------------------------------------------------------


@pytest.fixture
def pool(tmp_path: object) -> FakePool:
    made = FakePool("mw0")
    for name in ("h1", "h2"):
        made.add_host(name)
    return made


def _ready(host: FakeHypervisor, **changes: object) -> object:
    spec = replace(
        BASE,
        disks=(),
        nics=(),
        iothreads=0,
        **{"vcpus": BASE.vcpus[:1], "tuning": replace(BASE.tuning)} | changes,
    )
    for name in (spec.boot.kernel, spec.boot.initrd):
        host.add_foreign_volume("default", name.rpartition("/")[2])
    return spec


def test_pages_are_taken_by_what_runs_and_none_are_given_twice(pool: FakePool) -> None:
    host, size = pool.host("h1"), 2**30
    host.parts.hugepages = {size: 3}
    specs = [
        _ready(
            host,
            uuid=type(BASE.uuid)(int=number),
            name=f"mw-a-{number}",
            memory_bytes=2 * size,
            tuning=replace(BASE.tuning, hugepage_bytes=size),
        )
        for number in (1, 2)
    ]
    for spec in specs:
        host.define(spec)  # type: ignore[arg-type]
    host.start(specs[0].uuid)  # type: ignore[attr-defined]
    pages = host.equipment().pages
    assert pages is not None
    assert [(page.total, page.free) for page in pages] == [(3, 1)]
    with pytest.raises(NoSpace, match="2 hugepages"):
        host.start(specs[1].uuid)  # type: ignore[attr-defined]


def test_who_is_bound_to_a_node_finds_its_pages_there_or_does_not_start(pool: FakePool) -> None:
    host, size = pool.host("h1"), 2**30
    host.parts.hugepages, host.parts.more_nodes = {size: 3}, {1: {size: 2}}
    specs = [
        _ready(
            host,
            uuid=type(BASE.uuid)(int=number),
            name=f"mw-a-{number}",
            memory_bytes=2 * size,
            tuning=replace(BASE.tuning, hugepage_bytes=size),
            memory_nodes=frozenset({1}),
        )
        for number in (1, 2)
    ]
    for spec in specs:
        host.define(spec)  # type: ignore[arg-type]
    host.start(specs[0].uuid)  # type: ignore[attr-defined]
    pages = host.equipment().pages
    assert pages is not None
    assert [(page.node, page.total, page.free) for page in pages] == [(0, 3, 3), (1, 2, 0)]
    # Node 0 has enough, and is not where it is bound to.
    with pytest.raises(NoSpace, match="2 hugepages"):
        host.start(specs[1].uuid)  # type: ignore[attr-defined]


def test_a_card_is_given_to_one_guest_which_then_stays(pool: FakePool) -> None:
    host = pool.host("h1")
    card = parse_gpu(_xml(CARD))
    assert card is not None
    host.parts.gpus = (card,)
    first, second = (
        _ready(
            host, uuid=type(BASE.uuid)(int=number), name=f"mw-a-{number}", pci_devices=(address,)
        )
        for number, address in ((1, card.address), (2, card.address))
    )
    host.define(first)  # type: ignore[arg-type]
    host.define(second)  # type: ignore[arg-type]
    host.start(first.uuid)  # type: ignore[attr-defined]
    with pytest.raises(Conflict, match="in use"):
        host.start(second.uuid)  # type: ignore[attr-defined]
    with pytest.raises(Unsupported, match="cannot migrate"):
        host.migrate(first.uuid, pool.host("h2"), first, MigrationSpec())  # type: ignore[attr-defined, arg-type]


def test_a_guest_does_not_arrive_where_its_cpu_is_not(pool: FakePool) -> None:
    source, other = pool.host("h1"), pool.host("h2")
    source.parts.features = source.parts.features | {"avx2"}
    spec = _ready(source)
    _ready(other)
    source.define(spec)  # type: ignore[arg-type]
    source.start(spec.uuid)  # type: ignore[attr-defined]
    assert source.guest_cpu(spec.uuid) == GuestCpu(  # type: ignore[attr-defined]
        accel=Accel.KVM, model="fake", features=source.parts.features, passthrough=True
    )
    with pytest.raises(Unsupported, match="avx2"):
        source.migrate(spec.uuid, other, spec, MigrationSpec())  # type: ignore[attr-defined, arg-type]
    other.parts.features = source.parts.features
    other.parts.cpu_model = "newer"
    with pytest.raises(Unsupported, match="not a fake"):
        source.migrate(spec.uuid, other, spec, MigrationSpec())  # type: ignore[attr-defined, arg-type]
    other.parts.cpu_model = "fake"
    source.migrate(spec.uuid, other, spec, MigrationSpec())  # type: ignore[attr-defined, arg-type]
    assert other.guest_cpu(spec.uuid).features == source.parts.features  # type: ignore[attr-defined]


def test_a_part_that_cannot_be_told_is_not_known(pool: FakePool) -> None:
    host = pool.host("h1")
    host.parts.unread = {"gpus": "no driver of node devices"}
    found = host.equipment()
    assert found.gpus is None
    assert found.unread == {"gpus": "no driver of node devices"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cpu_features", ("AVX 2",)),
        ("pci_devices", ("65:00.0",)),
        ("pci_devices", ("0000:65:00.0", "0000:65:00.0")),
    ],
)
def test_what_no_domain_can_have_is_refused_at_its_field(field: str, value: object) -> None:
    with pytest.raises(InvalidSpec, match=field):
        replace(BASE, **{field: value})  # type: ignore[arg-type]


def test_a_node_has_a_number() -> None:
    with pytest.raises(InvalidSpec, match="memory_nodes"):
        replace(BASE, memory_nodes=frozenset({-1}))


def test_memory_in_hugepages_is_whole_pages() -> None:
    with pytest.raises(InvalidSpec, match="whole pages"):
        replace(BASE, tuning=replace(BASE.tuning, hugepage_bytes=2**30))
