"""What a machine is promised is given by its host each round; what moves brought is measured; why it is here."""

from __future__ import annotations

import datetime as dt
from typing import Any
from uuid import UUID

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone
from millwright.accounts.permissions import PermissionRefused
from millwright.audit.models import AuditEntry
from millwright.balancing import asking, entitling, measuring, recommending
from millwright.balancing.models import MachineShare, PlacementRule, Recommendation
from millwright.environments.models import DemandSample, Machine, Move, Operation
from millwright.hypervisor import HostUnreachable, Share, Unsupported
from millwright.inventory.models import Host

from tests.integration.environments.test_draining import machines
from tests.support.plant import Plant

__all__ = ["machines"]
GIB = 2**30


class Given:
    """Hosts that give what is asked, and remember it."""

    def __init__(self) -> None:
        self.shares: dict[UUID, Share] = {}
        self.calls = 0
        self.error: Exception | None = None

    def __call__(
        self, host: str, machine: UUID, weight: int, quota: float | None, memory: int | None
    ) -> Share:
        self.calls += 1
        if self.error is not None:
            raise self.error
        self.shares[machine] = Share(weight, quota, memory)
        return self.shares[machine]


@pytest.fixture
def two(plant: Plant, machines: list[Machine]) -> list[Machine]:
    """Two shared machines on one host that both want more than there is."""
    Machine.objects.update(
        service_class="shared",
        movability="free",
        cpu_assignment={},
        vcpus=4,
        memory_bytes=4 * GIB,
        observed_at=timezone.now() - dt.timedelta(hours=1),
    )
    now = timezone.now()
    for machine in machines:
        for minute in range(1, 9):
            DemandSample.objects.create(
                machine=machine, at=now - dt.timedelta(minutes=minute), cpu_ratio=3.0
            )
    return list(Machine.objects.order_by("environment__name"))


def test_a_crowded_host_shares_as_the_plant_wants(plant: Plant, two: list[Machine]) -> None:
    entitling.set_entitlement(plant.operator, two[0], "rush order", shares=3000)
    entitling.set_entitlement(plant.operator, two[1], shares=1000, cpu_limit=1.5)
    recommending.set_mode(plant.operator, "recommend")
    given = Given()
    assert entitling.apply_round(given) == 2
    first, second = (given.shares[machine.pk] for machine in two)
    assert first.cpu_weight > second.cpu_weight
    assert (first.cpu_quota, second.cpu_quota) == (None, 1.5)
    # Memory that nobody allows to be taken back is left alone.
    assert first.memory_bytes is None
    assert all(row.applied for row in MachineShare.objects.all())
    # The host has it: it is not told again, until it may have forgotten.
    assert entitling.apply_round(given) == 0
    assert given.calls == 2
    assert entitling.apply_round(given, timezone.now() + dt.timedelta(minutes=11)) == 2
    Machine.objects.filter(pk=two[0].pk).update(
        observed_at=timezone.now() + dt.timedelta(minutes=12)
    )
    assert entitling.apply_round(given, timezone.now() + dt.timedelta(minutes=12)) == 1
    entry = AuditEntry.objects.filter(action="machine.entitlement").first()
    assert entry is not None


def test_memory_is_taken_back_only_where_it_is_promised_twice_and_never_below_the_least(
    plant: Plant, two: list[Machine]
) -> None:
    Host.objects.filter(pk=plant.hosts[0].pk).update(memory_bytes=6 * GIB)
    entitling.set_entitlement(plant.operator, two[1], memory_minimum_bytes=GIB)
    recommending.set_mode(plant.operator, "automatic")
    given = Given()
    entitling.apply_round(given)
    assert given.shares[two[0].pk].memory_bytes is None
    left = given.shares[two[1].pk].memory_bytes
    assert left is not None
    assert GIB <= left < 2 * GIB
    # Room again: it gets all of it back.
    Host.objects.filter(pk=plant.hosts[0].pk).update(memory_bytes=64 * GIB)
    entitling.apply_round(given)
    assert given.shares[two[1].pk].memory_bytes == 4 * GIB


def test_off_takes_it_back_and_shadow_only_notes(plant: Plant, two: list[Machine]) -> None:
    given = Given()
    assert entitling.apply_round(given) == 0
    recommending.set_mode(plant.operator, "shadow")
    assert entitling.apply_round(given) == 2
    assert (given.calls, MachineShare.objects.filter(applied=True).count()) == (0, 0)
    recommending.set_mode(plant.operator, "automatic")
    assert entitling.apply_round(given) == 2
    assert given.calls == 2
    recommending.set_mode(plant.operator, "off")
    assert entitling.apply_round(given) == 2
    assert set(given.shares.values()) == {Share(1024, None, None)}
    assert not MachineShare.objects.exists()


def test_realtime_machines_and_those_on_their_way_are_left_alone(
    plant: Plant, two: list[Machine]
) -> None:
    Machine.objects.filter(pk=two[0].pk).update(service_class="realtime")
    move = Operation.objects.create(kind="migrate", machine=two[1], state="running")
    Move.objects.create(
        operation=move,
        machine=two[1],
        source=plant.hosts[0],
        destination=plant.hosts[1],
        generation=2,
        state="prepared",
    )
    recommending.set_mode(plant.operator, "automatic")
    assert entitling.apply_round(Given()) == 0


def test_what_a_host_refuses_is_said_and_a_silent_one_is_not_asked_twice(
    plant: Plant, two: list[Machine], client: Client
) -> None:
    recommending.set_mode(plant.operator, "automatic")
    given = Given()
    given.error = HostUnreachable("no route", host="h1")
    assert entitling.apply_round(given) == 0
    assert given.calls == 1
    given.error = Unsupported("the host has no CPU controller", host="h1")
    assert entitling.apply_round(given) == 2
    client.force_login(plant.operator)
    page = client.get(f"/machines/{two[0].pk}/place/").content.decode()
    assert "no CPU controller" in page


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("shares", 0),
        ("cpu_reservation", 5),
        ("cpu_limit", 0),
        ("memory_minimum_bytes", 8 * GIB),
        ("priority", 2000),
        ("colour", 1),
    ],
)
def test_what_cannot_be_promised_is_refused_with_its_field(
    plant: Plant, two: list[Machine], field: str, value: float
) -> None:
    with pytest.raises(ValidationError) as told:
        entitling.set_entitlement(plant.operator, two[0], **{field: value})
    assert list(told.value.message_dict) == [field]


def test_a_reservation_is_not_above_the_limit_and_only_keepers_promise(
    plant: Plant, two: list[Machine], client: Client
) -> None:
    with pytest.raises(ValidationError, match="above the limit"):
        entitling.set_entitlement(plant.operator, two[0], cpu_reservation=2, cpu_limit=1)
    with pytest.raises(PermissionRefused):
        entitling.set_entitlement(plant.engineer, two[0], shares=9)
    client.force_login(plant.operator)
    form = {"shares": "700", "cpu_reservation": "0,5", "cpu_limit": "", "priority": "4"}
    client.post(f"/machines/{two[0].pk}/place/", form | {"memory_minimum_mib": "512"})
    machine = Machine.objects.get(pk=two[0].pk)
    assert (machine.shares, machine.cpu_reservation, machine.cpu_limit, machine.priority) == (
        700,
        0.5,
        None,
        4,
    )
    assert machine.memory_minimum_bytes == GIB // 2
    client.post(f"/machines/{two[0].pk}/place/", form | {"shares": "many"})
    assert Machine.objects.get(pk=two[0].pk).shares == 700


# --- what came of moves -------------------------------------------------------------------------------


def test_the_actual_effect_of_a_move_stands_beside_the_expected(
    plant: Plant, two: list[Machine], client: Client, django_assert_max_num_queries: Any
) -> None:
    source, target = plant.hosts
    now = timezone.now()
    operation = Operation.objects.create(
        kind="migrate", machine=two[1], state="running", ended_at=None
    )
    row = Recommendation.objects.create(
        machine=two[1],
        source=source,
        destination=target,
        why="contention",
        text="h1 is crowded",
        seconds=9,
        effect={"net": 5.0, "source_before": 2.0, "source_after": 1.0}
        | {"target_before": 0.0, "target_after": 1.0, "waited": 1.0},
        mode="recommend",
        state="moving",
        operation=operation,
    )
    assert measuring.measure_round(now) == 0
    Operation.objects.filter(pk=operation.pk).update(state="succeeded", ended_at=now)
    Move.objects.create(
        operation=operation,
        machine=two[1],
        source=source,
        destination=target,
        generation=2,
        state="done",
        elapsed_ms=8200,
        downtime_ms=41,
    )
    Machine.objects.filter(pk=two[1].pk).update(host=target)
    # Too early: what is measured would still be of before.
    assert measuring.measure_round(now + dt.timedelta(minutes=5)) == 0
    Recommendation.objects.filter(pk=row.pk).update(created_at=now)
    DemandSample.objects.update(wait_ratio=0.5)
    later = now + dt.timedelta(minutes=11)
    for machine, used in ((two[0], 1.5), (two[1], 0.9)):
        DemandSample.objects.create(
            machine=machine, at=later - dt.timedelta(minutes=1), cpu_ratio=used
        )
    with django_assert_max_num_queries(16):
        assert measuring.measure_round(later) == 1
    row.refresh_from_db()
    assert row.state == "moved"
    assert row.actual == {
        # As rounds count it: the average of hours is the larger one, and no lull is trusted.
        "source": 1.0,
        "target": 1.0,
        "used_source": 0.5,
        "used_target": 0.3,
        "waited_before": 1.0,
        "waited_after": 0.0,
        "elapsed_s": 8.2,
        "downtime_ms": 41,
    }
    client.force_login(plant.operator)
    page = client.get("/balancing/").content.decode()
    assert "200 % → 100 %" in page
    assert "0 % → 100 %" in page
    assert "in use lately: 50 % and 30 %" in page
    assert measuring.measure_round(later) == 0


def test_a_round_notes_who_waited_before_its_moves(plant: Plant, two: list[Machine]) -> None:
    DemandSample.objects.filter(machine=two[0]).update(wait_ratio=0.75)
    DemandSample.objects.filter(machine=two[1]).update(wait_ratio=0.25)
    Machine.objects.filter(pk=two[0].pk).update(host=plant.hosts[1])
    now = timezone.now()
    waited = measuring.waited_on([host.pk for host in plant.hosts], now)
    assert waited == {plant.hosts[0].pk: 0.25, plant.hosts[1].pk: 0.75}
    Machine.objects.filter(pk=two[0].pk).update(host=plant.hosts[0])
    recommending.set_mode(plant.operator, "recommend", 5)
    made: list[Recommendation] = []
    for number in range(1, 12):
        recommending.balance_round(now + dt.timedelta(seconds=301 * number))
        made = list(Recommendation.objects.all())
        if made:
            break
        for machine in two:
            DemandSample.objects.filter(machine=machine).update(
                at=now + dt.timedelta(seconds=301 * (number + 1) - 60)
            )
    # Both machines' waiting on the crowded host, whichever of them is to go.
    assert made[0].effect["waited"] == 1.0


def test_a_failed_move_says_so(plant: Plant, two: list[Machine]) -> None:
    operation = Operation.objects.create(
        kind="migrate", machine=two[1], state="failed", error="it did not converge"
    )
    row = Recommendation.objects.create(
        machine=two[1],
        source=plant.hosts[0],
        destination=plant.hosts[1],
        why="contention",
        text="x",
        seconds=9,
        mode="automatic",
        state="moving",
        operation=operation,
    )
    assert measuring.measure_round() == 1
    row.refresh_from_db()
    assert (row.state, row.actual) == ("failed", {"error": "it did not converge"})


# --- why it is here -----------------------------------------------------------------------------------


def test_why_here_and_not_there(
    plant: Plant, two: list[Machine], client: Client, django_assert_max_num_queries: Any
) -> None:
    Machine.objects.filter(pk=two[1].pk).update(host=plant.hosts[1], movability="never")
    rule = PlacementRule.objects.create(name="apart", kind="apart")
    rule.machines.set(two)
    machine = Machine.objects.select_related("environment", "host").get(pk=two[1].pk)
    with django_assert_max_num_queries(17):
        why = asking.why_here(machine)
    assert why.host == plant.hosts[1].name
    assert "stays on" in why.text
    assert any("never moves" in hold for hold in why.holds)
    here, there = why.hosts
    assert (here.here, here.accepted) == (True, True)
    assert there.codes == ("apart",)
    # The other machine may be another project's: it is not named.
    assert there.texts == (
        f"a machine that it must be kept apart from is on {plant.hosts[0].name} (rule apart)",
    )
    client.force_login(plant.engineer)
    page = client.get(f"/machines/{machine.pk}/place/").content.decode()
    assert "apart" in page
    assert 'name="shares"' not in page
    client.force_login(plant.stranger)
    assert client.get(f"/machines/{machine.pk}/place/").status_code == 404


def test_a_machine_without_a_place_is_explained_too(plant: Plant, two: list[Machine]) -> None:
    Machine.objects.filter(pk=two[0].pk).update(host=None)
    machine = Machine.objects.select_related("environment", "host").get(pk=two[0].pk)
    assert "no place" in asking.why_here(machine).text


@pytest.mark.parametrize(
    ("health", "words"),
    [
        ("down", "which is down: it is recovered, not moved"),
        ("suspect", "which does not answer at the moment: nothing moves from there"),
    ],
)
def test_of_a_host_that_does_not_answer_no_best_move_is_told(
    plant: Plant, two: list[Machine], client: Client, health: str, words: str
) -> None:
    Host.objects.filter(pk=plant.hosts[0].pk).update(health=health)
    machine = Machine.objects.select_related("environment", "host").get(pk=two[0].pk)
    why = asking.why_here(machine)
    assert why.text == f"{machine} is on {plant.hosts[0].name}, {words}"
    assert [(row.here, row.accepted) for row in why.hosts] == [(True, False), (False, True)]
    client.force_login(plant.operator)
    page = client.get(f"/machines/{machine.pk}/place/").content.decode()
    assert words in page
    assert "core-seconds, of which" not in page
