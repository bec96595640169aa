"""A disk that was set aside goes by a person's word only, is refused where a machine has it, and its end is written down."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from uuid import uuid4

import pytest
from django.core.exceptions import ValidationError
from django.utils import timezone
from millwright.accounts.permissions import PermissionRefused
from millwright.audit.models import AuditEntry
from millwright.environments import actions
from millwright.environments.models import Machine, Operation
from millwright.hypervisor import (
    Accel,
    DirectBoot,
    DiskSpec,
    DomainSpec,
    HostUnreachable,
    Metadata,
    ServiceClass,
    VcpuSpec,
    VolumeOwner,
)
from millwright.hypervisor.fake import FakeHypervisor, FakePool
from millwright.inventory import disks
from millwright.inventory.models import OldDisk
from millwright.orchestrator.disks import read_disks

from tests.support.plant import Plant

SITE = "site-1"
GIB = 2**30
NAME = "own.qcow2"


@pytest.fixture
def machine(plant: Plant) -> Machine:
    """A machine on the first host, with nothing under way."""
    for host in plant.hosts:
        host.health = "up"
        host.save()
    request = actions.create_request(plant.engineer, **plant.request_fields("filling-line-1"))
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, request))
    made = Machine.objects.get(environment__name="filling-line-1")
    Machine.objects.filter(pk=made.pk).update(host=plant.hosts[0], generation=5)
    Operation.objects.update(state="succeeded")
    return made


@pytest.fixture
def fake(plant: Plant, machine: Machine) -> FakeHypervisor:
    """Its host, with a disk of placement 3 that was set aside for that of placement 5."""
    made = FakePool(site=SITE).add_host(plant.hosts[0].name)
    made.ensure_pool("default")
    made.add_foreign_volume("default", "base", 1)
    image = made._pools["default"].volumes["base"]
    made._pools["default"].volumes["base"] = replace(image, sha256="1" * 64)
    for generation in (3, 5):
        made.ensure_overlay(
            "default",
            NAME,
            base="base",
            capacity_bytes=GIB,
            owner=VolumeOwner(site=SITE, machine=str(machine.pk), generation=generation),
        )
    return made


def look(plant: Plant, fake: FakeHypervisor, later: dt.timedelta = dt.timedelta()) -> None:
    assert read_disks(fake, plant.hosts[0].name, SITE, timezone.now() + later)


def ask(plant: Plant) -> OldDisk:
    row = OldDisk.objects.get()
    return disks.ask_removal(plant.operator, row, word=NAME, reason="the values were given back")


def trail() -> list[tuple[str, str]]:
    rows = AuditEntry.objects.filter(object_type="olddisk").order_by("pk")
    return list(rows.values_list("action", "actor_name"))


def test_it_is_listed_with_host_pool_machine_size_and_since_when(
    plant: Plant, machine: Machine, fake: FakeHypervisor
) -> None:
    look(plant, fake)
    row = OldDisk.objects.get()
    assert (row.host, row.pool, row.name) == (plant.hosts[0], "default", NAME)
    assert (row.machine, row.owner) == (f"filling-line-1/{machine.name}", str(machine.pk))
    assert (row.generation, row.capacity_bytes) == (3, GIB)
    assert row.first_seen == row.last_seen
    look(plant, fake, dt.timedelta(minutes=1))
    again = OldDisk.objects.get()
    assert (again.pk, again.first_seen) == (row.pk, row.first_seen)
    assert again.last_seen > row.last_seen
    # Whose machine is gone keeps the name that it had.
    Machine.objects.filter(pk=machine.pk).update(host=None)
    look(plant, fake)
    assert OldDisk.objects.get().machine == row.machine
    fake.remove_volume("default", NAME)
    look(plant, fake)
    assert not OldDisk.objects.exists()
    assert trail() == []


def test_nothing_goes_without_a_keeper_s_word_and_reason(
    plant: Plant, fake: FakeHypervisor
) -> None:
    look(plant, fake)
    row = OldDisk.objects.get()
    would = disks.removal(row)
    assert (would.name, would.word, would.against) == (NAME, NAME, [])
    for person in (plant.engineer, plant.approver):
        with pytest.raises(PermissionRefused):
            disks.ask_removal(person, row, word=NAME, reason="room")
    for word, reason, field in (
        ("yes", "room", "word"),
        ("", "room", "word"),
        (NAME, "  ", "reason"),
        (NAME, "x" * 301, "reason"),
    ):
        with pytest.raises(ValidationError) as caught:
            disks.ask_removal(plant.operator, row, word=word, reason=reason)
        assert set(caught.value.message_dict) == {field}
    plant.hosts[0].health = "down"
    plant.hosts[0].save()
    with pytest.raises(ValidationError, match="is not up"):
        ask(plant)
    look_again = fake.list_volumes("default")
    assert NAME in {volume.name for volume in look_again}
    assert trail() == []


def test_by_a_person_s_word_it_goes_and_both_are_in_the_trail(
    plant: Plant, fake: FakeHypervisor
) -> None:
    look(plant, fake)
    row = ask(plant)
    assert plant.hosts[0].drifts.filter(kind="old_disk").exists()
    with pytest.raises(ValidationError, match="has asked for it already"):
        ask(plant)
    look(plant, fake)
    assert not OldDisk.objects.exists()
    assert {volume.name for volume in fake.list_volumes("default")} == {"base", "own-g5.qcow2"}
    assert not plant.hosts[0].drifts.filter(kind="old_disk").exists()
    who = str(plant.operator)
    assert trail() == [("old_disk.ask", who), ("old_disk.remove", who)]
    entry = AuditEntry.objects.get(action="old_disk.remove")
    assert (entry.object_id, entry.reason) == (str(row.pk), "the values were given back")
    assert entry.details["generation"] == 3


def test_one_that_a_machine_has_is_refused(
    plant: Plant, machine: Machine, fake: FakeHypervisor
) -> None:
    look(plant, fake)
    volume = fake.volume("default", NAME)
    assert volume is not None
    domain = DomainSpec(
        uuid=uuid4(),
        name="mw-by-hand",
        metadata=Metadata(
            site=SITE, environment="by-hand", machine="x", operation="by-hand", generation=1
        ),
        service_class=ServiceClass.SHARED,
        accel=Accel.EMULATION,
        memory_bytes=2**28,
        vcpus=(VcpuSpec(),),
        boot=DirectBoot(kernel="/none/kernel", initrd="/none/initrd"),
        disks=(DiskSpec(path=volume.path),),
    )
    fake.define(domain)
    ask(plant)
    look(plant, fake)
    row = OldDisk.objects.get()
    assert "mw-by-hand" in row.refused
    assert (row.removal_asked_at, row.removal_by, row.removal_reason) == (None, None, "")
    assert fake.volume("default", NAME) is not None
    assert [action for action, _ in trail()] == ["old_disk.ask", "old_disk.refused"]
    # Not by the same word once more: somebody has to look first.
    fake.undefine(domain.uuid)
    look(plant, fake)
    assert fake.volume("default", NAME) is not None
    ask(plant)
    look(plant, fake)
    assert not OldDisk.objects.exists()


def test_what_is_of_its_machine_s_placement_or_moves_is_refused(
    plant: Plant, machine: Machine, fake: FakeHypervisor
) -> None:
    """Hosts with one storage see each other's disks, and this host does not know who runs on that one."""
    look(plant, fake)
    ask(plant)
    Machine.objects.filter(pk=machine.pk).update(generation=3)
    look(plant, fake)
    assert OldDisk.objects.get().refused == "it is of its machine's placement now"
    Machine.objects.filter(pk=machine.pk).update(generation=5)
    ask(plant)
    Operation.objects.update(state="running")
    look(plant, fake)
    assert "is under way" in OldDisk.objects.get().refused
    assert fake.volume("default", NAME) is not None


def test_a_word_holds_for_an_hour(plant: Plant, fake: FakeHypervisor) -> None:
    look(plant, fake)
    ask(plant)
    look(plant, fake, disks.HOLDS + dt.timedelta(minutes=1))
    assert "within an hour" in OldDisk.objects.get().refused
    assert fake.volume("default", NAME) is not None


@pytest.mark.parametrize("effect", ["before", "after"])
def test_an_answer_that_is_lost_leaves_the_word_and_the_next_round_ends_it(
    plant: Plant, fake: FakeHypervisor, effect: str
) -> None:
    look(plant, fake)
    ask(plant)
    fake.faults.fail_next("remove_volume", HostUnreachable("gone"), effect=effect)
    look(plant, fake)
    assert OldDisk.objects.get().removal_asked_at is not None
    look(plant, fake)
    assert not OldDisk.objects.exists()
    assert fake.volume("default", NAME) is None
    assert [action for action, _ in trail()] == ["old_disk.ask", "old_disk.remove"]


def test_another_disk_of_the_name_is_not_meant(
    plant: Plant, machine: Machine, fake: FakeHypervisor
) -> None:
    look(plant, fake)
    first = ask(plant)
    fake.remove_volume("default", NAME)
    fake.remove_volume("default", "own-g5.qcow2")
    for generation in (6, 8):
        fake.ensure_overlay(
            "default",
            NAME,
            base="base",
            capacity_bytes=GIB,
            owner=VolumeOwner(site=SITE, machine=str(machine.pk), generation=generation),
        )
    look(plant, fake)
    row = OldDisk.objects.get()
    assert row.pk != first.pk
    assert (row.generation, row.removal_asked_at) == (6, None)
    assert fake.volume("default", NAME) is not None


def test_in_a_pool_that_is_not_active_nothing_is_taken_for_gone(
    plant: Plant, machine: Machine, fake: FakeHypervisor
) -> None:
    """An unmounted share says nothing of what lies on it, and no trail tells of a removal that was none."""
    host, version = plant.hosts[0], machine.template_version
    version.spec["requires"] = {"storage_pool": "shared"}
    version.save()
    fake.ensure_pool("shared", "/srv/shared")
    fake.add_foreign_volume("shared", "base", 1)
    store = fake._pools["shared"].volumes
    store["base"] = replace(store["base"], sha256="1" * 64)
    for generation in (3, 5):
        fake.ensure_overlay(
            "shared",
            NAME,
            base="base",
            capacity_bytes=GIB,
            owner=VolumeOwner(site=SITE, machine=str(machine.pk), generation=generation),
        )
    fake.remove_volume("default", NAME)

    def mounted(active: bool) -> None:
        row = {"name": "shared", "active": active, "available_bytes": GIB}
        host.equipment = {"pools": [row]}
        host.save()

    mounted(True)
    look(plant, fake)
    row = OldDisk.objects.get()
    assert row.pool == "shared"
    mounted(False)
    look(plant, fake)
    assert OldDisk.objects.get().pk == row.pk
    ask(plant)
    look(plant, fake)
    assert OldDisk.objects.get().removal_asked_at is not None
    look(plant, fake, disks.HOLDS + dt.timedelta(minutes=1))
    assert "within an hour" in OldDisk.objects.get().refused
    assert [action for action, _ in trail()] == ["old_disk.ask", "old_disk.refused"]
    # It is back, and no template asks for its pool any more.
    version.spec.pop("requires")
    version.save()
    mounted(True)
    ask(plant)
    look(plant, fake)
    assert not OldDisk.objects.exists()
    assert fake.volume("shared", NAME) is None
