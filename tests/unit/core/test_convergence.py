"""Schedules of convergence are data: what each class allows, and when a move is given back."""

import pytest
from millwright.core.convergence import SCHEDULES, Schedule, Stage, estimate_s
from millwright.core.lifecycle import ServiceClass


def test_only_what_shares_its_cpus_is_slowed_down_and_every_class_gives_up_in_the_end() -> None:
    assert set(SCHEDULES) == set(ServiceClass)
    slowed = {kind for kind, schedule in SCHEDULES.items() if schedule.auto_converge}
    assert slowed == {ServiceClass.SHARED}
    for schedule in SCHEDULES.values():
        pauses = [stage.max_downtime_ms for stage in schedule.stages]
        assert pauses == sorted(pauses)
        assert schedule.abort_s > schedule.stages[-1].after_s


def test_a_controllers_pause_stays_below_a_second() -> None:
    assert SCHEDULES[ServiceClass.REALTIME].stages[-1].max_downtime_ms <= 1000


def test_a_short_pause_is_tried_first_and_not_for_long_where_there_is_no_deadline() -> None:
    # Another round costs little; who writes faster than that is not waited for.
    shared = SCHEDULES[ServiceClass.SHARED]
    assert shared.at(0).max_downtime_ms <= SCHEDULES[ServiceClass.GUARANTEED].at(0).max_downtime_ms
    assert shared.at(10).max_downtime_ms >= 300


def test_stages_follow_each_other_by_time() -> None:
    schedule = Schedule((Stage(0, 50), Stage(30, 100, 10**6)), abort_s=60)
    assert [schedule.at(now).max_downtime_ms for now in (0, 29.9, 30, 59)] == [50, 50, 100, 100]
    assert schedule.at(30).bandwidth_bytes_s == 10**6
    with pytest.raises(ValueError, match="the first at 0"):
        Schedule((Stage(1, 50),), abort_s=60)
    with pytest.raises(ValueError, match="after the last stage"):
        Schedule((Stage(0, 50), Stage(30, 100)), abort_s=30)


def test_the_estimate_counts_what_is_written_again() -> None:
    assert estimate_s(100, 10, None) == 10
    assert estimate_s(100, 10, 5) == 20
    assert estimate_s(100, 10, 10) is None
    assert estimate_s(0, 0, 5) == 0
