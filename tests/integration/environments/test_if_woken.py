"""Where only sleeping hosts have room: a lost host's machines wake one, everybody else is told what waking would bring."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from millwright.audit.models import AuditEntry
from millwright.balancing import asking, draining, filling, recovering
from millwright.balancing.if_woken import if_woken, with_awake
from millwright.balancing.models import Consolidating
from millwright.balancing.plant import read_plant
from millwright.core.balancing import HostState
from millwright.environments.models import Machine, Operation
from millwright.environments.moving import move_machine
from millwright.inventory.models import Host
from millwright.inventory.waking import wakeable

from tests.integration.environments.test_draining import machines
from tests.integration.environments.test_recovering import lost
from tests.integration.orchestrator.test_awaited import asleep
from tests.support.plant import Plant

__all__ = ["lost", "machines"]


@pytest.fixture
def night(plant: Plant, machines: list[Machine]) -> Host:
    """The second host sleeps."""
    return asleep(plant.hosts[1].name, Host.objects.get(pk=plant.hosts[1].pk))


def wakings() -> list[Any]:
    return list(Operation.objects.live().filter(kind="wake_host").order_by("created_at"))


def test_a_lost_host_s_machines_wake_one_whatever_rounds_do(
    plant: Plant, lost: Host, night: Host, machines: list[Machine], client: Client
) -> None:
    assert not Consolidating.objects.exclude(mode="off").exists()
    # That requests leave it asleep does not keep it from those that have lost their host.
    asleep(night.name, night, on_request=False)
    name = str(machines[1])
    plan = recovering.preview(lost)
    assert (plan.starts, plan.left, plan.woken) == ((), (), (night.name,))
    assert [row.machine for row in plan.wakes] == [name]
    assert wakings() == []
    client.force_login(plant.operator)
    text = f"{name} starts on {night.name}, which is woken for it: no host that is awake has room"
    assert text in client.get(f"/pool/{lost.name}/recover/").content.decode()
    told = client.get(f"/api/v1/hosts/{lost.name}/recover/").json()
    assert (told["woken"], told["wakes"][0]["why"]) == ([night.name], text)

    row = recovering.start(plant.operator, lost, confirm_off=True, reason="board burnt")
    assert recovering.recovery_round() == 0
    (waking,) = wakings()
    assert waking.host == night
    reason = f"machines of {lost.name} have room on no host that is awake"
    assert AuditEntry.objects.get(action="host.wake").reason == reason
    # Asked again each round, it is one order, and the recovery is not over.
    assert recovering.recovery_round() == 0
    assert wakings() == [waking]
    row.refresh_from_db()
    assert row.state == "active"
    assert text in [item["why"] for item in row.blockers]
    Operation.objects.filter(pk=waking.pk).update(state="succeeded")
    Host.objects.filter(pk=night.pk).update(power="awake")
    assert recovering.recovery_round() == 1
    assert Operation.objects.get(kind="recover").payload["destination"] == night.name


def test_one_that_does_not_wake_is_left_out_and_the_next_is_woken(
    plant: Plant, lost: Host, night: Host, machines: list[Machine]
) -> None:
    recovering.start(plant.operator, lost, confirm_off=True)
    recovering.recovery_round()
    (first,) = wakings()
    Operation.objects.filter(pk=first.pk).update(state="failed", ended_at=timezone.now())
    assert [row.machine for row in recovering.preview(lost).left] == [str(machines[1])]
    other = asleep("mw0-h3", Host.objects.get(pk=night.pk))
    recovering.recovery_round()
    assert [row.host for row in wakings()] == [other]


def test_as_few_as_are_needed_are_woken_those_that_wake_already_first(
    plant: Plant, lost: Host, night: Host, machines: list[Machine]
) -> None:
    others = [asleep(f"mw0-h{number}", night, watts=number) for number in range(3, 8)]
    assert [row.name for row in wakeable()] == [night.name, *(row.name for row in others)]
    Host.objects.filter(pk=others[2].pk).update(power="waking")
    assert recovering.preview(lost).woken == (others[2].name,)
    with CaptureQueriesContext(connection) as few:
        recovering.preview(lost)
    for number in range(8, 12):
        asleep(f"mw0-h{number}", night, watts=number)
    with CaptureQueriesContext(connection) as more:
        recovering.preview(lost)
    assert len(more) == len(few)


def test_nothing_is_asked_anew_where_no_host_can_be_woken(plant: Plant, night: Host) -> None:
    Host.objects.update(power="awake")
    told = if_woken(["a"], read_plant(), lambda _: pytest.fail("asked"))
    assert (told.places, told.hosts) == ({}, ())
    # A host that is cordoned, or that its policy keeps asleep, is none either.
    asleep(night.name, night)
    Host.objects.filter(pk=night.pk).update(administration="cordoned")
    assert wakeable() == []
    woken = with_awake(read_plant(), [night.name])
    assert {host.name: host.state for host in woken.hosts}[night.name] is HostState.UP


def test_a_drain_says_where_room_would_be(
    plant: Plant, night: Host, machines: list[Machine], client: Client
) -> None:
    Machine.objects.update(movability="free")
    plan = draining.preview(plant.hosts[0])
    assert {row.machine for row in plan.blockers} == {str(row) for row in machines}
    for row in plan.blockers:
        assert row.why.endswith(f"; on {night.name}, which sleeps, it would have room")
    client.force_login(plant.operator)
    page = client.get(f"/pool/{plant.hosts[0].name}/drain/").content.decode()
    assert f"on {night.name}, which sleeps, it would have room" in page
    german = client.get(
        f"/pool/{plant.hosts[0].name}/drain/", headers={"accept-language": "de"}
    ).content.decode()
    assert "which sleeps" not in german
    assert wakings() == []
    # What waking would not help has its reason alone.
    Machine.objects.update(movability="never")
    assert not any("which sleeps" in row.why for row in draining.preview(plant.hosts[0]).blockers)


def test_a_move_wakes_no_host_and_says_so(
    plant: Plant, night: Host, machines: list[Machine]
) -> None:
    with pytest.raises(ValidationError, match="is not awake: wake it first") as caught:
        move_machine(plant.operator, machines[1], night, "fan is noisy")
    assert set(caught.value.message_dict) == {"destination"}
    assert not Operation.objects.live().exists()


def test_why_it_is_not_there_says_that_it_could_be_woken(
    plant: Plant, night: Host, machines: list[Machine], client: Client
) -> None:
    rows = {row.host: row for row in asking.why_here(machines[1]).hosts}
    assert (rows[night.name].accepted, rows[night.name].wake_s) == (False, 90)
    assert rows[night.name].texts == (f"{night.name} is asleep and can be woken in about 90 s",)
    client.force_login(plant.operator)
    told = client.get(f"/api/v1/machines/{machines[1].pk}/explain/").json()
    assert {row["host"]: row["wake_s"] for row in told["hosts"]}[night.name] == 90
    Host.objects.filter(pk=night.pk).update(administration="cordoned")
    rows = {row.host: row for row in asking.why_here(machines[1]).hosts}
    assert rows[night.name].wake_s is None


def test_the_planner_counts_with_those_awake_and_with_all(
    plant: Plant, night: Host, machines: list[Machine], client: Client
) -> None:
    template, size = filling.kinds()[0]
    told = filling.fits(template, size)
    assert (told.asleep, told.wake_s) == (1, 90)
    assert told.with_woken is not None and told.with_woken > told.fits
    assert night.name not in told.per_host
    client.force_login(plant.operator)
    page = client.get("/capacity/", {"kind": f"{template}/{size}"}).content.decode()
    assert "With all woken that sleep" in page
    assert f"<dd>{told.with_woken} (1 host, awake in about 1 min 30 s)</dd>" in page
    answer = client.get("/api/v1/hosts/capacity/", {"template": template, "size": size}).json()
    assert answer["with_woken"] == told.with_woken
    # Awake they are the same number.
    Host.objects.filter(pk=night.pk).update(power="awake")
    awake = filling.fits(template, size)
    assert (awake.fits, awake.with_woken, awake.asleep) == (told.with_woken, None, 0)
    # One that is not woken for machines is not counted.
    asleep(night.name, night, on_request=False)
    assert filling.fits(template, size).with_woken is None
