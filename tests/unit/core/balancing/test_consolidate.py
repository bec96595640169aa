"""Which hosts sleep and wake: what holds whatever the plant is, and what is expected of the hours ahead."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from millwright.core.balancing import (
    Coming,
    Demand,
    Entry,
    Forecast,
    Host,
    HostState,
    Hour,
    Mode,
    Movability,
    Plant,
    Settings,
    Sleeper,
    SleepSettings,
    Vm,
    after,
    consolidate,
    failure_capacity,
    forecast,
    from_calendar,
    parts_of,
    ready_from,
    violations,
)

from tests.unit.core.balancing.plants import plants

GIB = 2**30
NOW = datetime(2026, 5, 4, 19, 20)
HOUR = timedelta(hours=1)
QUIET = Forecast(NOW.replace(minute=0), (Demand(0.5, GIB),) * 72)


def week(at: datetime, hours: int, cpus: float = 1.0) -> list[Hour]:
    """So many hours before this one, each alike."""
    first = at.replace(minute=0)
    return [Hour(first - number * HOUR, Demand(cpus, GIB)) for number in range(1, hours + 1)]


def test_the_most_of_earlier_weeks_at_that_hour_counts() -> None:
    past = week(NOW, 336)
    past.append(Hour(datetime(2026, 4, 28, 3), Demand(7.0, 0.0)))  # a Tuesday
    made = forecast(past, NOW, Demand())
    tuesday = (datetime(2026, 5, 5, 3) - made.begins) // HOUR
    assert made.of(tuesday) == Demand(7.0, GIB)
    assert made.of(tuesday + 1) == Demand(1.0, GIB)
    assert made.of(tuesday + 24) == Demand(1.0, GIB)


def test_what_is_older_than_four_weeks_is_forgotten() -> None:
    past = [*week(NOW, 336), Hour(NOW.replace(minute=0) - 29 * 24 * HOUR, Demand(9.0, 0.0))]
    assert max(hour.cpus for hour in forecast(past, NOW, Demand()).hours if hour) == 1.0


def test_this_hour_wants_at_least_what_is_measured() -> None:
    made = forecast(week(NOW, 168), NOW, Demand(5.0, 2 * GIB))
    assert made.of(0) == Demand(5.0, 2 * GIB)
    assert made.of(1) == Demand(1.0, GIB)


@pytest.mark.parametrize(("hours", "known"), [(167, False), (168, True)])
def test_less_than_a_week_says_nothing(hours: int, known: bool) -> None:
    past = week(NOW, hours)
    made = forecast(past, NOW, Demand())
    assert all((hour is not None) is known for hour in made.hours)
    assert (ready_from(past, NOW) <= NOW) is known


def test_an_hour_that_no_week_has_known_is_not_known() -> None:
    past = [row for row in week(NOW, 336) if row.at.hour != 2]
    made = forecast(past, NOW, Demand())
    assert [hour is None for hour in made.hours[:12]] == [
        (made.begins + index * HOUR).hour == 2 for index in range(12)
    ]


def test_what_is_known_beforehand_lies_on_top() -> None:
    until = NOW.replace(hour=22, minute=0)
    coming = [Coming(NOW.replace(hour=20, minute=30), Demand(2.0, GIB), until)]
    made = forecast(week(NOW, 168), NOW, Demand(), coming)
    assert [hour.cpus for hour in made.hours[:5] if hour] == [1.0, 3.0, 3.0, 1.0, 1.0]


def test_a_rush_order_of_the_calendar_is_known_beforehand() -> None:
    rush = Entry("rush", since="2026-05-04T21:00", until="2026-05-04T23:00", reservation=4.0)
    shift = Entry("shift", days=(0, 1, 2, 3, 4), start="06:00", end="18:00", reservation=9.0)
    made = from_calendar([rush, shift], NOW)
    assert [row.since.hour for row in made] == [21, 22]
    assert {row.demand.cpus for row in made} == {4.0}


@settings(max_examples=25, deadline=None)
@given(plants(), st.integers(0, 1), st.integers(1, 3))
def test_whoever_sleeps_is_not_missed(plant: Plant, k: int, keep: int) -> None:
    plant = replace(
        plant, settings=replace(plant.settings, spare_hosts=k, mode=Mode.AUTOMATIC, moves_running=0)
    )
    sleepers = [Sleeper(host.name) for host in plant.hosts]
    told = SleepSettings(keep_awake=keep)
    made = consolidate(plant, sleepers, QUIET, NOW, told)
    assert made == consolidate(plant, sleepers, QUIET, NOW, told)
    assert made.sleep is None or made.empty is None
    for order in (made.sleep, made.empty):
        if order is None:
            continue
        then = after(plant, order.moves)
        assert all(vm.host != order.host for vm in then.vms)
        movable = {vm.name for vm in plant.vms if vm.moves is Movability.FREE}
        assert {move.vm for move in order.moves} <= movable
        asleep = replace(
            then,
            hosts=tuple(
                replace(host, state=HostState.ASLEEP) if host.name == order.host else host
                for host in then.hosts
            ),
        )
        assert sum(host.state is HostState.UP for host in asleep.hosts) >= keep
        assert not k or failure_capacity(asleep, k).room
        known = {(row.kind, row.subject) for row in violations(plant)}
        assert {(row.kind, row.subject) for row in violations(asleep)} <= known


def host(name: str, **more: object) -> Host:
    return replace(Host(name, cpus=8, memory_bytes=32 * GIB), **more)  # type: ignore[arg-type]  # fields by name


def code(plant: Plant, *sleepers: Sleeper, expected: Forecast = QUIET, **more: object) -> str:
    """Why nothing is done, by its first sentence."""
    told = SleepSettings(keep_awake=1, **more)  # type: ignore[arg-type]  # fields by name
    made = consolidate(plant, sleepers, expected, NOW, told)
    assert not (made.wake or made.sleep or made.empty)
    return str(parts_of(made.kept[0].why)[0]["code"])


TWO = Plant((host("a"), host("b")), (Vm("m", vcpus=1, memory_bytes=GIB, host="a"),), settings=Settings(mode=Mode.AUTOMATIC))  # fmt: skip


def test_why_a_host_stays_awake() -> None:
    late = Forecast(QUIET.begins, (*QUIET.hours[:3], *(Demand(9.0, GIB),) * 69))
    unknown = Forecast(QUIET.begins, (None,) * 72)
    b = Sleeper("b")
    assert code(TWO, b, expected=late) == "consolidate.needed"
    assert code(TWO, b, expected=unknown) == "consolidate.no_history"
    assert code(TWO, b, begin="22:00", end="04:00") == "consolidate.hours"
    assert code(TWO, replace(b, since=NOW - timedelta(minutes=30))) == "consolidate.settling"
    assert code(TWO, replace(b, since=NOW - timedelta(hours=2))) == "consolidate.lately"
    running = replace(TWO, settings=replace(TWO.settings, moves_running=1))
    assert code(running, b) == "consolidate.busy"
    held = replace(TWO, vms=(replace(TWO.vms[0], movability=Movability.APPROVAL),))
    assert code(held, Sleeper("a")) == "consolidate.control"


def test_a_move_that_saves_less_than_it_costs_is_not_made() -> None:
    disruptive = replace(TWO.vms[0], disruption=1e9)
    assert code(replace(TWO, vms=(disruptive,)), Sleeper("a")) == "consolidate.no_gain"


def test_all_that_are_needed_wake_at_once_and_those_under_way_count() -> None:
    hosts = (host("a"), *(host(name, state=HostState.ASLEEP) for name in "bcd"))
    wanted = Forecast(QUIET.begins, (Demand(19.0, GIB),) * 72)
    plant, told = replace(TWO, hosts=hosts), SleepSettings(keep_awake=1)
    sleepers = [
        Sleeper(name, wake_s=wake) for name, wake in zip("bcd", (300, 60, 120), strict=True)
    ]
    made = consolidate(plant, sleepers, wanted, NOW, told)
    assert [order.host for order in made.wake] == ["c", "d"]
    made = consolidate(plant, sleepers, wanted, NOW, told, waking=["c"])
    assert [order.host for order in made.wake] == ["d"]
    assert not consolidate(plant, sleepers, wanted, NOW, told, waking=["c", "d"]).wake


def test_those_asleep_wake_when_the_others_alone_do_not_survive_a_loss() -> None:
    plant = Plant(
        (host("a"), host("b", state=HostState.DOWN), host("c", state=HostState.ASLEEP)),
        TWO.vms,
        settings=Settings(spare_hosts=1),
    )
    made = consolidate(plant, [Sleeper("c")], QUIET, NOW, SleepSettings(keep_awake=1))
    assert [parts_of(order.why)[0]["code"] for order in made.wake] == ["consolidate.danger"]


def test_a_lost_host_with_machines_on_it_wakes_all_and_nobody_sleeps_until_that_is_over() -> None:
    lost = (
        host("a", state=HostState.DOWN),
        host("b"),
        host("c"),
        host("d", state=HostState.ASLEEP),
    )
    plant, told = replace(TWO, hosts=lost), SleepSettings(keep_awake=1)
    sleepers = [Sleeper("c"), Sleeper("d")]
    made = consolidate(plant, sleepers, QUIET, NOW, told)
    assert [(row.host, parts_of(row.why)[0]["code"]) for row in made.wake] == [
        ("d", "consolidate.lost")
    ]
    woken = replace(plant, hosts=(*lost[:3], host("d")))
    made = consolidate(woken, sleepers, QUIET, NOW, told)
    assert made.sleep is None
    assert [parts_of(row.why)[0]["code"] for row in made.kept] == ["consolidate.lost"]
    elsewhere = replace(woken, vms=(replace(TWO.vms[0], host="b"),))
    made = consolidate(elsewhere, sleepers, QUIET, NOW, told)
    assert made.sleep is not None
    assert made.sleep.host == "c"
