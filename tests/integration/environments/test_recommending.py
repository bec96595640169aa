"""Balancing rounds over the database: modes, kept reasons, a person's word, nothing twice."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone
from millwright.audit.models import AuditEntry
from millwright.balancing import entitling, measuring, recommending
from millwright.balancing.models import Recommendation
from millwright.core.balancing import Host as PureHost
from millwright.core.balancing import Mode, Vm, Why
from millwright.core.balancing import Move as Move_
from millwright.core.balancing import Plant as PurePlant
from millwright.environments.models import DemandSample, Machine, Move, Operation
from millwright.inventory.models import Host

from tests.integration.environments.test_draining import machines
from tests.support.plant import Plant

__all__ = ["machines"]
STEP = dt.timedelta(seconds=recommending.EVERY_S)


@pytest.fixture
def crowded(plant: Plant, machines: list[Machine]) -> list[Machine]:
    """Two machines that together want more than the first host's three shared CPUs."""
    Machine.objects.update(service_class="shared", movability="free", vcpus=4, cpu_assignment={})
    now = timezone.now()
    for minute in range(0, 120, 5):
        for machine in machines:
            DemandSample.objects.create(
                machine=machine, at=now + dt.timedelta(minutes=minute), cpu_ratio=2.2
            )
    return machines


def _rounds(number: int) -> list[int]:
    now = timezone.now() + dt.timedelta(minutes=40)
    return [recommending.balance_round(now + index * STEP) for index in range(number)]


def test_off_does_nothing_and_shadow_moves_nothing(plant: Plant, crowded: list[Machine]) -> None:
    assert _rounds(6) == [0] * 6
    recommending.set_mode(plant.operator, "shadow")
    assert sum(_rounds(6)) > 0
    assert set(Recommendation.objects.values_list("state", flat=True)) == {"shadow"}
    assert not Operation.objects.filter(kind="migrate").exists()


def test_a_person_approves_with_the_reason_before_his_eyes(
    plant: Plant, crowded: list[Machine], client: Client
) -> None:
    recommending.set_mode(plant.operator, "recommend")
    _rounds(4)
    row = Recommendation.objects.filter(state="open").get()
    assert (row.source, row.destination) == tuple(plant.hosts)
    assert row.effect["net"] > 0
    client.force_login(plant.operator)
    assert row.text.split()[0] in client.get("/balancing/").content.decode()
    client.post("/balancing/", {"verb": "approve", "pk": row.pk})
    row.refresh_from_db()
    assert row.state == "moving"
    assert row.operation is not None
    assert row.operation.payload["destination"] == row.destination.name
    with pytest.raises(ValidationError, match="already"):
        recommending.decide(plant.operator, row, approve=False)


def test_what_a_person_approved_rests_as_what_moved_by_itself(
    plant: Plant, crowded: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    recommending.set_mode(plant.operator, "recommend")
    _rounds(4)
    row = Recommendation.objects.filter(state="open").get()
    recommending.decide(plant.operator, row, approve=True)
    moved = str(row.machine)
    kept = recommending.balancer().state
    assert kept["moved"] == {moved: kept["number"]}
    assert kept["left"] == {moved: {row.source.name: kept["number"]}}
    Operation.objects.filter(kind="migrate").update(state="succeeded")
    # Both are on the other host by now: the one that rests stays, and it does not go back.
    Machine.objects.update(host=row.destination)
    now = timezone.now() + dt.timedelta(minutes=70)
    for index in range(3):
        recommending.balance_round(now + index * STEP)
    again = Recommendation.objects.filter(state="open").get()
    assert str(again.machine) != moved
    # An approval while a round is being made is not forgotten by what the round writes.
    real = recommending.balance

    def meanwhile(*args: Any, **named: Any) -> Any:
        made = real(*args, **named)
        monkeypatch.setattr(recommending, "balance", real)
        recommending.decide(plant.operator, again, approve=True)
        return made

    monkeypatch.setattr(recommending, "balance", meanwhile)
    recommending.balance_round(now + 3 * STEP)
    assert set(recommending.balancer().state["moved"]) == {moved, str(again.machine)}


def test_memory_alone_is_a_reason_and_its_ratios_are_shown_and_measured(
    plant: Plant, machines: list[Machine], client: Client
) -> None:
    gib = 2**30
    Host.objects.update(memory_bytes=7 * gib // 2)
    Machine.objects.update(
        service_class="shared", movability="free", cpu_assignment={}, memory_bytes=3 * gib // 2
    )
    now = timezone.now() + dt.timedelta(minutes=40)
    for machine in machines:
        for minutes in range(-5, 120, 5):
            DemandSample.objects.create(
                machine=machine,
                at=now + dt.timedelta(minutes=minutes),
                cpu_ratio=0.01,
                memory_bytes=3 * gib // 2,
            )
    recommending.set_mode(plant.operator, "recommend")
    _rounds(4)
    row = Recommendation.objects.filter(state="open").get()
    assert row.why == "memory"
    assert "of its memory for" in row.text
    before, after = row.effect["memory_source_before"], row.effect["memory_source_after"]
    assert before > 0.93 > after
    client.force_login(plant.operator)
    shown = f"<div>{row.source} {before * 100:.0f} % → {after * 100:.0f} %</div>"
    expected = client.get("/balancing/").content.decode().count(shown)
    assert expected == Recommendation.objects.count()
    moving = recommending.decide(plant.operator, row, approve=True)
    Operation.objects.filter(pk=moving.operation_id).update(state="succeeded", ended_at=now)
    Machine.objects.filter(pk=row.machine_id).update(host=row.destination)
    assert measuring.measure_round(now + dt.timedelta(minutes=30)) == 1
    row.refresh_from_db()
    assert row.actual["memory_source"] == pytest.approx(after, abs=1e-3)
    assert row.actual["memory_target"] == pytest.approx(row.effect["memory_target_after"], abs=1e-3)
    # Expected and measured, side by side.
    assert client.get("/balancing/").content.decode().count(shown) == expected + 1


def test_automatic_moves_and_a_round_is_not_made_twice(
    plant: Plant, crowded: list[Machine]
) -> None:
    recommending.set_mode(plant.operator, "automatic")
    now = timezone.now() + dt.timedelta(minutes=40)
    for index in range(6):
        recommending.balance_round(now + index * STEP)
        assert recommending.balance_round(now + index * STEP) == 0
    assert Operation.objects.filter(kind="migrate").count() >= 1
    assert not Recommendation.objects.filter(state="open").exists()


def test_nothing_is_decided_while_a_move_runs(plant: Plant, crowded: list[Machine]) -> None:
    recommending.set_mode(plant.operator, "automatic")
    operation = Operation.objects.create(kind="migrate", machine=crowded[0], state="running")
    move = Move.objects.create(
        operation=operation,
        machine=crowded[0],
        source=plant.hosts[0],
        destination=plant.hosts[1],
        generation=2,
        state="prepared",
    )
    assert sum(_rounds(6)) == 0
    Move.objects.filter(pk=move.pk).update(state="undone")
    Operation.objects.filter(pk=operation.pk).update(state="failed")
    recommending.balancer().__class__.objects.update(last_round=None)
    assert sum(_rounds(3)) > 0


def test_only_what_has_room_and_hands_now_begins(
    plant: Plant, crowded: list[Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a chain the last one first, of one host two at a time; the rest is decided anew, without a rest."""
    gib = 2**30
    hosts = tuple(PureHost(f"h{n}", 8, 8 * gib) for n in (1, 2, 3))
    vms = [Vm("a", 1, 6 * gib, host="h1"), Vm("b", 1, 6 * gib, host="h2")]
    chain = [_move("a", "h1", "h2"), _move("b", "h2", "h3")]
    assert recommending._ready(PurePlant(hosts, tuple(vms)), chain) == {"b"}
    small = tuple(Vm(f"s{n}", 1, gib, host="h1") for n in range(4))
    many = [_move(vm.name, "h1", "h2") for vm in small]
    assert len(recommending._ready(PurePlant(hosts, small), many)) == 2
    recommending.set_mode(plant.operator, "automatic")
    with monkeypatch.context() as full:
        full.setattr(recommending, "_ready", lambda *_: set())
        assert sum(_rounds(4)) > 0
    assert set(Recommendation.objects.values_list("state", flat=True)) == {"superseded"}
    assert not Operation.objects.filter(kind="migrate").exists()
    assert recommending.balancer().state["moved"] == {}
    recommending.balancer().__class__.objects.update(last_round=None)
    assert sum(_rounds(1)) > 0
    assert Operation.objects.filter(kind="migrate").exists()


def _move(name: str, source: str, target: str) -> Move_:
    return Move_(name, source, target, Why.CONTENTION, "", 1.0, mode=Mode.AUTOMATIC)


def test_a_machine_has_a_mode_of_its_own(
    plant: Plant, crowded: list[Machine], client: Client
) -> None:
    """Off, shadow and the others for one machine, over what its pool and the plant say."""
    recommending.set_mode(plant.operator, "automatic")
    client.force_login(plant.operator)
    page = client.get(f"/machines/{crowded[0].pk}/place/").content.decode()
    assert 'name="balance_mode"' in page
    for machine, mode in zip(crowded, ("off", "shadow"), strict=True):
        told = client.post(
            f"/api/v1/machines/{machine.pk}/entitlement/",
            {"balance_mode": mode},
            "application/json",
        )
        assert told.json()["balance_mode"] == mode
    wrong = client.post(
        f"/api/v1/machines/{crowded[0].pk}/entitlement/",
        {"balance_mode": "wild"},
        "application/json",
    )
    assert wrong.status_code == 400
    with pytest.raises(ValidationError, match="'wild': one of off"):
        entitling.set_entitlement(plant.operator, crowded[0], balance_mode="wild")
    assert sum(_rounds(6)) > 0
    assert {(row.machine, row.state) for row in Recommendation.objects.all()} == {
        (crowded[1], "shadow")
    }
    # Rounds are made for one machine too, where the plant does nothing.
    recommending.set_mode(plant.operator, "off")
    entitling.set_entitlement(plant.operator, crowded[1], balance_mode="automatic")
    recommending.balancer().__class__.objects.update(last_round=None, state={})
    assert sum(_rounds(6)) > 0
    assert {row.machine for row in Operation.objects.filter(kind="migrate")} == {crowded[1]}


def test_the_pool_is_shown_before_and_after(
    plant: Plant, crowded: list[Machine], client: Client
) -> None:
    recommending.set_mode(plant.operator, "recommend")
    _rounds(4)
    row = Recommendation.objects.filter(state="open").get()
    source, target = recommending.before_after()
    assert source.before.cpu == pytest.approx(4.4 / 3, abs=0.001)
    assert source.after.cpu == target.after.cpu == pytest.approx(2.2 / 3, abs=0.001)
    assert (target.before.cpu, source.touched, target.touched) == (0.0, True, True)
    assert recommending.before_after(row) == [source, target]
    client.force_login(plant.operator)
    page = client.get("/balancing/").content.decode()
    assert "after all moves that wait" in page
    assert "147 %" in page
    assert "73 %" in page
    one = client.get(f"/balancing/?look={row.pk}").content.decode()
    assert f"with {row.machine} on {row.destination}" in one
    told = client.get(f"/api/v1/recommendations/{row.pk}/heat/").json()
    assert told == client.get("/api/v1/recommendations/heat/").json()
    assert told[0]["before"]["cpu"] == source.before.cpu
    drain = client.get(f"/pool/{plant.hosts[0].name}/drain/").content.decode()
    assert "when the host is empty" in drain
    recommending.decide(plant.operator, row, approve=False)
    assert "after all moves that wait" not in client.get("/balancing/").content.decode()


@pytest.mark.parametrize("how", ["busy", "never", "stopped"])
def test_an_approval_that_is_refused_changes_nothing_and_says_why(
    plant: Plant, crowded: list[Machine], client: Client, how: str
) -> None:
    recommending.set_mode(plant.operator, "recommend")
    _rounds(4)
    row = Recommendation.objects.filter(state="open").get()
    changes = {"never": {"movability": "never"}, "stopped": {"observed": "stopped"}}
    Machine.objects.filter(pk=row.machine_id).update(**changes.get(how, {}))
    busy = Operation.objects.filter(pk=None)
    if how == "busy":
        made = Operation.objects.create(kind="stop", machine=row.machine, state="running")
        busy = Operation.objects.filter(pk=made.pk)
    words = {"busy": "is busy", "never": "never moved", "stopped": "is off, and its disk"}[how]
    client.force_login(plant.operator)
    page = client.post("/balancing/", {"verb": "approve", "pk": row.pk}, follow=True)
    assert words in page.content.decode()
    told = client.post(f"/api/v1/recommendations/{row.pk}/approve/", {}, "application/json")
    assert told.status_code == 400
    assert words in told.json()["detail"]
    row.refresh_from_db()
    assert (row.state, row.operation, row.decided_by) == ("open", None, None)
    assert not Operation.objects.filter(kind="migrate").exists()
    assert not AuditEntry.objects.filter(action="recommendation.approve").exists()
    # It waits on: once nothing is in the way it can be approved.
    busy.update(state="succeeded")
    Machine.objects.filter(pk=row.machine_id).update(movability="free", observed="running")
    assert recommending.decide(plant.operator, row, approve=True).state == "moving"


def test_a_machine_that_went_elsewhere_meanwhile_is_not_moved(
    plant: Plant, crowded: list[Machine]
) -> None:
    recommending.set_mode(plant.operator, "recommend")
    _rounds(4)
    row = Recommendation.objects.filter(state="open").get()
    Machine.objects.filter(pk=row.machine_id).update(host=row.destination)
    with pytest.raises(ValidationError, match="has moved meanwhile"):
        recommending.decide(plant.operator, row, approve=True)
    assert not Operation.objects.filter(kind="migrate").exists()


def test_an_automatic_move_that_is_refused_keeps_the_reason(
    plant: Plant, crowded: list[Machine], client: Client
) -> None:
    recommending.set_mode(plant.operator, "automatic")
    for machine in crowded:
        Operation.objects.create(kind="restart", machine=machine, state="running")
    _rounds(4)
    rows = list(Recommendation.objects.all())
    assert rows
    assert {row.state for row in rows} == {"superseded"}
    assert all("is busy" in row.actual["error"] for row in rows)
    # It did not move: it does not rest, and the next rounds want the same: one row.
    assert recommending.balancer().state["moved"] == {}
    assert [row.wanted_at - row.created_at for row in rows] == [2 * STEP]
    client.force_login(plant.operator)
    assert "is busy" in client.get("/balancing/").content.decode()
