"""Disks on hosts that are nobody's any more are named host by host: one that hangs keeps nobody waiting."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from uuid import UUID, uuid4

import pytest
from django.utils import timezone
from millwright.environments import actions
from millwright.environments.models import Machine
from millwright.hypervisor import VolumeOwner
from millwright.hypervisor.fake import FakeHypervisor, FakePool
from millwright.inventory.models import Drift, Host
from millwright.orchestrator.disks import Disks, read_disks
from millwright.orchestrator.hosts import Hosts
from millwright.orchestrator.reconciler import reconcile

from tests.support.hanging import LIMIT_S, Hanging
from tests.support.plant import Plant, build_plant

SITE = "site-1"
GIB = 2**30


@pytest.fixture
def plant(transactional_db: None) -> Plant:
    made = build_plant()
    for host in made.hosts:
        host.health = "up"
        host.save()
    return made


@pytest.fixture
def pool(plant: Plant) -> FakePool:
    made = FakePool(site=SITE)
    for host in plant.hosts:
        fake = made.add_host(host.name)
        fake.ensure_pool("default")
        fake.add_foreign_volume("default", "base", 1)
        image = fake._pools["default"].volumes["base"]
        fake._pools["default"].volumes["base"] = replace(image, sha256="1" * 64)
    return made


def disk(fake: FakeHypervisor, name: str, owner: UUID | str, generation: int) -> None:
    fake.ensure_overlay(
        "default",
        name,
        base="base",
        capacity_bytes=GIB,
        owner=VolumeOwner(site=SITE, machine=str(owner), generation=generation),
    )


def placed(plant: Plant) -> Machine:
    """A machine on the first host."""
    request = actions.create_request(plant.engineer, **plant.request_fields("filling-line-1"))
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, request))
    machine = Machine.objects.get(environment__name="filling-line-1")
    Machine.objects.filter(pk=machine.pk).update(host=plant.hosts[0])
    return machine


def named(host: Host) -> dict[tuple[str, str], str]:
    return {(row.kind, row.name): row.detail for row in host.drifts.all()}


def teller(host: Host, fake: FakeHypervisor) -> Callable[[], dict[tuple[str, str], str]]:
    def told() -> dict[tuple[str, str], str]:
        assert read_disks(fake, host.name, SITE, timezone.now())
        # The comparison of domains says nothing of disks, and takes none of them off the list.
        reconcile(host, (), {}, SITE, timezone.now())
        return named(host)

    return told


def test_disks_without_a_machine_and_those_set_aside_are_named_and_left_alone(
    plant: Plant, pool: FakePool
) -> None:
    machine, host = placed(plant), plant.hosts[0]
    fake = pool.host(host.name)
    told = teller(host, fake)
    gone = uuid4()
    disk(fake, "theirs.qcow2", gone, 2)
    disk(fake, "odd.qcow2", "no-uuid", 1)
    disk(fake, "own.qcow2", machine.pk, 3)
    orphans = {
        ("orphan_volume", "theirs.qcow2"): f"machine {gone}, generation 2, 0 MiB",
        ("orphan_volume", "odd.qcow2"): "machine no-uuid, generation 1, 0 MiB",
    }
    assert told() == orphans
    disk(fake, "own.qcow2", machine.pk, 5)
    assert told() == orphans | {
        ("old_disk", "own.qcow2"): f"machine {machine.pk}, generation 3, 0 MiB",
    }
    assert {row.name for row in fake.list_volumes("default")} == {
        "base",
        "odd.qcow2",
        "own-g5.qcow2",
        "own.qcow2",
        "theirs.qcow2",
    }
    fake.remove_volume("default", "own.qcow2")
    assert told() == orphans


def test_a_host_that_hangs_holds_up_neither_rounds_nor_other_hosts(
    plant: Plant, pool: FakePool
) -> None:
    first, second = (host.name for host in plant.hosts)
    for name in (first, second):
        disk(pool.host(name), "theirs.qcow2", uuid4(), 2)
    hosts = Hanging(pool, first, "list_volumes")
    disks = Disks(hosts, SITE)
    try:
        # Were the host asked in this thread, it would not come back: nobody opens the gate before.
        begun = disks.round([first, second])
        assert hosts.asked.wait(LIMIT_S)
        assert begun[second].result(LIMIT_S)
        assert [len(named(host)) for host in plant.hosts] == [0, 1]
        # The other one is looked through round by round, the hanging one is not asked a second time.
        again = disks.round([first, second])
        assert set(again) == {second}
        assert again[second].result(LIMIT_S)
        assert (hosts.times, begun[first].done()) == (1, False)
        hosts.gate.set()
        assert begun[first].result(LIMIT_S)
        assert [len(named(host)) for host in plant.hosts] == [1, 1]
        assert set(disks.round([first, second])) == {first, second}
    finally:
        hosts.gate.set()
        disks.close()


def test_what_a_host_said_stands_while_it_is_frozen_fails_or_is_down(
    plant: Plant, pool: FakePool
) -> None:
    first, second = plant.hosts
    hosts = Hosts(SITE, factory=lambda name, _uri, _site: pool.host(name))
    hosts.sync({host.name: host.uri for host in plant.hosts})
    for host in plant.hosts:
        disk(pool.host(host.name), "theirs.qcow2", uuid4(), 2)
    disks = Disks(hosts, SITE)

    def read() -> tuple[bool, bool]:
        begun = disks.round([first.name, second.name])
        return begun[first.name].result(LIMIT_S), begun[second.name].result(LIMIT_S)

    assert read() == (True, True)
    said = named(first)
    pool.host(first.name).remove_volume("default", "theirs.qcow2")
    pool.host(first.name).freeze()
    assert (read(), named(first)) == ((False, True), said)
    pool.host(first.name).thaw()
    pool.host(first.name).faults.fail_next("list_volumes", RuntimeError("odd"))
    assert (read(), named(first)) == ((False, True), said)
    Host.objects.filter(pk=first.pk).update(health="down")
    assert (read(), named(first)) == ((False, True), said)
    Host.objects.filter(pk=first.pk).update(health="up")
    assert (read(), named(first)) == ((True, True), {})
    assert Drift.objects.count() == 1
    disks.close()
