"""What a host has beside CPUs and memory, and the CPU and the writing of a guest."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from millwright.hypervisor import Accel, Capability, Conflict, InvalidSpec, NotFound

from tests.contract.hypervisor.subjects import Subject

PARTS = ("pages", "cpu", "pools", "nics", "gpus")


@pytest.mark.needs(Capability.EQUIPMENT)
def test_each_part_is_told_or_has_a_reason_why_not(subject: Subject) -> None:
    found = subject.hypervisor.equipment()
    for part in PARTS:
        assert (getattr(found, part) is None) == bool(found.unread.get(part)), part
    assert found.pools is not None
    for pool in found.pools:
        assert 0 <= pool.available_bytes <= pool.capacity_bytes
    for nic in found.nics or ():
        assert nic.name
        assert nic.speed_bits_s is None or nic.speed_bits_s > 0
    for card in found.gpus or ():
        assert card.model.count(":") == 1
    numbers = {(page.node, page.size_bytes) for page in found.pages or ()}
    assert len(numbers) == len(found.pages or ())
    for page in found.pages or ():
        assert page.size_bytes > 4096
        assert 0 <= page.free <= page.total


@pytest.mark.needs(Capability.EQUIPMENT)
def test_it_is_the_host_s_own_pages_and_pools(subject: Subject) -> None:
    host = subject.hypervisor
    found, facts = host.equipment(), host.facts()
    told = {(page.node, page.size_bytes): page.total for page in found.pages or ()}
    assert told == {
        (node.id, size): count for node in facts.numa for size, count in node.hugepages.items()
    }
    if subject.can(Capability.UPLOAD):
        pool = host.ensure_pool("default", "/var/lib/libvirt/images")
        (row,) = [row for row in found.pools or () if row.name == "default"]
        assert (row.kind, row.active, row.capacity_bytes) == ("dir", True, pool.capacity_bytes)


@pytest.mark.needs(Capability.BOOT)
def test_the_cpu_for_guests_is_named_with_all_its_features(subject: Subject) -> None:
    found = subject.hypervisor.equipment()
    assert found.cpu is not None
    assert found.cpu.model
    features = found.cpu.features[Accel.EMULATION]
    # More than the model's name says: those of the model itself are written out.
    assert len(features) > 3


@pytest.mark.needs(Capability.BOOT)
def test_a_feature_that_is_asked_for_is_kept_by_a_guest(subject: Subject) -> None:
    host = subject.hypervisor
    cpu = host.equipment().cpu
    assert cpu is not None
    name = sorted(cpu.features[Accel.EMULATION])[0]
    spec = subject.spec(cpu_features=(name,))
    host.define(spec)
    with pytest.raises(Conflict):
        host.guest_cpu(spec.uuid)
    assert host.start(spec.uuid)
    # Emulated, its CPU comes from the emulator: the host's own is not asked for anything.
    assert host.guest_cpu(spec.uuid).accel is Accel.EMULATION
    assert host.guest_cpu(spec.uuid).features == frozenset()


@pytest.mark.needs(Capability.BOOT)
def test_of_nobody_nothing_is_told(subject: Subject) -> None:
    host, nobody = subject.hypervisor, uuid4()
    with pytest.raises(NotFound):
        host.guest_cpu(nobody)
    with pytest.raises(NotFound):
        host.dirty_rate(nobody)


@pytest.mark.needs(Capability.DIRTY_RATE)
def test_how_much_a_running_guest_writes_is_measured(subject: Subject) -> None:
    host = subject.hypervisor
    spec = subject.spec()
    host.define(spec)
    with pytest.raises(Conflict):
        host.dirty_rate(spec.uuid)
    host.start(spec.uuid)
    with pytest.raises(InvalidSpec, match="seconds"):
        host.dirty_rate(spec.uuid, seconds=0)
    rate = host.dirty_rate(spec.uuid, deadline_s=60.0)
    assert rate is None or rate >= 0


@pytest.mark.needs(Capability.BOOT)
def test_pages_that_are_not_there_keep_a_guest_from_starting(
    subject: Subject, tmp_path: Path
) -> None:
    host = subject.hypervisor
    size = 2 * 2**20
    there = sum(page.total for page in host.equipment().pages or () if page.size_bytes == size)
    if there:
        pytest.skip("the host has hugepages")
    spec = subject.spec()
    host.define(replace(spec, tuning=replace(spec.tuning, hugepage_bytes=size)))
    from millwright.hypervisor import HypervisorError

    with pytest.raises(HypervisorError):
        host.start(spec.uuid)
