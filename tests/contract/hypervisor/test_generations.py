"""A disk belongs to one placement: what an earlier one left on a host is set aside, told, and never used again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from millwright.hypervisor import Capability, Conflict, DiskSpec, VolumeInfo
from millwright.hypervisor.driver import LibvirtHypervisor

from tests.contract.hypervisor.subjects import MIB, Subject, source


@pytest.fixture
def image(subject: Subject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A verified image; where nothing can be uploaded it is made as an upload leaves it."""
    path = tmp_path / "image.raw"
    path.write_bytes(hashlib.sha256(b"seed").digest() * (MIB // 32))
    host, name = subject.hypervisor, subject.volume("base")
    if subject.can(Capability.UPLOAD):
        host.upload_volume(subject.pool, name, source(path))
        yield name
        return
    assert isinstance(host, LibvirtHypervisor)
    # What libvirt's test driver has by itself: it is one for all tests of a process, and nothing is left in it.
    monkeypatch.setattr(subject, "pool", "default-pool")
    for volume in (name, f"{name}.mw-ok.{source(path).sha256}"):
        xml = f"<volume><name>{volume}</name><capacity>{MIB}</capacity></volume>"
        host._call(
            "volume",
            10.0,
            lambda conn, _, xml=xml: conn.storagePoolLookupByName("default-pool").createXML(xml),
        )
    yield name
    subject.clean()


def ensure(
    subject: Subject, image: str, disk: str, machine: UUID, generation: int, size: int = 8
) -> VolumeInfo:
    made = subject.hypervisor.ensure_overlay(
        subject.pool,
        disk,
        base=image,
        capacity_bytes=size * MIB,
        owner=subject.owner(machine, generation),
    )
    if made.name not in subject._volumes:
        subject._volumes.append(made.name)
    return made


def test_what_an_earlier_placement_left_is_set_aside_and_stays(
    subject: Subject, image: str
) -> None:
    host, machine, disk = subject.hypervisor, uuid4(), f"{subject.unique('disk')}.qcow2"
    old = ensure(subject, image, disk, machine, 3)
    assert (old.name, old.aside) == (disk, False)
    for _ in range(2):  # and asked again after a crash it is the same one
        new = ensure(subject, image, disk, machine, 7, size=16)
        assert new.owner == subject.owner(machine, 7)
        assert (new.name, new.path == old.path) == (disk.replace(".qcow2", "-g7.qcow2"), False)
        assert (new.aside, new.capacity_bytes, new.present) == (False, 16 * MIB, True)
    kept = host.volume(subject.pool, disk)
    assert kept is not None
    assert (kept.owner, kept.capacity_bytes) == (old.owner, 8 * MIB)
    assert (kept.aside, kept.path, kept.present) == (True, old.path, True)
    rows = host.overlays(subject.pool, disk)
    assert [(row.name, row.aside) for row in rows] == [(new.name, False), (disk, True)]
    # The next placement here finds both; nothing but a person removes what was set aside.
    third = ensure(subject, image, disk, machine, 9)
    assert [row.owner and row.owner.generation for row in host.overlays(subject.pool, disk)] == [
        9,
        7,
        3,
    ]
    assert third.path not in (old.path, new.path)
    aside = {row.name: row.aside for row in host.overlays(subject.pool, disk)}
    assert aside == {third.name: False, new.name: True, disk: True}
    assert host.remove_volume(subject.pool, disk)
    assert host.volume(subject.pool, disk) is None


def test_the_earlier_one_may_lie_on_another_image(subject: Subject, image: str) -> None:
    """A template of that time: what it lies on is of no account for what is set aside."""
    machine, disk = uuid4(), f"{subject.unique('disk')}.qcow2"
    ensure(subject, image, disk, machine, 1)
    subject._volumes.remove(image)
    subject._volumes.insert(0, image)
    with pytest.raises(Conflict, match="newer than 0"):
        ensure(subject, image, disk, machine, 0)
    with pytest.raises(Conflict, match="belongs to machine"):
        ensure(subject, image, disk, uuid4(), 2)
    assert [row.aside for row in subject.hypervisor.overlays(subject.pool, disk)] == [False]


def test_one_that_a_running_guest_has_is_not_set_aside(subject: Subject, image: str) -> None:
    host, disk = subject.hypervisor, f"{subject.unique('disk')}.qcow2"
    spec = subject.spec()
    old = ensure(subject, image, disk, spec.uuid, 1)
    with_disk = subject.spec(uuid=spec.uuid, name=spec.name, disks=(DiskSpec(path=old.path),))
    host.define(with_disk)
    host.start(spec.uuid)
    with pytest.raises(Conflict, match="is used by"):
        ensure(subject, image, disk, spec.uuid, 2)
    assert host.overlays(subject.pool, disk) == (old,)
    host.destroy(spec.uuid)
    # One that is off is defined anew by whoever asks for the disk.
    assert ensure(subject, image, disk, spec.uuid, 2).path != old.path
