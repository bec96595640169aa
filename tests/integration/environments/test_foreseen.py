"""What was expected of an hour when it began, kept, and compared with what it came to."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from django.utils import timezone
from millwright.balancing import consolidating, emptying, foreseen
from millwright.balancing.foreseen import Compared
from millwright.balancing.models import DemandHour
from millwright.core.balancing import Demand
from millwright.core.lifecycle import HostPower
from millwright.environments.models import DemandSample, Machine
from millwright.inventory.models import Host

from tests.integration.environments.test_consolidating import NOW, machines, quiet
from tests.support.plant import Plant

__all__ = ["machines", "quiet"]

HOUR = dt.timedelta(hours=1)
BEGIN = NOW.replace(minute=0)


def wants(cpus: float, at: dt.datetime) -> None:
    """One machine takes so many CPUs from then on."""
    DemandSample.objects.all().delete()
    machine = Machine.objects.exclude(host=None)[0]
    DemandSample.objects.create(machine=machine, at=at, cpu_ratio=cpus, wait_ratio=0)


def this_hour() -> DemandHour:
    return DemandHour.objects.get(at=BEGIN)


@pytest.mark.parametrize("mode", ["off", "shadow"])
def test_it_is_written_once_and_without_what_the_hour_came_to(
    plant: Plant, quiet: Host, mode: str
) -> None:
    consolidating.set_consolidation(plant.operator, mode, keep_awake=1)
    DemandHour.objects.filter(at=BEGIN - 168 * HOUR).update(cpus=3.0)
    wants(50.0, NOW)
    consolidating.consolidation_round(NOW)
    row = this_hour()
    assert (row.cpus, row.expected_cpus, row.expected_memory_bytes) == (50.0, 3.0, 2**30)
    # What is learned later changes nothing of what was said.
    DemandHour.objects.filter(at=BEGIN - 168 * HOUR).update(cpus=90.0)
    wants(80.0, NOW + dt.timedelta(minutes=10))
    consolidating.consolidation_round(NOW + dt.timedelta(minutes=10))
    assert (this_hour().cpus, this_hour().expected_cpus) == (80.0, 3.0)


def test_with_less_than_a_week_nothing_was_expected(plant: Plant, quiet: Host) -> None:
    DemandHour.objects.filter(at__lt=NOW - dt.timedelta(days=5)).delete()
    consolidating.consolidation_round(NOW)
    assert this_hour().expected_cpus is None
    assert this_hour().awake_cpus is not None
    ready = foreseen.ready(NOW)
    assert ready is not None
    first = DemandHour.objects.order_by("at")[0].at
    assert ready == first + dt.timedelta(days=7)


def test_the_least_that_hosts_awake_had_is_kept_and_whether_that_lacked(
    plant: Plant, quiet: Host
) -> None:
    consolidating.set_consolidation(plant.operator, "shadow", keep_awake=1)
    rows = Host.objects.order_by("name")
    each = foreseen.room_awake(emptying.plant_of(NOW)).cpus / len(rows)
    wants(each * 1.5, NOW)
    consolidating.consolidation_round(NOW)
    assert (this_hour().awake_cpus, this_hour().lacked) == (2 * each, False)
    # One falls asleep: what is wanted is more than the other has.
    Host.objects.filter(pk=quiet.pk).update(power=HostPower.ASLEEP, power_since=NOW)
    consolidating.consolidation_round(NOW + dt.timedelta(minutes=6))
    assert (this_hour().awake_cpus, this_hour().lacked) == (each, True)
    # It wakes within the hour: what was, was.
    Host.objects.filter(pk=quiet.pk).update(power=HostPower.AWAKE)
    wants(0.1, NOW + dt.timedelta(minutes=12))
    consolidating.consolidation_round(NOW + dt.timedelta(minutes=12))
    assert (this_hour().awake_cpus, this_hour().lacked) == (each, True)


def test_where_everybody_is_awake_and_still_too_little_sleep_is_not_to_blame(
    plant: Plant, quiet: Host
) -> None:
    wants(10_000.0, NOW)
    consolidating.consolidation_round(NOW)
    assert not this_hour().lacked


def test_it_costs_the_same_each_round_and_off_one_reading_of_the_plant_an_hour(
    plant: Plant, quiet: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[dt.datetime] = []
    real = emptying.plant_of

    def reading(now: dt.datetime) -> Any:
        read.append(now)
        return real(now)

    monkeypatch.setattr(emptying, "plant_of", reading)
    for minute in (0, 6, 12, 18):
        consolidating.consolidation_round(NOW + dt.timedelta(minutes=minute))
    assert read == [NOW]


def hour(
    cpus: float, expected: float | None = None, memory: float = 1.0, then: float = 1.0
) -> Compared:
    told = None if expected is None else Demand(expected, then)
    return Compared(timezone.now(), Demand(cpus, memory), told)


@pytest.mark.parametrize(
    ("row", "short"),
    [
        (hour(5.0), False),
        (hour(5.0, 5.0), False),
        # As they are shown, these are the same.
        (hour(5.04, 5.0), False),
        (hour(5.06, 5.0), True),
        (hour(4.0, 5.0, memory=2.0, then=1.0), True),
        (hour(4.0, 5.0, memory=1.0, then=2.0), False),
    ],
)
def test_short_is_more_than_expected_of_either(row: Compared, short: bool) -> None:
    assert row.short is short


def test_sums_count_what_was_expected_and_name_the_worst() -> None:
    rows = [hour(1.0), hour(5.0, 4.0), hour(9.0, 4.0), hour(1.0, 4.0)]
    told = foreseen.sums(rows)
    assert (told.compared, told.short, told.lacked, told.worst) == (3, 2, 0, rows[2])
    assert foreseen.sums([]).worst is None
