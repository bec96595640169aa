"""The plant's calendar: who writes it, what is refused, and that rounds, moves, hosts and recovery go by it."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.utils import timezone
from millwright.accounts.permissions import PermissionRefused
from millwright.audit.models import AuditEntry
from millwright.balancing import entitling, hours, pooling, recommending
from millwright.balancing.models import Recommendation
from millwright.balancing.plant import read_plant
from millwright.balancing.pooling import PoolDraft
from millwright.core.balancing import Movability
from millwright.environments import moving
from millwright.environments.models import DemandSample, Machine, Operation

from tests.integration.environments.test_draining import machines
from tests.integration.environments.test_entitling import Given, two
from tests.integration.environments.test_recommending import _rounds, crowded
from tests.support.plant import Plant

__all__ = ["crowded", "machines", "two"]
#: A Monday.
NOON = dt.datetime(2026, 5, 4, 12, tzinfo=dt.UTC)
NIGHT = NOON + dt.timedelta(hours=11)
SHIFTS: list[dict[str, Any]] = [
    {"name": "day", "pools": ["cad"], "start": "06:00", "end": "22:00", "shares": 9000},
    {"name": "night", "pools": ["cae"], "start": "22:00", "end": "06:00", "shares": 9000},
]


@pytest.fixture
def shifts(plant: Plant, two: list[Machine]) -> list[Machine]:
    """One machine draws by day, one computes by night, both on one crowded host."""
    for machine, pool in zip(two, ("cad", "cae"), strict=True):
        pooling.save_pool(plant.operator, PoolDraft(pool))
        entitling.set_entitlement(plant.operator, machine, pool=pool)
        for moment in (NOON, NIGHT):
            for minute in range(1, 9):
                at = moment - dt.timedelta(minutes=minute)
                DemandSample.objects.create(machine=machine, at=at, cpu_ratio=3.0)
    hours.set_calendar(plant.operator, SHIFTS, "agreed with the works council")
    return two


def test_shares_follow_the_shift_on_the_hosts_before_anything_moves(
    plant: Plant, shifts: list[Machine]
) -> None:
    assert {pool.name: pool.shares for pool in read_plant(NOON).pools} == {"cad": 9000, "cae": 1000}
    recommending.set_mode(plant.operator, "recommend")
    given = Given()
    for moment, more, less in ((NOON, *shifts), (NIGHT, *reversed(shifts))):
        assert entitling.apply_round(given, moment) == 2
        assert given.shares[more.pk].cpu_weight > 2 * given.shares[less.pk].cpu_weight
    assert not Operation.objects.filter(kind="migrate").exists()


def test_a_rush_order_is_on_top_until_friday(plant: Plant, shifts: list[Machine]) -> None:
    rush = {"name": "rush", "vms": [str(shifts[1])], "until": "2026-05-08T12:00", "priority": 9}
    hours.set_calendar(plant.operator, [*SHIFTS, rush | {"reservation": 1}])

    def of(moment: dt.datetime) -> tuple[int, float]:
        vm = next(vm for vm in read_plant(moment).vms if vm.name == str(shifts[1]))
        return vm.priority, vm.cpu_reservation

    # By day the other one's pool has nine times the shares; the rush order comes first all the same.
    recommending.set_mode(plant.operator, "recommend")
    given = Given()
    assert entitling.apply_round(given, NOON) == 2
    assert given.shares[shifts[1].pk].cpu_weight > 2 * given.shares[shifts[0].pk].cpu_weight
    assert of(NOON) == (9, 1)
    assert of(NOON + dt.timedelta(days=4, minutes=-1)) == (9, 1)
    after = NOON + dt.timedelta(days=4)
    assert of(after) == (0, 0)
    for minute in range(1, 9):
        for machine in shifts:
            at = after - dt.timedelta(minutes=minute)
            DemandSample.objects.create(machine=machine, at=at, cpu_ratio=3.0)
    assert entitling.apply_round(given, after) == 2
    assert given.shares[shifts[0].pk].cpu_weight > 2 * given.shares[shifts[1].pk].cpu_weight


def test_quiet_hours_hold_rounds_back(plant: Plant, crowded: list[Machine]) -> None:
    recommending.set_mode(plant.operator, "automatic")
    names = [str(machine) for machine in crowded]
    line: dict[str, Any] = {"name": "quiet", "vms": names, "movability": "never"}
    hours.set_calendar(plant.operator, [line])
    assert sum(_rounds(6)) == 0
    hours.set_calendar(plant.operator, [line | {"until": "2020-01-01T00:00"}])
    recommending.balancer().__class__.objects.update(last_round=None, state={})
    assert sum(_rounds(6)) > 0
    assert Operation.objects.filter(kind="migrate").exists()


def test_a_window_of_the_calendar_lets_rounds_and_people_move(
    plant: Plant, crowded: list[Machine]
) -> None:
    recommending.set_mode(plant.operator, "automatic")
    Machine.objects.update(movability="window")
    crowded[0].refresh_from_db()
    assert "none is open" in moving.why_not_movable(crowded[0], approved=True)
    assert sum(_rounds(6)) == 0
    line = {"name": "open", "vms": [str(machine) for machine in crowded], "window": True}
    hours.set_calendar(plant.operator, [line])
    assert hours.of_machine(crowded[0]) == (Movability.WINDOW, True)
    assert moving.why_not_movable(crowded[0], approved=False) == ""
    recommending.balancer().__class__.objects.update(last_round=None, state={})
    assert sum(_rounds(6)) > 0
    assert set(Recommendation.objects.values_list("state", flat=True)) == {"moving"}


def test_the_calendar_of_a_pool_holds_for_those_below_it(
    plant: Plant, machines: list[Machine]
) -> None:
    pooling.save_pool(plant.operator, PoolDraft("works"))
    pooling.save_pool(plant.operator, PoolDraft("hall", parent="works"))
    entitling.set_entitlement(plant.operator, machines[0], pool="hall")
    machines[0].refresh_from_db()
    hours.set_calendar(
        plant.operator,
        [{"name": "free", "pools": ["works"], "movability": "free", "mode": "automatic"}],
    )
    # By its own word it wants a person's; the calendar says otherwise now.
    assert machines[0].movability == "approval"
    assert moving.why_not_movable(machines[0], approved=False) == ""
    assert "approves" in moving.why_not_movable(machines[1], approved=False) or (
        machines[1].movability == "free"
    )
    # The plant is off, and a line of the calendar is not: rounds are made.
    assert recommending.anything_balances(recommending.balancer())


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ({"name": "x"}, "a list of at most"),
        ([3], "an object is wanted"),
        ([{"name": "x"}], "names neither pools nor vms"),
        ([{"name": "x", "pools": ["nothing"]}], "'nothing': no such pool"),
        ([{"name": "x", "vms": ["nobody/vplc"]}], "'nobody/vplc': no such vm"),
        ([{"name": "x", "pools": ["cad"], "start": "6"}], "start: '6': a time like 06:00"),
        ([{"name": "x", "pools": ["cad"], "days": [7]}], "days: 7: 0 .Monday. to 6"),
        ([{"name": "x", "pools": ["cad"], "until": "Friday"}], "until: 'Friday': an ISO time"),
        ([{"name": "x", "pools": ["cad"], "mode": "wild"}], "mode: 'wild': one of off"),
        ([{"name": "x", "pools": ["cad"]}] * 2, "must be unique"),
        ([{"name": "x", "pools": ["cad"], "colour": 1}], "colour: 1: unknown"),
        ([{"name": "x", "pools": ["cad"], "labels": ["a"]}], "have no labels"),
        ([{"name": "x", "pools": ["cad"], "priority": 10**30}], "from -1000 to 1000"),
        ([{"name": "x", "pools": ["cad"], "shares": 10**6}], "from 1 to 100000"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_changes(
    plant: Plant, shifts: list[Machine], lines: Any, words: str
) -> None:
    with pytest.raises(ValidationError, match=words):
        hours.set_calendar(plant.operator, lines)
    assert hours.kept() == SHIFTS


def test_only_keepers_of_the_pool_write_it_and_it_leaves_a_trail(
    plant: Plant, shifts: list[Machine]
) -> None:
    for person in (plant.engineer, plant.approver, plant.stranger):
        with pytest.raises(PermissionRefused):
            hours.set_calendar(person, [])
    entry = AuditEntry.objects.get(action="balancer.calendar")
    assert entry.details["lines"] == ["day", "night"]
    assert entry.reason == "agreed with the works council"


def test_page_and_interface_show_it(plant: Plant, shifts: list[Machine], client: Client) -> None:
    client.force_login(plant.operator)
    always = {"name": "always", "pools": ["cae"], "days": [0, 6], "window": True}
    sent = client.post(
        "/api/v1/recommendations/calendar/", {"lines": [*SHIFTS, always]}, "application/json"
    )
    assert sent.status_code == 200, sent.content
    assert client.get("/api/v1/recommendations/calendar/").json() == {"lines": [*SHIFTS, always]}
    wrong = client.post(
        "/api/v1/recommendations/calendar/", {"lines": [{"name": "x"}]}, "application/json"
    )
    assert wrong.status_code == 400
    assert "names neither" in wrong.json()["detail"]
    held = {line.name: line.now for line in hours.told(NIGHT)}
    assert held == {"day": False, "night": True, "always": True}
    page = client.get("/balancing/").content.decode()
    assert "22:00–06:00" in page
    assert "Mon, Sun" in page
    assert "shares 9000" in page
    assert 'name="spare_hosts"' in page


def test_a_pool_that_is_gone_leaves_its_line_to_nobody(plant: Plant, shifts: list[Machine]) -> None:
    entitling.set_entitlement(plant.operator, shifts[1], pool="")
    pooling.remove_pool(plant.operator, pooling.ResourcePool.objects.get(name="cae"))
    assert {pool.name: pool.shares for pool in read_plant(NIGHT).pools} == {"cad": 1000}
    assert hours.told(timezone.now())
