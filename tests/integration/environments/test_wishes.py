"""What rounds want again keeps its row: number, age, what a person saw; what they want no longer says why."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone
from millwright.balancing import recommending, wishes
from millwright.balancing.models import MovePlan, Recommendation
from millwright.environments.models import DemandSample, Machine, Operation

from tests.integration.environments.test_circling import crossed
from tests.integration.environments.test_draining import machines
from tests.integration.environments.test_recommending import crowded
from tests.support.plant import Plant

__all__ = ["crossed", "crowded", "machines"]
STEP = dt.timedelta(seconds=recommending.EVERY_S)


class Clock:
    """Rounds in virtual time."""

    def __init__(self) -> None:
        self.now = timezone.now() + dt.timedelta(minutes=40)

    def rounds(self, number: int) -> list[int]:
        made = []
        for _ in range(number):
            made.append(recommending.balance_round(self.now))
            self.now += STEP
        return made


@pytest.fixture
def clock() -> Clock:
    return Clock()


def _open() -> Recommendation:
    return Recommendation.objects.get(state="open")


def test_an_unchanged_wish_keeps_its_row_and_can_be_approved_later(
    plant: Plant, crowded: list[Machine], client: Client, clock: Clock
) -> None:
    recommending.set_mode(plant.operator, "recommend")
    clock.rounds(4)
    first = _open()
    clock.rounds(8)
    # One wish, one row: whoever has its number approves it.
    row = Recommendation.objects.get()
    assert (row.pk, row.created_at, row.state) == (first.pk, first.created_at, "open")
    assert row.wanted_at == first.wanted_at + 8 * STEP
    told = client_told(client, plant, row)
    assert (told["id"], told["revision"]) == (first.pk, 1)
    assert recommending.decide(plant.operator, first, approve=True, revision=1).state == "moving"


def client_told(client: Client, plant: Plant, row: Recommendation) -> dict[str, Any]:
    client.force_login(plant.operator)
    return dict(client.get(f"/api/v1/recommendations/{row.pk}/").json())


def test_who_saw_other_numbers_looks_again(
    plant: Plant, crowded: list[Machine], client: Client, clock: Clock
) -> None:
    recommending.set_mode(plant.operator, "recommend")
    clock.rounds(4)
    seen = _open()
    client.force_login(plant.operator)
    assert 'name="revision" value="1"' in client.get("/balancing/").content.decode()
    # A little more is the same thing; much more is not, also when it came little by little.
    for step, revision in ((0.05, 1), (0.05, 1), (0.6, 2)):
        for sample in DemandSample.objects.all():
            DemandSample.objects.filter(pk=sample.pk).update(cpu_ratio=sample.cpu_ratio + step)
        clock.rounds(1)
        row = _open()
        assert (row.pk, row.revision) == (seen.pk, revision)
    assert row.effect["source_before"] > seen.effect["source_before"] + 0.3
    page = client.post(
        "/balancing/", {"verb": "approve", "pk": row.pk, "revision": 1}, follow=True
    ).content.decode()
    assert "it has changed since you looked" in page
    told = client.post(
        f"/api/v1/recommendations/{row.pk}/approve/", {"revision": 1}, "application/json"
    )
    assert told.status_code == 400
    assert row.text in told.json()["detail"]
    assert not Operation.objects.filter(kind="migrate").exists()
    # Rejecting wants no second look; approving what stands there now is taken.
    assert recommending.decide(plant.operator, row, approve=True, revision=2).state == "moving"


def test_what_is_no_longer_wanted_says_why(
    plant: Plant, crowded: list[Machine], client: Client, clock: Clock
) -> None:
    recommending.set_mode(plant.operator, "recommend")
    clock.rounds(4)
    calm = _open()
    kept = list(DemandSample.objects.values_list("pk", "cpu_ratio"))
    DemandSample.objects.update(cpu_ratio=0.1)
    clock.rounds(1)
    calm.refresh_from_db()
    assert (calm.state, calm.note) == ("superseded", "what it was for is over")
    assert calm.ended_at == clock.now - STEP
    for pk, ratio in kept:
        DemandSample.objects.filter(pk=pk).update(cpu_ratio=ratio)
    clock.rounds(4)
    moved = _open()
    assert moved.pk != calm.pk
    Machine.objects.filter(pk=moved.machine_id).update(host=moved.destination)
    clock.rounds(1)
    moved.refresh_from_db()
    assert moved.note == f"the machine is on {moved.destination} now"
    Machine.objects.update(host=moved.source)
    clock.rounds(4)
    off = _open()
    recommending.set_mode(plant.operator, "off")
    off.refresh_from_db()
    assert (off.state, off.note) == ("superseded", "balancing was switched off")
    client.force_login(plant.operator)
    page = client.get("/balancing/").content.decode()
    for row in (calm, moved, off):
        assert row.note in page


def test_while_moves_run_what_waits_goes_on_waiting(
    plant: Plant, crowded: list[Machine], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    recommending.set_mode(plant.operator, "recommend")
    clock.rounds(4)
    first = _open()
    other = next(machine for machine in crowded if machine.pk != first.machine_id)
    running = Operation.objects.create(kind="migrate", machine=other, state="running")
    real = recommending.read_plant

    def moving(*args: Any) -> Any:
        from dataclasses import replace

        plant = real(*args)
        return replace(plant, settings=replace(plant.settings, moves_running=1))

    with monkeypatch.context() as patched:
        patched.setattr(recommending, "read_plant", moving)
        assert clock.rounds(2) == [0, 0]
    assert _open().pk == first.pk
    Operation.objects.filter(pk=running.pk).update(state="failed")
    clock.rounds(1)
    row = Recommendation.objects.get()
    assert (row.pk, row.state, row.wanted_at) == (first.pk, "open", clock.now - STEP)


def test_a_no_holds_while_the_hosts_stand_as_they_did(
    plant: Plant, crowded: list[Machine], client: Client, clock: Clock
) -> None:
    recommending.set_mode(plant.operator, "recommend", max_moves=1)
    clock.rounds(4)
    row = recommending.decide(plant.operator, _open(), approve=False, reason="not during the audit")
    assert row.note == "not during the audit"
    same = Recommendation.objects.filter(machine=row.machine, destination=row.destination)
    clock.rounds(1)
    # It takes nobody's place: the round's one move is the other machine's.
    other = _open()
    assert other.machine_id != row.machine_id
    recommending.decide(plant.operator, other, approve=False)
    clock.rounds(3)
    assert set(Recommendation.objects.values_list("state", flat=True)) == {"rejected"}
    client.force_login(plant.operator)
    page = client.get("/balancing/").content.decode()
    assert f"{row.machine}: a person said no to its move to {row.destination}" in page
    assert "There was nothing to do" not in page
    # Calm between does not end it.
    samples = list(DemandSample.objects.values_list("pk", "cpu_ratio"))
    DemandSample.objects.update(cpu_ratio=0.1)
    clock.rounds(1)
    for pk, ratio in samples:
        DemandSample.objects.filter(pk=pk).update(cpu_ratio=ratio)
    clock.rounds(4)
    assert same.get().state == "rejected"
    # A day later, or once it is another thing, it is asked again.
    late = row.ended_at - wishes.REJECTED_HOLDS
    same.update(ended_at=late)
    clock.rounds(1)
    again = _open()
    assert (again.pk != row.pk, again.created_at) == (True, clock.now - STEP)
    recommending.decide(plant.operator, again, approve=False)
    for sample in DemandSample.objects.all():
        DemandSample.objects.filter(pk=sample.pk).update(cpu_ratio=sample.cpu_ratio + 0.7)
    clock.rounds(1)
    assert _open().pk not in (row.pk, other.pk, again.pk)


def test_a_no_to_a_plan_is_one_to_each_of_its_moves(
    plant: Plant, crossed: dict[str, Machine], clock: Clock
) -> None:
    recommending.set_mode(plant.operator, "recommend")
    clock.rounds(3)
    plan = MovePlan.objects.get(state="open")
    row = plan.moves.order_by("pk").first()
    assert row is not None
    recommending.decide(plant.operator, row, approve=False)
    clock.rounds(3)
    assert not MovePlan.objects.filter(state="open").exists()
    keys = set(plan.moves.values_list("machine", "destination"))
    rows = Recommendation.objects.exclude(plan=plan)
    assert not keys & set(rows.values_list("machine", "destination"))


def test_a_plan_stays_as_a_whole(plant: Plant, crossed: dict[str, Machine], clock: Clock) -> None:
    recommending.set_mode(plant.operator, "recommend")
    clock.rounds(3)
    plan = MovePlan.objects.get(state="open")
    numbers = set(plan.moves.values_list("pk", flat=True))
    clock.rounds(3)
    assert MovePlan.objects.get().pk == plan.pk
    assert set(Recommendation.objects.values_list("pk", flat=True)) == numbers
    row = plan.moves.order_by("pk").first()
    assert row is not None
    with pytest.raises(ValidationError, match="has changed since"):
        recommending.decide(plant.operator, row, approve=True, revision=7)
    # One of its machines went elsewhere: it is another plan, and the old one says why.
    Machine.objects.filter(pk=crossed["idle"].pk).update(movability="never")
    clock.rounds(1)
    plan.refresh_from_db()
    assert plan.state == "superseded"
    assert plan.note.startswith(("one/vplc: ", "two/vplc: "))
    assert set(plan.moves.values_list("state", flat=True)) == {"superseded"}


def test_an_automatic_move_that_cannot_begin_is_one_row(
    plant: Plant, crowded: list[Machine], clock: Clock
) -> None:
    recommending.set_mode(plant.operator, "automatic")
    for machine in crowded:
        Operation.objects.create(kind="restart", machine=machine, state="running")
    clock.rounds(6)
    row = Recommendation.objects.get()
    assert (row.state, "is busy" in row.actual["error"]) == ("superseded", True)
    Operation.objects.filter(kind="restart").update(state="succeeded")
    clock.rounds(1)
    row.refresh_from_db()
    assert (row.state, row.actual, row.note) == ("moving", {}, "")
