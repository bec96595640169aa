"""A drain: told beforehand, refused with reasons, carried on by rounds, ended in maintenance."""

from __future__ import annotations

import datetime as dt

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone
from millwright.audit.models import AuditEntry
from millwright.balancing import draining, recommending
from millwright.balancing.models import HostDrain, PlacementRule
from millwright.balancing.plant import read_plant
from millwright.core import balancing as core
from millwright.core.lifecycle import HostAdministration
from millwright.environments import actions, moving
from millwright.environments.models import DemandSample, Machine, Operation
from millwright.inventory.actions import administer_host
from millwright.inventory.models import CpuClaim, DeviceClaim, Host
from millwright.inventory.snapshot import OVERHEAD_BYTES

from tests.support.plant import Plant


@pytest.fixture
def machines(plant: Plant) -> list[Machine]:
    """Two running machines on the first host, one of them a controller with a CPU; room on the second."""
    plant.project.quota_environments = 9
    plant.project.save()
    source = plant.hosts[0]
    cpus = [{"id": cpu, "core": cpu, "socket": 0, "node": 0, "siblings": [cpu]} for cpu in range(6)]
    policy = {
        "housekeeping_cpus": "0",
        "realtime_cpus": "1-2",
        "shared_cpus": "3-5",
        "best_effort": True,
        "memory_reserved_bytes": 0,
    }
    for host in plant.hosts:
        Host.objects.filter(pk=host.pk).update(
            topology={**host.topology, "cpus": cpus}, policy=policy, health="up", memory_bytes=2**34
        )
    for name in ("one", "two"):
        made = actions.create_request(plant.engineer, **plant.request_fields(name))
        actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    Operation.objects.update(state="succeeded")
    Machine.objects.update(host=source, observed="running")
    one, two = Machine.objects.order_by("environment__name")
    assignment = {"vcpus": {"0": "0", "1": "1"}, "emulator": "0", "claims": {"1": "1"}, "unmet": []}
    Machine.objects.filter(pk=one.pk).update(cpu_assignment=assignment)
    CpuClaim.objects.create(host=source, cpu=1, machine=one, vcpu=1, operation=one.pk)
    Machine.objects.filter(pk=two.pk).update(service_class="shared", movability="free")
    return list(Machine.objects.order_by("environment__name"))


def _arrived(machine: Machine, host: Host) -> None:
    Operation.objects.filter(machine=machine, kind="migrate").update(state="succeeded")
    Machine.objects.filter(pk=machine.pk).update(host=host)


def test_the_plant_is_read_with_what_was_used_lately(
    plant: Plant, machines: list[Machine], django_assert_max_num_queries: object
) -> None:
    for ratio in (0.5, 1.5):
        DemandSample.objects.create(
            machine=machines[1],
            at=timezone.now(),
            cpu_ratio=ratio,
            wait_ratio=0.25,
            memory_bytes=int(ratio * 2**26),
        )
    # Of an hour ago: only the long average.
    DemandSample.objects.create(
        machine=machines[1],
        at=timezone.now() - dt.timedelta(minutes=50),
        cpu_ratio=4.0,
        memory_bytes=int(2.5 * 2**26),
    )
    rule = PlacementRule.objects.create(name="apart", kind="apart")
    rule.machines.set(machines)
    with django_assert_max_num_queries(13):  # type: ignore[operator]
        read = read_plant()
    controller, worker = sorted(read.vms, key=lambda vm: vm.name)
    assert (controller.cores, worker.cores) == (1, 0)
    assert (worker.demand_short, worker.demand_peak) == (1.25, 4.0)
    assert worker.demand_long == pytest.approx((0.75 + 1.75 + 4.0) / 3)
    # What it used of its memory, by the larger average; of the controller nothing was told.
    assert worker.memory_active_bytes == int(1.5 * 2**26) + OVERHEAD_BYTES
    assert controller.memory_active_bytes is None
    assert [(host.cores, host.cpus) for host in read.hosts] == [(2, 3.0), (2, 3.0)]
    assert read.rules[0].vms == tuple(str(machine) for machine in machines)


def test_a_cpu_that_keeps_house_and_is_shared_counts(plant: Plant) -> None:
    assert {host.policy["shared_cpus"] for host in plant.hosts} == {"0"}
    assert {host.policy["housekeeping_cpus"] for host in plant.hosts} == {"0"}
    assert [host.cpus for host in read_plant().hosts] == [1.0, 1.0]


def test_it_is_told_beforehand_and_wants_a_persons_word(
    plant: Plant, machines: list[Machine], client: Client
) -> None:
    plan = draining.preview(plant.hosts[0])
    assert [(move.machine, move.approval) for move in sorted(plan.moves, key=str)] == [
        (str(machines[0]), True),
        (str(machines[1]), False),
    ]
    assert {move.destination for move in plan.moves} == {plant.hosts[1].name}
    assert not plan.blockers
    with pytest.raises(ValidationError, match="approves"):
        draining.start(plant.operator, plant.hosts[0])
    client.force_login(plant.operator)
    page = client.get(f"/pool/{plant.hosts[0].name}/drain/").content.decode()
    assert str(machines[0]) in page
    assert 'name="approve"' in page
    assert not HostDrain.objects.exists()


def test_what_cannot_leave_is_named_and_nothing_begins(
    plant: Plant, machines: list[Machine], client: Client
) -> None:
    moving.set_movability(plant.operator, machines[0], "never")
    Machine.objects.filter(pk=machines[1].pk).update(observed="stopped")
    blockers = {row.machine: row.why for row in draining.preview(plant.hosts[0]).blockers}
    assert "never moves" in blockers[str(machines[0])]
    assert "its disk lies on mw0-h1 alone" in blockers[str(machines[1])]
    with pytest.raises(ValidationError) as told:
        draining.start(plant.operator, plant.hosts[0], approve=True)
    assert sorted(told.value.messages) == sorted(blockers.values())
    assert Host.objects.get(pk=plant.hosts[0].pk).administration == "schedulable"
    client.force_login(plant.operator)
    assert b"never moves" in client.get(f"/pool/{plant.hosts[0].name}/drain/").content


def test_rounds_carry_it_on_to_maintenance(plant: Plant, machines: list[Machine]) -> None:
    source, other = plant.hosts
    draining.start(plant.operator, source, approve=True, reason="new fan")
    with pytest.raises(ValidationError, match="already"):
        draining.start(plant.operator, source, approve=True)
    assert draining.drain_round() == 2
    moves = Operation.objects.filter(kind="migrate")
    assert {row.payload["destination"] for row in moves} == {other.name}
    assert draining.drain_round() == 0
    _arrived(machines[0], other)
    # The other one failed: it is named, and left to a person.
    moves.filter(machine=machines[1]).update(state="failed", error="no route")
    assert draining.drain_round() == 0
    assert HostDrain.objects.get().blockers == [
        {
            "machine": str(machines[1]),
            "why": "no route",
            "parts": [{"code": "text", "facts": {"text": "no route"}}],
        }
    ]
    _arrived(machines[1], other)
    assert draining.drain_round() == 0
    drain = HostDrain.objects.get()
    assert (drain.state, drain.blockers) == ("done", [])
    assert Host.objects.get(pk=source.pk).administration == "maintenance"
    assert AuditEntry.objects.filter(action="host.maintenance").count() == 1


def _third(host: Host) -> Host:
    third = Host.objects.get(pk=host.pk)
    third.pk, third.name, third.uri = None, "mw0-h3", "fake://h3"
    third.save()
    return third


@pytest.mark.parametrize("state", ["stopped", "crashed"])
def test_a_machine_that_is_off_leaves_for_a_host_that_sees_its_disk(
    plant: Plant, machines: list[Machine], state: str
) -> None:
    source, other = plant.hosts
    third = _third(other)
    Machine.objects.update(movability="free", service_class="shared", observed=state)
    # The better one by room does not see the disks.
    for host, storage in ((source, "san"), (third, "san"), (other, "nas")):
        Host.objects.filter(pk=host.pk).update(policy={**host.policy, "shared_storage": storage})
    Host.objects.filter(pk=other.pk).update(memory_bytes=2**36)
    plan = draining.preview(Host.objects.get(pk=source.pk))
    assert not plan.blockers
    assert [move.destination for move in plan.moves] == [third.name] * 2
    # Neither memory nor disks are carried.
    assert plan.seconds < 1
    with pytest.raises(ValidationError, match="mw0-h2 does not see its disk"):
        moving.move_machine(plant.operator, Machine.objects.first(), other)
    draining.start(plant.operator, source)
    assert draining.drain_round() == 2
    moves = Operation.objects.filter(kind="migrate")
    assert {row.payload["destination"] for row in moves} == {third.name}
    for machine in machines:
        _arrived(machine, third)
    draining.drain_round()
    assert Host.objects.get(pk=source.pk).administration == "maintenance"


def test_where_nobody_else_sees_its_disk_a_machine_that_is_off_stays(
    plant: Plant, machines: list[Machine]
) -> None:
    source, other = plant.hosts
    Machine.objects.update(observed="stopped")
    policy = {**source.policy, "shared_storage": "san"}
    Host.objects.filter(pk=source.pk).update(policy=policy)
    whys = [row.why for row in draining.preview(Host.objects.get(pk=source.pk)).blockers]
    assert len(whys) == 2
    assert all("storage:san" in why for why in whys)
    # One without a disk has none that anybody has to see.
    Machine.objects.update(disk_bytes=0)
    assert not draining.preview(Host.objects.get(pk=source.pk)).blockers
    assert moving.move_machine(plant.operator, machines[1], other).kind == "migrate"


def test_a_card_of_its_host_holds_a_machine_only_while_it_runs(
    plant: Plant, machines: list[Machine]
) -> None:
    DeviceClaim.objects.create(
        host=plant.hosts[0], address="0000:65:00.0", machine=machines[1], operation=machines[1].pk
    )
    assert "graphics card" in moving.why_not_movable(machines[1], approved=True)
    Machine.objects.update(observed="stopped", disk_bytes=0)
    assert moving.why_not_movable(Machine.objects.get(pk=machines[1].pk), approved=True) == ""


def test_a_drain_keeps_to_the_limit_of_a_link(plant: Plant, machines: list[Machine]) -> None:
    """One at a time between two racks, whoever began the other; within a rack as many as hosts let."""
    source, other = plant.hosts
    Host.objects.filter(pk=source.pk).update(labels={"domain": "a"})
    Host.objects.filter(pk=other.pk).update(labels={"domain": "b"})
    recommending.set_mode(plant.operator, "off", link_moves=1)
    draining.start(plant.operator, source, approve=True)
    assert draining.drain_round() == 1
    assert draining.drain_round() == 0
    assert HostDrain.objects.get().blockers == []
    moves = Operation.objects.filter(kind="migrate")
    begun = moves.get().machine
    _arrived(begun, other)
    begun.refresh_from_db()
    # A person's move over the same link counts, and is not held back.
    back = moving.move_machine(plant.operator, begun, source, "asked", approved=True)
    assert draining.drain_round() == 0
    # Nothing of the drain itself is under way: what it waits for is told.
    (held,) = HostDrain.objects.get().blockers
    assert "as many moves as the plant lets go over its link are under way" in held["why"]
    Operation.objects.filter(pk=back.pk).update(state="failed", error="no")
    assert draining.drain_round() == 1
    assert HostDrain.objects.get().blockers == []
    moves.filter(state="queued").delete()
    Machine.objects.update(host=source)
    Host.objects.update(labels={"domain": "a"})
    Operation.objects.all().delete()
    assert draining.drain_round() == 2


def test_an_automatic_round_keeps_to_the_limit_of_a_link(plant: Plant) -> None:
    hosts = tuple(core.Host(name, 8, 2**35, domain=name[0]) for name in ("a1", "b1", "b2"))
    vms = tuple(core.Vm(f"v{n}", 2, 2**30, "a1") for n in range(2))
    moves = [
        core.Move(f"v{n}", "a1", f"b{n + 1}", core.Why.EVEN, "", 0.0, mode=core.Mode.AUTOMATIC)
        for n in range(2)
    ]
    for most, begin in ((0, {"v0", "v1"}), (2, {"v0", "v1"}), (1, {"v0"})):
        told = core.Plant(hosts, vms, settings=core.Settings(link_moves=most))
        assert len(recommending._ready(told, moves)) == len(begin)


def test_what_makes_room_elsewhere_goes_first(plant: Plant, machines: list[Machine]) -> None:
    """The large one fits nowhere until one of the small ones has gone to the other's host."""
    first, second = plant.hosts
    third = _third(second)
    made = actions.create_request(plant.engineer, **plant.request_fields("three"))
    actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    Operation.objects.update(state="succeeded")
    CpuClaim.objects.all().delete()
    Machine.objects.update(
        service_class="shared", movability="free", cpu_assignment={}, observed="running"
    )
    places = {"one": (first, 6), "two": (second, 4), "three": (third, 4)}
    for name, (host, size) in places.items():
        rows = Machine.objects.filter(environment__name=name)
        rows.update(host=host, memory_bytes=size * 2**30)
    Host.objects.update(memory_bytes=9 * 2**30)
    plan = draining.preview(first)
    assert [move.machine for move in plan.moves][-1] == "one/vplc"
    assert len(plan.moves) == 2
    assert not plan.blockers
    draining.start(plant.operator, first)
    assert draining.drain_round() == 1
    small = Operation.objects.get(kind="migrate")
    assert small.machine.environment.name in ("two", "three")
    # It is on its way: the large one waits for its room.
    assert draining.drain_round() == 0
    other = Host.objects.get(name=small.payload["destination"])
    assert other != first
    _arrived(small.machine, other)
    assert draining.drain_round() == 1
    large = Operation.objects.filter(kind="migrate").latest("created_at")
    assert (str(large.machine), HostDrain.objects.get().blockers) == ("one/vplc", [])
    assert large.payload["destination"] == places[small.machine.environment.name][0].name


def test_it_ends_when_a_person_takes_the_host_back(plant: Plant, machines: list[Machine]) -> None:
    draining.start(plant.operator, plant.hosts[0], approve=True)
    host = Host.objects.get(pk=plant.hosts[0].pk)
    administer_host(plant.operator, host, HostAdministration.SCHEDULABLE)
    assert draining.drain_round() == 0
    assert HostDrain.objects.get().state == "cancelled"
    assert not Operation.objects.filter(kind="migrate").exists()


@pytest.mark.parametrize(("health", "recovers"), [("down", True), ("suspect", False)])
def test_of_a_host_that_does_not_answer_the_page_says_so_and_offers_no_drain(
    plant: Plant, machines: list[Machine], client: Client, health: str, recovers: bool
) -> None:
    host = plant.hosts[0]
    # Also when nothing is on it.
    for other in (True, False):
        Machine.objects.update(host=plant.hosts[1] if other else host, observed="unknown")
        Host.objects.filter(pk=host.pk).update(health=health)
        host.refresh_from_db()
        plan = draining.preview(host)
        assert (plan.moves, plan.seconds) == ((), 0.0)
        state = "down" if health == "down" else "not answering at the moment"
        assert [row.why for row in plan.blockers] == [
            f"{host.name} is {state}: machines leave only a host that answers"
        ]
        with pytest.raises(ValidationError, match="only a host that answers"):
            draining.start(plant.operator, host, approve=True)
        client.force_login(plant.operator)
        page = client.get(f"/pool/{host.name}/drain/").content.decode()
        assert plan.blockers[0].why in page
        assert "Drain it" not in page
        assert (f"/pool/{host.name}/recover/" in page) is recovers
        told = client.get(f"/api/v1/hosts/{host.name}/drain/").json()
        assert (told["possible"], told["moves"]) == (False, [])
    assert not HostDrain.objects.exists()


def test_with_the_other_host_down_nothing_can_leave_and_each_reason_is_said(
    plant: Plant, machines: list[Machine]
) -> None:
    Host.objects.filter(pk=plant.hosts[1].pk).update(health="down")
    plan = draining.preview(plant.hosts[0])
    assert plan.moves == ()
    assert {row.machine: row.why for row in plan.blockers} == {
        str(machine): f"no other host takes {machine}: hosts that take nothing new: 1"
        for machine in machines
    }
