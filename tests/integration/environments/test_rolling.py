"""A rolling drain: foretold, host after host, paused, waiting with its reason, skipped, stopped, timed."""

from __future__ import annotations

import datetime as dt

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone
from millwright.accounts.permissions import PermissionRefused
from millwright.audit.models import AuditEntry
from millwright.balancing import draining, rolling
from millwright.balancing.models import HostDrain, RollingDrain
from millwright.environments import moving
from millwright.environments.models import Machine, Move, Operation
from millwright.inventory.models import Host

from tests.integration.environments.test_draining import _arrived, machines
from tests.support.plant import Plant

__all__ = ["machines"]


def _states(row: RollingDrain) -> list[str]:
    row.refresh_from_db()
    return [str(entry["state"]) for entry in row.progress]


def _administration(host: Host) -> str:
    return str(Host.objects.get(pk=host.pk).administration)


def test_it_is_foretold_and_what_is_wrong_is_said(plant: Plant, machines: list[Machine]) -> None:
    names = [host.name for host in plant.hosts]
    plan = rolling.preview(names, 30)
    assert [(row.host, row.moves, row.blockers) for row in plan.hosts] == [
        (names[0], 2, ()),
        (names[1], 2, ()),
    ]
    assert plan.asks
    assert plan.seconds > 3600
    for wrong, words in (([], "from 1 to"), (["h9"], "no host"), ([names[0]] * 2, "named twice")):
        with pytest.raises(ValidationError, match=words):
            rolling.preview(wrong)
    with pytest.raises(ValidationError, match="minutes"):
        rolling.preview(names, 10**6)
    with pytest.raises(ValidationError, match="approves"):
        rolling.start(plant.operator, names)
    with pytest.raises(PermissionRefused):
        rolling.start(plant.engineer, names, approve=True)


def test_host_after_host_with_a_pause_and_a_stop(plant: Plant, machines: list[Machine]) -> None:
    first, second = plant.hosts
    row = rolling.start(plant.operator, [first.name, second.name], approve=True, reason="kernel")
    with pytest.raises(ValidationError, match="already"):
        rolling.start(plant.operator, [second.name], approve=True)
    assert rolling.rolling_round() == 1
    assert _states(row) == ["draining", "waiting"]
    # Paused, nothing is started; it goes on where it was.
    rolling.pause(plant.operator, row)
    assert draining.drain_round() == rolling.rolling_round() == 0
    assert not Operation.objects.filter(kind="migrate").exists()
    rolling.resume(plant.operator, row)
    assert draining.drain_round() == 2
    for machine in machines:
        _arrived(machine, second)
    draining.drain_round()
    rolling.rolling_round()
    assert _states(row) == ["work", "waiting"]
    assert _administration(first) == "maintenance"
    # Nobody has said that the work is done: the other host is not touched.
    assert rolling.rolling_round(timezone.now() + dt.timedelta(days=2)) == 0
    Host.objects.filter(pk=first.pk).update(health="down")
    with pytest.raises(ValidationError, match="does not answer"):
        rolling.work_done(plant.operator, row)
    Host.objects.filter(pk=first.pk).update(health="up")
    rolling.work_done(plant.operator, row)
    assert _administration(first) == "schedulable"
    rolling.rolling_round()
    assert _states(row) == ["done", "draining"]
    rolling.stop(plant.operator, row)
    assert _administration(second) == "schedulable"
    assert _states(row) == ["done", "waiting"]
    draining.drain_round()
    assert set(HostDrain.objects.values_list("state", flat=True)) == {"done", "cancelled"}
    assert rolling.rolling_round() == 0
    told = AuditEntry.objects.filter(action__startswith="rolling.").order_by("pk")
    assert [entry.action.split(".")[1] for entry in told] == [
        "start",
        "pause",
        "resume",
        "work_done",
        "stop",
    ]
    with pytest.raises(ValidationError, match="stopped"):
        rolling.resume(plant.operator, row)


def test_what_cannot_leave_is_waited_for_and_can_be_left_out(
    plant: Plant, machines: list[Machine]
) -> None:
    first, second = plant.hosts
    moving.set_movability(plant.operator, machines[0], "never")
    plan = rolling.preview([first.name, second.name])
    assert plan.blocked
    assert "never moves" in plan.hosts[0].blockers[0]
    row = rolling.start(plant.operator, [first.name, second.name], work_minutes=10, approve=True)
    assert rolling.rolling_round() == 0
    row.refresh_from_db()
    assert "never moves" in row.note
    assert _administration(first) == "schedulable"
    rolling.skip(plant.operator, row)
    now = timezone.now()
    assert rolling.rolling_round(now) == 1
    draining.drain_round()
    assert rolling.rolling_round(now) == 1
    assert _states(row) == ["skipped", "work"]
    assert rolling.rolling_round(now + dt.timedelta(minutes=9)) == 0
    assert rolling.rolling_round(now + dt.timedelta(minutes=11)) == 1
    assert _administration(second) == "schedulable"
    assert rolling.rolling_round(now + dt.timedelta(minutes=11)) == 1
    row.refresh_from_db()
    assert (row.state, row.note) == ("done", "")


def test_a_host_that_does_not_answer_is_named_beforehand(
    plant: Plant, machines: list[Machine]
) -> None:
    first, second = plant.hosts
    Host.objects.filter(pk=first.pk).update(health="suspect")
    Host.objects.filter(pk=second.pk).update(health="down")
    plan = rolling.preview([first.name, second.name])
    assert [row.blockers for row in plan.hosts] == [
        (f"{first.name} is not answering at the moment: machines leave only a host that answers",),
        (f"{second.name} is down: machines leave only a host that answers",),
    ]


def test_what_a_disk_holds_here_is_told_beforehand(plant: Plant, machines: list[Machine]) -> None:
    first, second = plant.hosts
    Machine.objects.filter(pk=machines[1].pk).update(observed="stopped")
    told = rolling.preview([first.name]).hosts[0].blockers
    assert told == (
        f"{machines[1]} is off, and its disk lies on {first.name} alone:"
        " only while it runs is the disk copied",
    )
    for host in Host.objects.all():
        host.policy["shared_storage"] = "san"
        host.save()
    assert rolling.preview([first.name, second.name]).hosts[0].moves == 2


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_host_in_maintenance_that_has_machines_is_drained_first(
    plant: Plant, machines: list[Machine], when: str
) -> None:
    first, second = plant.hosts
    names = [first.name]
    row = rolling.start(plant.operator, names, approve=True)
    if when == "meanwhile":
        assert rolling.rolling_round() == 1
        assert _states(row) == ["draining"]
    Host.objects.filter(pk=first.pk).update(administration="maintenance")
    if when == "meanwhile":
        draining.drain_round()
        assert rolling.rolling_round() == 1
        assert _states(row) == ["waiting"]
    assert rolling.rolling_round() == 1
    assert (_states(row), _administration(first)) == (["draining"], "draining")
    assert draining.drain_round() == 2
    for machine in machines:
        _arrived(machine, second)
    draining.drain_round()
    rolling.rolling_round()
    assert (_states(row), _administration(first)) == (["work"], "maintenance")


def test_a_host_in_maintenance_to_which_a_machine_is_on_its_way_is_waited_for(
    plant: Plant, machines: list[Machine]
) -> None:
    first, second = plant.hosts
    Machine.objects.update(host=second)
    operation = Operation.objects.create(
        kind="migrate", machine=machines[1], state="running", payload={"destination": first.name}
    )
    Move.objects.create(
        operation=operation, machine=machines[1], source=second, destination=first, generation=2
    )
    Host.objects.filter(pk=first.pk).update(administration="maintenance")
    row = rolling.start(plant.operator, [first.name], approve=True)
    assert rolling.rolling_round() == 0
    row.refresh_from_db()
    assert (_states(row), str(machines[1]) in row.note) == (["waiting"], True)
    Move.objects.update(state="undone")
    Operation.objects.update(state="failed")
    assert rolling.rolling_round() == 1
    assert _states(row) == ["work"]


def test_a_host_taken_back_by_hand_pauses_it(plant: Plant, machines: list[Machine]) -> None:
    row = rolling.start(plant.operator, [plant.hosts[0].name], approve=True)
    rolling.rolling_round()
    Host.objects.filter(pk=plant.hosts[0].pk).update(administration="schedulable")
    draining.drain_round()
    rolling.rolling_round()
    row.refresh_from_db()
    assert row.state == "paused"
    assert "by hand" in row.note


def test_pages_and_interface(plant: Plant, machines: list[Machine], client: Client) -> None:
    client.force_login(plant.operator)
    first, second = (host.name for host in plant.hosts)
    assert "No rolling drain yet" in client.get("/rolling-drains/").content.decode()
    form = {"host": [first, second], f"order-{first}": "2", f"order-{second}": "1"}
    page = client.post("/rolling-drains/new/", {**form, "verb": "preview", "ends": "person"})
    text = page.content.decode()
    assert "2 machines move" in text
    assert text.index(f"<b>{second}</b>") < text.index(f"<b>{first}</b>")
    assert not RollingDrain.objects.exists()
    wrong = {**form, "ends": "time", "minutes": "soon", "verb": "preview"}
    assert client.post("/rolling-drains/new/", wrong).status_code == 422
    client.post("/rolling-drains/new/", {**form, "verb": "start", "approve": "on"})
    row = RollingDrain.objects.get()
    assert row.hosts == [second, first]
    rolling.rolling_round()
    page = client.get(f"/rolling-drains/{row.pk}/").content.decode()
    assert "0 of 2 hosts" in page
    assert "is being emptied" in page
    client.post(f"/rolling-drains/{row.pk}/act/", {"verb": "pause"})
    assert client.get("/api/v1/rolling-drains/?state=paused").json()["results"][0]["id"] == row.pk
    call = f"/api/v1/rolling-drains/{row.pk}"
    assert client.post(f"{call}/resume/", {}, "application/json").json()["state"] == "active"
    assert client.post(f"{call}/done/", {}, "application/json").status_code == 400
    assert client.post(f"{call}/stop/", {}, "application/json").json()["state"] == "stopped"
    plan = client.post(
        "/api/v1/rolling-drains/preview/", {"hosts": [first]}, "application/json"
    ).json()
    assert plan["hosts"][0]["moves"] == 2


# --- hosts that sleep ----------------------------------------------------------------------------


def _asleep(host: Host) -> None:
    Machine.objects.filter(host=host).update(host=None)
    sleep = {"by": "suspend", "wake": "magic_packet", "mac": "52:54:00:12:34:56"}
    Host.objects.filter(pk=host.pk).update(
        power="asleep", power_since=timezone.now(), policy=host.policy | {"sleep": sleep}
    )
    host.refresh_from_db()


def _note(row: RollingDrain) -> str:
    row.refresh_from_db()
    return row.note


def test_a_drain_of_a_host_that_sleeps_is_done_at_once_and_it_sleeps_on(
    plant: Plant, machines: list[Machine]
) -> None:
    host = plant.hosts[1]
    _asleep(host)
    assert draining.preview(host).blockers == ()
    draining.start(plant.operator, host, reason="a new fan")
    draining.drain_round()
    host.refresh_from_db()
    assert (host.administration, host.power) == ("maintenance", "asleep")
    assert not Operation.objects.filter(kind="wake_host").exists()


@pytest.mark.parametrize("administration", ["schedulable", "maintenance"])
def test_a_host_that_sleeps_is_woken_before_it_is_worked_on(
    plant: Plant, machines: list[Machine], administration: str
) -> None:
    host = plant.hosts[1]
    _asleep(host)
    Host.objects.filter(pk=host.pk).update(administration=administration)
    plan = rolling.preview([host.name], 30)
    (planned,) = plan.hosts
    assert (planned.asleep, planned.moves, planned.blockers) == (True, 0, ())
    assert plan.seconds == 30 * 60 + 180
    row = rolling.start(plant.operator, [host.name], reason="kernel")
    for _ in range(2):
        assert rolling.rolling_round() == 0
    (operation,) = Operation.objects.filter(kind="wake_host")
    assert (operation.host, operation.requested_by) == (host, plant.operator)
    assert "it is woken first" in _note(row)
    assert _states(row) == ["waiting"]
    # It does not wake: that is said, and tried again by the clock, not by the drain.
    Operation.objects.filter(pk=operation.pk).update(
        state="failed", ended_at=timezone.now(), error="no answer in time"
    )
    rolling.rolling_round()
    assert "does not wake: no answer in time" in _note(row)
    assert Operation.objects.filter(kind="wake_host").count() == 1
    Host.objects.filter(pk=host.pk).update(power="awake")
    rolling.rolling_round()
    if administration == "schedulable":
        assert _states(row) == ["draining"]
        draining.drain_round()
        rolling.rolling_round()
    assert _states(row) == ["work"]
    assert _note(row) == ""
    rolling.work_done(plant.operator, row)
    assert _administration(host) == "schedulable"


def test_where_a_person_ends_the_waking_it_waits_for_a_person(
    plant: Plant, machines: list[Machine]
) -> None:
    host = plant.hosts[1]
    _asleep(host)
    row = rolling.start(plant.operator, [host.name], reason="kernel")
    rolling.rolling_round()
    Operation.objects.filter(kind="wake_host").update(state="cancelled", ended_at=timezone.now())
    rolling.rolling_round()
    assert "was ended by hand" in _note(row)
    assert row.state == "paused"
    rolling.rolling_round()
    assert Operation.objects.filter(kind="wake_host").count() == 1
    # Told to go on, it wakes it anew.
    rolling.resume(plant.operator, row)
    rolling.rolling_round()
    assert Operation.objects.filter(kind="wake_host").count() == 2


def test_without_the_right_to_wake_it_says_whose_word_is_missing(
    plant: Plant, machines: list[Machine]
) -> None:
    host = plant.hosts[1]
    _asleep(host)
    row = rolling.start(plant.operator, [host.name], reason="kernel")
    RollingDrain.objects.filter(pk=row.pk).update(requested_by=plant.engineer)
    rolling.rolling_round()
    assert str(plant.engineer) in _note(row)
    assert not Operation.objects.filter(kind="wake_host").exists()
