"""Hours asleep, energy, late and failed wakes: from the history of hosts' power and their operations."""

from __future__ import annotations

import datetime as dt
import time
from zoneinfo import ZoneInfo

import pytest
from django.core.exceptions import ValidationError
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from millwright.balancing import slept
from millwright.core.lifecycle import HostPower
from millwright.environments.models import Operation, StateTransition
from millwright.inventory.models import Host
from millwright.inventory.power import asleep_s, change_power
from millwright.orchestrator.metrics import powers
from millwright.settings import get_settings

from tests.support.plant import Plant

MINUTE, HOUR, DAY = dt.timedelta(minutes=1), dt.timedelta(hours=1), dt.timedelta(days=1)
#: A Tuesday in the middle of a month: nothing here depends on today.
BEGIN = dt.datetime(2026, 5, 12, 18, tzinfo=dt.UTC)
NOW = BEGIN + 5 * DAY
SLEEP = {"by": "suspend", "wake": "magic_packet", "mac": "52:54:00:aa:bb:cc", "wake_s": 180}


@pytest.fixture
def host(plant: Plant) -> Host:
    row = plant.hosts[0]
    Host.objects.filter(pk=row.pk).update(policy=row.policy | {"sleep": SLEEP | {"watts": 200}})
    return Host.objects.get(pk=row.pk)


def went(host: Host, *changes: tuple[dt.datetime, str]) -> None:
    """A host's history of power."""
    before = "awake"
    for at, after in changes:
        StateTransition.objects.create(
            at=at, subject_type="host", subject_id=str(host.pk), subject_name=host.name,
            aspect="power", before=before, after=after,
        )  # fmt: skip
        before = after


def ordered(
    host: Host,
    kind: str,
    at: dt.datetime,
    *,
    until: dt.datetime | None = None,
    state: str = "succeeded",
    by: object = None,
) -> None:
    """An operation, of rounds unless a person is named."""
    row = Operation.objects.create(
        kind=kind, host=host, state=state, requested_by=by,
        payload={"host": host.name, "until": until.isoformat() if until else ""},
    )  # fmt: skip
    Operation.objects.filter(pk=row.pk).update(created_at=at, ended_at=at + 2 * MINUTE)


def night(host: Host, begin: dt.datetime, woke: dt.datetime) -> None:
    """It falls asleep in two minutes, and takes three to wake."""
    went(
        host,
        (begin, "falling_asleep"),
        (begin + 2 * MINUTE, "asleep"),
        (woke - 3 * MINUTE, "waking"),
        (woke, "awake"),
    )


def told(since: dt.datetime = BEGIN - DAY, until: dt.datetime = NOW) -> slept.Savings:
    return slept.savings(since, until, NOW)


def test_a_night_is_hours_and_energy(host: Host) -> None:
    night(host, BEGIN, BEGIN + 10 * HOUR)
    (row,) = told().hosts
    # On its way to sleep and from it, it is not asleep.
    assert (row.host, row.asleep_s, row.sleeps) == (host.name, 10 * 3600 - 300, 1)
    assert row.kwh == pytest.approx(0.2 * (10 - 300 / 3600))
    assert (row.late, row.failed) == (0, 0)
    assert told().kwh == row.kwh


def test_what_a_host_takes_is_not_guessed(plant: Plant, host: Host) -> None:
    other = plant.hosts[1]
    Host.objects.filter(pk=other.pk).update(policy=other.policy | {"sleep": SLEEP})
    night(host, BEGIN, BEGIN + 10 * HOUR)
    night(other, BEGIN, BEGIN + 20 * HOUR)
    savings = told()
    # The longest asleep first.
    first, second = savings.hosts
    assert (first.host, first.watts, first.kwh) == (other.name, None, None)
    assert savings.kwh == second.kwh
    assert savings.unknown_s == first.asleep_s
    Host.objects.filter(pk=host.pk).update(policy={})
    assert told().kwh is None
    assert told().asleep_s == savings.asleep_s


@pytest.mark.parametrize(
    ("since", "until", "hours"),
    [
        # Cut at both ends, within, and without a change in the period at all.
        (BEGIN - DAY, BEGIN + 4 * HOUR, 4),
        (BEGIN + 4 * HOUR, NOW, 6),
        (BEGIN + 4 * HOUR, BEGIN + 5 * HOUR, 1),
        (BEGIN + 11 * HOUR, NOW, 0),
        (BEGIN - DAY, BEGIN, 0),
    ],
)
def test_a_period_cuts_a_night(
    host: Host, since: dt.datetime, until: dt.datetime, hours: float
) -> None:
    went(host, (BEGIN, "falling_asleep"), (BEGIN, "asleep"))
    went_on = BEGIN + 10 * HOUR
    StateTransition.objects.create(
        at=went_on, subject_type="host", subject_id=str(host.pk), subject_name=host.name,
        aspect="power", before="asleep", after="awake",
    )  # fmt: skip
    assert told(since, until).asleep_s == hours * 3600


def test_one_that_sleeps_on_counts_until_now(host: Host) -> None:
    went(host, (NOW - 5 * HOUR, "falling_asleep"), (NOW - 5 * HOUR, "asleep"))
    Host.objects.filter(pk=host.pk).update(power="asleep", power_since=NOW - 5 * HOUR)
    assert told().asleep_s == 5 * 3600
    # It fell asleep before the period and nothing has happened since.
    assert told(NOW - HOUR).asleep_s == 3600
    assert told(NOW - HOUR).hosts[0].sleeps == 0


def test_months_are_the_plants_own(host: Host) -> None:
    zone = get_settings().plant_zone
    midnight = dt.datetime(2026, 5, 1, tzinfo=zone)
    went(host, (midnight - HOUR, "falling_asleep"), (midnight - HOUR, "asleep"))
    Host.objects.filter(pk=host.pk).update(power="asleep")
    april, may = slept.savings(midnight - DAY, midnight + 2 * HOUR, NOW).months
    assert (april.month, april.asleep_s) == (dt.date(2026, 4, 1), 3600)
    assert (may.month, may.asleep_s) == (dt.date(2026, 5, 1), 7200)
    assert may.kwh == pytest.approx(0.4)


def test_a_change_of_the_clock_is_no_hour_of_sleep() -> None:
    zone = ZoneInfo("Europe/Berlin")
    begin = dt.datetime(2026, 3, 28, 22, tzinfo=zone).astimezone(dt.UTC)
    end = dt.datetime(2026, 4, 1, 2, tzinfo=zone).astimezone(dt.UTC)
    march, april = slept._by_month([(begin, end)], zone)
    assert march == (dt.date(2026, 3, 1), (3 * 24 + 1) * 3600)
    assert april == (dt.date(2026, 4, 1), 2 * 3600)


# --- late and failed -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("woke", "late"), [(0, 0), (14, 0), (16, 1)], ids=["in time", "within the lead", "after it"]
)
def test_rounds_end_a_sleep_a_quarter_of_an_hour_early(host: Host, woke: int, late: int) -> None:
    until = BEGIN + 10 * HOUR
    ordered(host, "sleep_host", BEGIN - MINUTE, until=until)
    ordered(host, "wake_host", until - 3 * MINUTE)
    night(host, BEGIN, until + woke * MINUTE)
    assert told().late == late


@pytest.mark.parametrize(("woke", "late"), [(0, 0), (2, 1)])
def test_a_persons_time_is_a_persons_time(plant: Plant, host: Host, woke: int, late: int) -> None:
    until = BEGIN + 10 * HOUR
    ordered(host, "sleep_host", BEGIN - MINUTE, until=until, by=plant.operator)
    # Its own alarm wakes it: nobody here did.
    night(host, BEGIN, until + woke * MINUTE)
    assert told().late == late


@pytest.mark.parametrize(("took", "late"), [(3, 0), (6, 1)])
def test_one_that_is_needed_early_is_late_when_it_takes_longer_than_its_policy_says(
    host: Host, took: int, late: int
) -> None:
    ordered(host, "sleep_host", BEGIN - MINUTE, until=BEGIN + 10 * HOUR)
    ordered(host, "wake_host", BEGIN + 2 * HOUR)
    night(host, BEGIN, BEGIN + 2 * HOUR + took * MINUTE)
    assert told().late == late


def test_tries_that_fail_are_counted_and_one_that_still_sleeps_is_late(host: Host) -> None:
    until = NOW - HOUR
    ordered(host, "sleep_host", BEGIN - MINUTE, until=until)
    went(
        host,
        (BEGIN, "falling_asleep"),
        (BEGIN, "asleep"),
        (until, "waking"),
        (until + 10 * MINUTE, "asleep"),
    )
    ordered(host, "wake_host", until - 3 * MINUTE, state="failed")
    ordered(host, "wake_host", until + 20 * MINUTE, state="failed")
    Host.objects.filter(pk=host.pk).update(power="asleep")
    (row,) = told().hosts
    assert (row.late, row.failed, row.sleeps) == (1, 2, 1)
    # Awake at last it is one late wake, not two.
    StateTransition.objects.create(
        at=NOW - MINUTE, subject_type="host", subject_id=str(host.pk), subject_name=host.name,
        aspect="power", before="asleep", after="awake",
    )  # fmt: skip
    Host.objects.filter(pk=host.pk).update(power="awake")
    assert (told().late, told().failed) == (1, 2)
    # A period that was over before it was due knows nothing of it.
    assert told(BEGIN - DAY, BEGIN + DAY).late == 0


def test_one_that_was_not_put_to_sleep_after_all_has_not_slept(host: Host) -> None:
    went(host, (BEGIN, "falling_asleep"), (BEGIN + MINUTE, "awake"))
    assert told().hosts == ()


def test_one_that_left_the_pool_asleep_sleeps_for_ever_in_no_sum(plant: Plant) -> None:
    gone = Host(pk=99_999, name="old-host")
    night(gone, BEGIN, BEGIN + 2 * HOUR)
    went(gone, (BEGIN + DAY, "falling_asleep"), (BEGIN + DAY, "asleep"))
    (row,) = told().hosts
    assert (row.host, row.asleep_s, row.watts) == ("old-host", 2 * 3600 - 300, None)


# --- the period ----------------------------------------------------------------------------------


def test_without_a_word_it_is_the_last_seven_days() -> None:
    since, until = slept.period({}, NOW)
    here = timezone.localtime(since, get_settings().plant_zone)
    assert until == NOW
    assert (here.hour, here.minute) == (0, 0)
    assert 6 * DAY < NOW - since <= 7 * DAY
    # A day that is named as the end counts whole, and is one of the seven.
    since, until = slept.period({"to": "2026-05-10"}, NOW)
    assert timezone.localtime(since, get_settings().plant_zone).day == 4
    assert timezone.localtime(until, get_settings().plant_zone).day == 11
    # The end is never ahead.
    assert slept.period({"to": "2026-12-31"}, NOW)[1] == NOW


@pytest.mark.parametrize(
    ("given", "field", "words"),
    [
        ({"from": "yesterday"}, "from", "a day like"),
        ({"from": "2026-01-01", "to": "2026-05-01"}, "from", "100 days"),
        ({"from": "2027-01-01"}, "from", "is over"),
        ({"from": "2026-05-03", "to": "2026-05-01"}, "to", "not before"),
    ],
)
def test_what_cannot_be_is_named(given: dict[str, str], field: str, words: str) -> None:
    with pytest.raises(ValidationError, match=words) as error:
        slept.period(given, NOW)
    assert list(error.value.message_dict) == [field]


# --- how much it costs ---------------------------------------------------------------------------


def test_queries_are_three_whatever_the_number_of_hosts(plant: Plant, host: Host) -> None:
    night(host, BEGIN, BEGIN + HOUR)
    with CaptureQueriesContext(
        connection,
    ) as few:
        told()
    rows = Host.objects.bulk_create(
        Host(name=f"h-{number:04}", uri=f"qemu+tls://h-{number:04}/system", policy={"sleep": SLEEP})
        for number in range(1000)
    )
    StateTransition.objects.bulk_create(
        StateTransition(
            at=BEGIN + DAY * day + HOUR * step, subject_type="host", subject_id=str(row.pk),
            subject_name=row.name, aspect="power", before=before, after=after,
        )
        for row in rows
        for day in range(4)
        for step, (before, after) in enumerate(
            (("awake", "falling_asleep"), ("falling_asleep", "asleep"), ("asleep", "waking"), ("waking", "awake"))
        )
    )  # fmt: skip
    began = time.process_time()
    with CaptureQueriesContext(connection) as many:
        found = told()
    assert len(few) == len(many) == 3, [row["sql"][:200] for row in many]
    assert len(found.hosts) == 1001
    assert sum(row.sleeps for row in found.hosts) == 4001
    print(f"1,000 hosts, 16,000 changes: {time.process_time() - began:.2f} s of the processor")


def test_of_earlier_nights_only_the_last_is_read(host: Host) -> None:
    for n in range(20):
        ordered(host, "sleep_host", BEGIN - n * DAY, until=BEGIN - n * DAY + 10 * HOUR)
        ordered(host, "wake_host", BEGIN - n * DAY + 10 * HOUR)
    # Between two nights, and within the last: its order, and what came of it.
    for since, kinds in ((5 * HOUR, ["sleep_host", "wake_host"]), (-HOUR, ["sleep_host", "wake_host"] * 2)):  # fmt: skip
        (orders,) = slept._operations(BEGIN + since, NOW).values()
        assert [row.kind for row in orders] == kinds
        assert all(row.at.tzinfo is not None for row in orders)


# --- the metric ----------------------------------------------------------------------------------


def test_a_host_counts_its_seconds_asleep(plant: Plant, host: Host) -> None:
    def shown() -> dict[str, float]:
        rows = [sample for family in powers(timezone.now()) for sample in family.samples]
        return {
            row.labels["host"]: row.value
            for row in rows
            if row.name == "millwright_host_asleep_seconds_total"
        }

    assert shown() == {row.name: 0.0 for row in plant.hosts}
    for power in (HostPower.FALLING_ASLEEP, HostPower.ASLEEP):
        change_power(Host.objects.get(pk=host.pk), power, "night")
    Host.objects.filter(pk=host.pk).update(power_since=timezone.now() - HOUR)
    assert 3600 <= shown()[host.name] < 3700
    # It does not wake at the first try: what it slept is kept, and goes on.
    change_power(Host.objects.get(pk=host.pk), HostPower.WAKING, "morning")
    kept = Host.objects.get(pk=host.pk).asleep_s
    assert 3600 <= kept < 3700
    assert shown()[host.name] == kept
    change_power(Host.objects.get(pk=host.pk), HostPower.ASLEEP, "it did not wake")
    Host.objects.filter(pk=host.pk).update(power_since=timezone.now() - HOUR)
    assert asleep_s(Host.objects.get(pk=host.pk), timezone.now()) >= kept + 3600
    assert shown()[host.name] >= kept + 3600
