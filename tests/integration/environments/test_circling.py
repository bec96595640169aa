"""Moves that belong together: shown, approved and carried out as one, over a third host, whatever happens on the way."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone
from millwright.accounts.permissions import PermissionRefused
from millwright.audit.models import AuditEntry
from millwright.balancing import circling, measuring, recommending
from millwright.balancing.models import MovePlan, Recommendation
from millwright.balancing.plant import read_plant
from millwright.core.balancing import violations
from millwright.environments import actions
from millwright.environments.models import DemandSample, Machine, Operation
from millwright.inventory.models import CpuClaim, Host

from tests.integration.environments.test_draining import machines
from tests.support.plant import Plant

__all__ = ["machines"]
GIB = 2**30
STEP = dt.timedelta(seconds=recommending.EVERY_S)


@pytest.fixture
def crossed(plant: Plant, machines: list[Machine]) -> dict[str, Machine]:
    """A busy machine on a crowded host, an idle one on another, memory full on both; room for one on a third."""
    first, second = plant.hosts
    third = Host.objects.get(pk=second.pk)
    third.pk, third.name, third.uri = None, "mw0-h3", "fake://h3"
    third.save()
    plant.project.quota_realtime_cores = 9
    plant.project.save()
    for name in ("three", "four", "five"):
        made = actions.create_request(plant.engineer, **plant.request_fields(name))
        actions.approve_request(plant.approver, actions.submit_request(plant.engineer, made))
    Operation.objects.update(state="succeeded")
    CpuClaim.objects.all().delete()
    Machine.objects.update(
        service_class="shared", movability="free", cpu_assignment={}, observed="running", vcpus=4
    )
    Host.objects.update(memory_bytes=33 * GIB)
    # Named by what they do: busy, idle, and what stays on each host.
    now, found = timezone.now(), {}
    for word, name, host, size, cpus in (
        ("busy", "one", first, 8, 1.9),
        ("idle", "two", second, 6, 0.1),
        ("stays1", "three", first, 24, 1.0),
        ("stays2", "four", second, 24, 0.1),
        ("stays3", "five", third, 24, 2.55),
    ):
        machine = Machine.objects.get(environment__name=name)
        Machine.objects.filter(pk=machine.pk).update(
            host=host,
            memory_bytes=size * GIB,
            movability="never" if word.startswith("stays") else "free",
        )
        for minute in range(0, 180, 5):
            DemandSample.objects.create(
                machine=machine,
                at=now + dt.timedelta(minutes=minute),
                cpu_ratio=cpus,
                memory_bytes=GIB,
            )
        found[word] = machine
    return found


def _decided(plant: Plant, mode: str) -> MovePlan:
    recommending.set_mode(plant.operator, mode)
    now = timezone.now() + dt.timedelta(minutes=40)
    for index in range(3):
        recommending.balance_round(now + index * STEP)
        if MovePlan.objects.exclude(state="superseded").exists():
            break
    return MovePlan.objects.exclude(state="superseded").get()


def _begun() -> list[tuple[str, str]]:
    """Moves that run: machine and destination."""
    live = Operation.objects.live().filter(kind="migrate").order_by("created_at")
    return [(str(row.machine), str(row.payload["destination"])) for row in live]


def _ended(state: str = "succeeded", error: str = "") -> None:
    """Every running move ends so."""
    for row in Operation.objects.live().filter(kind="migrate"):
        Operation.objects.filter(pk=row.pk).update(
            state=state, error=error, ended_at=timezone.now()
        )
        if state == "succeeded":
            host = Host.objects.get(name=row.payload["destination"])
            Machine.objects.filter(pk=row.machine_id).update(host=host)
    assert not violations(read_plant())


def test_all_steps_are_seen_and_approved_as_one_and_carried_out_in_order(
    plant: Plant, crossed: dict[str, Machine], client: Client
) -> None:
    plan = _decided(plant, "recommend")
    assert [(step["machine"], step["target"], step["aside"]) for step in plan.steps] == [
        ("two/vplc", "mw0-h3", True),
        ("one/vplc", "mw0-h2", False),
        ("two/vplc", "mw0-h1", False),
    ]
    rows = list(plan.moves.order_by("pk"))
    assert {str(row.machine) for row in rows} == {"one/vplc", "two/vplc"}
    client.force_login(plant.operator)
    page = client.get("/balancing/").content.decode()
    assert "two/vplc: mw0-h2 → mw0-h3" in page
    assert page.count("Approve all steps") == 1
    told = client.get(f"/api/v1/recommendations/{rows[0].pk}/").json()["plan"]
    assert [step["target"] for step in told["steps"]] == ["mw0-h3", "mw0-h2", "mw0-h1"]
    # Whichever of its moves is shown or approved: it is the whole.
    assert {
        change.after.host for change in recommending.before_after(rows[0]) if change.touched
    } == {"mw0-h1", "mw0-h2"}
    with pytest.raises(PermissionRefused):
        recommending.decide(plant.engineer, rows[0], approve=True)
    assert circling.plan_round() == 0
    client.post("/balancing/", {"verb": "approve", "pk": rows[1].pk})
    plan.refresh_from_db()
    assert (plan.state, plan.approved, plan.decided_by) == ("active", True, plant.operator)
    assert set(recommending.balancer().state["moved"]) == {"one/vplc", "two/vplc"}
    with pytest.raises(ValidationError, match="already"):
        recommending.decide(plant.operator, rows[0], approve=True)
    later = timezone.now() + dt.timedelta(hours=1)
    for step in (("two/vplc", "mw0-h3"), ("one/vplc", "mw0-h2"), ("two/vplc", "mw0-h1")):
        assert circling.plan_round() == 1
        assert _begun() == [step]
        assert "under way" in client.get("/balancing/").content.decode()
        # While it runs nothing more begins, and rounds decide nothing between its steps either.
        assert circling.plan_round() == 0
        later += STEP
        assert recommending.balance_round(later) == 0
        _ended()
    assert circling.plan_round() == 0
    plan.refresh_from_db()
    assert (plan.state, [step["state"] for step in plan.steps]) == ("done", ["done"] * 3)
    for word, host in (("busy", "mw0-h2"), ("idle", "mw0-h1")):
        assert Machine.objects.get(pk=crossed[word].pk).host.name == host
    # Each move is measured by the step that brought the machine to its aim.
    assert measuring.measure_round(timezone.now() + dt.timedelta(minutes=20)) == 2
    assert {row.state for row in Recommendation.objects.filter(plan=plan)} == {"moved"}
    verbs = AuditEntry.objects.filter(action__in=("recommendation.approve", "plan.end"))
    assert verbs.count() == 2


@pytest.fixture
def uneven(crossed: dict[str, Machine]) -> dict[str, Machine]:
    """Room for all; the first host is crowded, and no move is worth it unless the idle machine comes for the busy."""
    Host.objects.update(memory_bytes=66 * GIB)
    Host.objects.filter(name="mw0-h3").update(administration="cordoned")
    for word, cpus in (("busy", 1.7), ("stays1", 1.3), ("idle", 0.6), ("stays2", 0.7)):
        DemandSample.objects.filter(machine=crossed[word]).update(cpu_ratio=cpus)
    return crossed


def test_machines_that_change_places_are_seen_approved_and_carried_out_as_one(
    plant: Plant, uneven: dict[str, Machine], client: Client
) -> None:
    recommending.set_mode(plant.operator, "recommend", level=5)
    plan = _decided(plant, "recommend")
    steps = {(step["machine"], step["target"], step["aside"]) for step in plan.steps}
    assert steps == {("one/vplc", "mw0-h2", False), ("two/vplc", "mw0-h1", False)}
    client.force_login(plant.operator)
    page = client.get("/balancing/").content.decode()
    assert page.count("Approve all steps") == 1
    assert "one/vplc goes to mw0-h2 and two/vplc comes from there" in page
    row = plan.moves.first()
    assert row is not None
    told = client.get(f"/api/v1/recommendations/{row.pk}/").json()["plan"]
    assert len(told["steps"]) == 2
    client.post("/balancing/", {"verb": "approve", "pk": row.pk})
    # Where one fits beside the other both may go at once.
    while circling.plan_round():
        _ended()
    plan.refresh_from_db()
    assert (plan.state, plan.approved) == ("done", True)
    for word, host in (("busy", "mw0-h2"), ("idle", "mw0-h1")):
        assert Machine.objects.get(pk=uneven[word].pk).host.name == host


def test_half_of_an_exchange_is_not_approved(plant: Plant, uneven: dict[str, Machine]) -> None:
    recommending.set_mode(plant.operator, "recommend", level=5)
    plan = _decided(plant, "recommend")
    one, other = plan.moves.order_by("pk")
    recommending.decide(plant.operator, one, approve=False)
    with pytest.raises(ValidationError, match="already"):
        recommending.decide(plant.operator, other, approve=True)
    assert {row.state for row in plan.moves.all()} == {"rejected"}
    assert (circling.plan_round(), _begun()) == (0, [])


def test_a_crash_in_the_middle_leaves_a_plan_that_is_continued(
    plant: Plant, crossed: dict[str, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = _decided(plant, "automatic")
    assert plan.state == "active"
    real = circling.move_machine

    def dies(*args: Any, **more: Any) -> Operation:
        real(*args, **more)
        raise RuntimeError("killed")

    for step in (("two/vplc", "mw0-h3"), ("one/vplc", "mw0-h2"), ("two/vplc", "mw0-h1")):
        before = plan.steps
        monkeypatch.setattr(circling, "move_machine", dies)
        with pytest.raises(RuntimeError):
            circling.plan_round()
        # Neither the move nor its record is there without the other.
        plan.refresh_from_db()
        assert (plan.steps, _begun()) == (before, [])
        monkeypatch.setattr(circling, "move_machine", real)
        assert circling.plan_round() == 1
        assert _begun() == [step]
        plan.refresh_from_db()
        _ended()
    circling.plan_round()
    plan.refresh_from_db()
    assert plan.state == "done"


def test_a_middle_step_that_fails_is_planned_anew_and_given_up_at_last(
    plant: Plant, crossed: dict[str, Machine]
) -> None:
    plan = _decided(plant, "automatic")
    circling.plan_round()
    _ended()
    for attempt in range(circling.TRIES):
        assert circling.plan_round() == 1
        assert _begun() == [("one/vplc", "mw0-h2")]
        _ended("failed", f"it did not converge, {attempt}")
    assert circling.plan_round() == 0
    plan.refresh_from_db()
    assert plan.state == "given_up"
    assert "one/vplc: it did not converge" in plan.note
    rows = Recommendation.objects.filter(plan=plan)
    assert {(row.state, row.actual["error"]) for row in rows} == {("failed", plan.note)}
    # The machine that stood aside stays where every rule lets it; rounds go on from there.
    assert Machine.objects.get(pk=crossed["idle"].pk).host.name == "mw0-h3"
    assert AuditEntry.objects.filter(action="plan.give_up").count() == 1
    assert circling.under_way() == 0


def test_where_a_machine_could_not_stand_aside_another_host_is_taken(
    plant: Plant, crossed: dict[str, Machine]
) -> None:
    plan = _decided(plant, "automatic")
    fourth = Host.objects.get(name="mw0-h3")
    fourth.pk, fourth.name, fourth.uri = None, "mw0-h4", "fake://h4"
    fourth.save()
    circling.plan_round()
    (first,) = _begun()
    _ended("failed", "no route to host")
    assert circling.plan_round() == 1
    (second,) = _begun()
    assert first[0] == second[0] == "two/vplc"
    assert {first[1], second[1]} == {"mw0-h3", "mw0-h4"}
    plan.refresh_from_db()
    assert [step["state"] for step in plan.steps][:2] == ["failed", "running"]


def test_what_cannot_go_on_waits_with_the_reason_and_is_given_up_in_the_end(
    plant: Plant, crossed: dict[str, Machine], client: Client
) -> None:
    plan = _decided(plant, "automatic")
    now = timezone.now()
    MovePlan.objects.update(progress_at=now)
    Host.objects.filter(name="mw0-h3").update(administration="cordoned")
    assert circling.plan_round(now + dt.timedelta(minutes=1)) == 0
    plan.refresh_from_db()
    assert plan.state == "active"
    assert "no order of moves makes room" in plan.note
    client.force_login(plant.operator)
    assert "no order of moves makes room" in client.get("/balancing/").content.decode()
    # It goes on by itself when it can.
    Host.objects.filter(name="mw0-h3").update(administration="schedulable")
    other = Operation.objects.create(kind="migrate", machine=crossed["stays3"], state="running")
    assert circling.plan_round(now + dt.timedelta(minutes=20)) == 0
    plan.refresh_from_db()
    assert (plan.state, plan.note) == ("active", "other moves are under way: five/vplc")
    Operation.objects.filter(pk=other.pk).update(state="succeeded")
    Host.objects.filter(name="mw0-h3").update(administration="cordoned")
    assert circling.plan_round(now + dt.timedelta(minutes=30)) == 0
    plan.refresh_from_db()
    assert plan.state == "active"
    assert circling.plan_round(now + dt.timedelta(minutes=31)) == 0
    plan.refresh_from_db()
    assert plan.state == "given_up"
    assert "no order of moves makes room" in plan.note
    assert not Operation.objects.filter(kind="migrate").exclude(pk=other.pk).exists()


def test_beside_a_move_that_does_not_end_it_is_given_up_with_the_reason(
    plant: Plant, crossed: dict[str, Machine]
) -> None:
    plan = _decided(plant, "automatic")
    now = timezone.now()
    assert circling.plan_round(now) == 1
    # Its first step ends, and meanwhile somebody's move has begun to ask a question that nobody answers.
    _ended()
    other = Operation.objects.create(kind="migrate", machine=crossed["stays3"], state="waiting")
    # A step that ended is progress: from then on the time counts, whatever it was before.
    since = now + dt.timedelta(hours=2)
    for minutes in range(0, 31, 5):
        assert circling.plan_round(since + dt.timedelta(minutes=minutes)) == 0
        plan.refresh_from_db()
        assert (plan.state, plan.progress_at) == ("active", since)
    assert recommending.balance_round(since + dt.timedelta(minutes=30)) == 0
    assert circling.plan_round(since + circling.PATIENCE + dt.timedelta(seconds=1)) == 0
    plan.refresh_from_db()
    assert (plan.state, plan.note) == ("given_up", "other moves are under way: five/vplc")
    assert AuditEntry.objects.get(action="plan.give_up").details["why"] == plan.note
    # Whoever stood aside stays where every rule lets it; the other move is nobody's business here.
    assert Machine.objects.get(pk=crossed["idle"].pk).host.name == "mw0-h3"
    assert not violations(read_plant())
    other.refresh_from_db()
    assert other.state == "waiting"


def test_a_person_stops_it_between_two_steps(
    plant: Plant, crossed: dict[str, Machine], client: Client
) -> None:
    plan = _decided(plant, "automatic")
    circling.plan_round()
    client.force_login(plant.operator)
    assert "Begin no further step" in client.get("/balancing/").content.decode()
    row = plan.moves.first()
    assert row is not None
    found = client.post(
        f"/api/v1/recommendations/{row.pk}/reject/",
        {"reason": "shift change"},
        content_type="application/json",
    )
    assert found.status_code == 200, found.content
    assert found.json()["plan"]["state"] == "given_up"
    _ended()
    assert circling.plan_round() == 0
    assert _begun() == []
    assert AuditEntry.objects.get(action="plan.stop").reason == "shift change"


def test_it_is_shown_only_in_shadow_and_rejected_or_superseded_as_a_whole(
    plant: Plant, crossed: dict[str, Machine]
) -> None:
    plan = _decided(plant, "shadow")
    assert (plan.state, {row.state for row in plan.moves.all()}) == ("shadow", {"shadow"})
    plan.delete()
    plan = _decided(plant, "recommend")
    Machine.objects.filter(pk=crossed["idle"].pk).update(observed="stopped")
    row = plan.moves.get(machine=crossed["busy"])
    with pytest.raises(ValidationError, match="two/vplc is off, and its disk"):
        recommending.decide(plant.operator, row, approve=True)
    Machine.objects.filter(pk=crossed["idle"].pk).update(observed="running")
    recommending.decide(plant.operator, row, approve=False)
    plan.refresh_from_db()
    assert (plan.state, {each.state for each in plan.moves.all()}) == ("rejected", {"rejected"})
    plan.delete()
    Balancer_ = recommending.balancer()
    Balancer_.last_round = None
    Balancer_.save()
    plan = _decided(plant, "recommend")
    recommending.set_mode(plant.operator, "off")
    plan.refresh_from_db()
    assert (plan.state, {each.state for each in plan.moves.all()}) == (
        "superseded",
        {"superseded"},
    )


def test_a_machine_that_is_gone_ends_it_with_the_reason(
    plant: Plant, crossed: dict[str, Machine]
) -> None:
    plan = _decided(plant, "automatic")
    circling.plan_round()
    _ended()
    Machine.objects.filter(pk=crossed["busy"].pk).update(host=None)
    assert circling.plan_round() == 0
    plan.refresh_from_db()
    assert (plan.state, plan.note) == ("given_up", "on no host any more: one/vplc")


def test_what_was_approved_goes_over_no_other_host_than_was_seen(
    plant: Plant, crossed: dict[str, Machine]
) -> None:
    plan = _decided(plant, "recommend")
    recommending.decide(plant.operator, plan.moves.order_by("pk")[0], approve=True)
    fourth = Host.objects.get(name="mw0-h3")
    fourth.pk, fourth.name, fourth.uri = None, "mw0-h4", "fake://h4"
    fourth.save()
    Host.objects.filter(name="mw0-h3").update(administration="cordoned")
    assert circling.plan_round() == 0
    plan.refresh_from_db()
    assert (plan.state, _begun()) == ("active", [])
    assert plan.note
    Host.objects.filter(name="mw0-h3").update(administration=fourth.administration)
    assert circling.plan_round() == 1
    assert _begun() == [("two/vplc", "mw0-h3")]


def test_balancing_that_is_turned_off_begins_no_further_step_by_itself(
    plant: Plant, crossed: dict[str, Machine]
) -> None:
    plan = _decided(plant, "automatic")
    assert circling.plan_round() == 1
    recommending.set_mode(plant.operator, "off")
    _ended()
    assert circling.plan_round() == 0
    plan.refresh_from_db()
    assert (plan.state, _begun()) == ("given_up", [])
    assert "automatically" in plan.note


def test_a_round_that_was_decided_beside_an_approval_is_forgotten(
    plant: Plant, crossed: dict[str, Machine], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = _decided(plant, "recommend")
    real = recommending.balance

    def meanwhile(*args: Any, **named: Any) -> Any:
        made = real(*args, **named)
        recommending.decide(plant.operator, plan.moves.order_by("pk")[0], approve=True)
        return made

    before = recommending.balancer().last_round
    monkeypatch.setattr(recommending, "balance", meanwhile)
    assert recommending.balance_round(timezone.now() + dt.timedelta(hours=2)) == 0
    assert recommending.balancer().last_round == before
    assert [row.state for row in MovePlan.objects.exclude(state="superseded")] == ["active"]
    assert set(plan.moves.values_list("state", flat=True)) == {"moving"}
