"""What rounds do while people, or other drains and recoveries, do something else: each decides by what is true then."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.utils import timezone
from millwright.balancing import draining, recommending, recovering, rolling
from millwright.balancing.models import HostDrain, HostRecovery, Recommendation, RollingDrain
from millwright.core.lifecycle import HostAdministration
from millwright.environments import actions, moving
from millwright.environments.models import DemandSample, Machine, Move, Operation
from millwright.inventory.actions import administer_host
from millwright.inventory.models import Host

from tests.support.plant import Plant


@pytest.fixture
def hosts(plant: Plant) -> list[Host]:
    """Four alike, of 9 GiB and six shared CPUs; a machine of 6 GiB on each of the first two, all that fits."""
    plant.project.quota_environments = 9
    plant.project.save()
    cpus = [{"id": cpu} for cpu in range(6)]
    policy = {"shared_cpus": "0-5", "best_effort": True, "memory_reserved_bytes": 0}
    for number in (3, 4):
        row = Host.objects.get(pk=plant.hosts[1].pk)
        row.pk, row.name, row.uri = None, f"mw0-h{number}", f"fake://mw0-h{number}"
        row.save()
    Host.objects.update(topology={"cpus": cpus}, policy=policy, health="up", memory_bytes=9 * 2**30)
    found = list(Host.objects.order_by("name"))
    for name, host in zip(("one", "two"), found, strict=False):
        made = actions.create_request(plant.engineer, **plant.request_fields(name))
        actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
        Machine.objects.filter(environment__name=name).update(host=host)
    Operation.objects.update(state="succeeded")
    Machine.objects.update(
        service_class="shared",
        movability="free",
        recovery="recoverable",
        cpu_assignment={},
        observed="running",
        memory_bytes=6 * 2**30,
    )
    return found


def _machine(name: str) -> Machine:
    return Machine.objects.select_related("environment", "host").get(environment__name=name)


def _on_its_way(machine: Machine, to: Host, actor: Any) -> Move:
    operation = moving.move_machine(actor, machine, to, "asked")
    Operation.objects.filter(pk=operation.pk).update(state="running")
    return Move.objects.create(
        operation=operation, machine=machine, source=machine.host, destination=to, generation=9
    )


def test_a_drain_waits_for_what_is_on_its_way_to_its_host(plant: Plant, hosts: list[Host]) -> None:
    first, _second, third, _fourth = hosts
    move = _on_its_way(_machine("one"), third, plant.operator)
    draining.start(plant.operator, third, reason="new fan")
    draining.drain_round()
    assert HostDrain.objects.get().state == "active"
    assert Host.objects.get(pk=third.pk).administration == "draining"
    # It is said what is waited for.
    (blocker,) = HostDrain.objects.get().blockers
    assert blocker["machine"] == "one/vplc"
    assert "on its way to mw0-h3" in blocker["why"]
    # It arrives, and leaves with the others.
    Machine.objects.filter(pk=move.machine_id).update(host=third)
    Move.objects.update(state="done")
    Operation.objects.update(state="succeeded")
    assert draining.drain_round() == 1
    assert Operation.objects.filter(kind="migrate", state="queued").get().machine_id == (
        move.machine_id
    )
    assert first != third


def test_a_host_that_is_taken_back_while_a_round_plans_is_not_emptied(
    plant: Plant, hosts: list[Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = hosts[0]
    draining.start(plant.operator, first)
    reads = draining.read_plant

    def meanwhile(*args: Any) -> Any:
        found = reads(*args)
        administer_host(plant.operator, first, HostAdministration.SCHEDULABLE)
        return found

    monkeypatch.setattr(draining, "read_plant", meanwhile)
    assert draining.drain_round() == 0
    assert not Operation.objects.filter(kind="migrate").exists()
    assert HostDrain.objects.get().state == "cancelled"


def test_an_empty_host_that_is_taken_back_meanwhile_stays_in_use(
    plant: Plant, hosts: list[Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    third = hosts[2]
    draining.start(plant.operator, third)
    looks = draining.machines_on_hosts

    def meanwhile() -> Any:
        administer_host(plant.operator, third, HostAdministration.SCHEDULABLE)
        return looks()

    monkeypatch.setattr(draining, "machines_on_hosts", meanwhile)
    draining.drain_round()
    assert Host.objects.get(pk=third.pk).administration == "schedulable"
    assert HostDrain.objects.get().state == "cancelled"


def test_two_drains_do_not_count_on_the_same_room(plant: Plant, hosts: list[Host]) -> None:
    for host in hosts[:2]:
        draining.start(plant.operator, host)
    assert draining.drain_round() == 2
    moves = Operation.objects.filter(kind="migrate")
    assert {row.payload["destination"] for row in moves} == {"mw0-h3", "mw0-h4"}


def test_a_drain_knows_of_the_room_that_a_persons_move_holds(
    plant: Plant, hosts: list[Host]
) -> None:
    draining.start(plant.operator, hosts[0])
    plan = draining.preview(hosts[0])
    wanted = next(host for host in hosts if host.name == plan.moves[0].destination)
    _on_its_way(_machine("two"), wanted, plant.operator)
    assert draining.drain_round() == 1
    begun = Operation.objects.get(kind="migrate", state="queued")
    # Nor to where the other one still is.
    assert begun.payload["destination"] not in {wanted.name, "mw0-h2"}


def test_two_recoveries_do_not_count_on_the_same_room(plant: Plant, hosts: list[Host]) -> None:
    for host in hosts[:2]:
        Host.objects.filter(pk=host.pk).update(health="down")
    Machine.objects.update(observed="unknown")
    for host in hosts[:2]:
        recovering.start(plant.operator, host, confirm_off=True)
    assert recovering.recovery_round() == 2
    starts = Operation.objects.filter(kind="recover")
    assert {row.payload["destination"] for row in starts} == {"mw0-h3", "mw0-h4"}
    assert HostRecovery.objects.filter(blockers=[]).count() == 2


def test_what_a_person_switches_off_while_a_round_decides_does_not_begin(
    plant: Plant, hosts: list[Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    # More vCPUs wanted than there are, and a neighbour that could leave.
    Machine.objects.update(host=hosts[0], vcpus=6, memory_bytes=2**30)
    recommending.set_mode(plant.operator, "automatic", sustain_rounds=1)
    for machine in Machine.objects.all():
        DemandSample.objects.create(machine=machine, at=timezone.now(), cpu_ratio=5.0)
    decides = recommending.balance

    def meanwhile(*args: Any, **more: Any) -> Any:
        made = decides(*args, **more)
        assert made.moves
        recommending.set_mode(plant.operator, "off")
        return made

    monkeypatch.setattr(recommending, "balance", meanwhile)
    assert recommending.balance_round() == 0
    assert not Operation.objects.filter(kind="migrate").exists()
    assert not Recommendation.objects.exclude(state="superseded").exists()


def test_a_rolling_drain_says_that_who_began_it_may_not_go_on(
    plant: Plant, hosts: list[Host]
) -> None:
    row = rolling.start(plant.operator, ["mw0-h3", "mw0-h4"], work_minutes=20)
    rolling.rolling_round()
    draining.drain_round()
    rolling.rolling_round()
    assert RollingDrain.objects.get().progress[0]["state"] == "work"
    type(plant.operator).objects.filter(pk=plant.operator.pk).update(plant_role="")
    rolling.rolling_round(timezone.now() + dt.timedelta(minutes=21))
    row.refresh_from_db()
    assert row.progress[0]["state"] == "work"
    assert row.note.startswith("oda, who began it, does not keep the pool any more")
    assert row.waiting_since is not None
    # Another one takes it over.
    rolling.pause(plant.administrator, row)
    rolling.resume(plant.administrator, row)
    rolling.rolling_round(timezone.now() + dt.timedelta(minutes=22))
    rolling.rolling_round(timezone.now() + dt.timedelta(minutes=22))
    row.refresh_from_db()
    assert [each["state"] for each in row.progress] == ["done", "draining"]
    assert row.note == ""
