"""When values are told: each scan of a slow task once, whatever its jitter; fast ones ten times a second."""

from __future__ import annotations

import random

import pytest

from industrial.opcua.publish import LOOK_S, PERIOD_S, Pace


@pytest.mark.parametrize("interval_s", [0.1, 0.25, 1.0])
def test_no_scan_of_a_slow_task_is_jumped_over(interval_s: float) -> None:
    chance = random.Random(7)  # noqa: S311 - jitter
    starts = [n * interval_s + chance.uniform(0, 0.6) * PERIOD_S for n in range(2000)]
    pace, now, scans, told = Pace(0.0), 0.0, 0, [0]
    while scans < len(starts):
        now += LOOK_S * chance.uniform(1, 1.5)
        while scans < len(starts) and starts[scans] <= now:
            scans += 1
        if pace.due(now, scans, True) and scans != told[-1]:
            told.append(scans)
    assert told == list(range(len(starts) + 1))


def test_without_slow_tasks_ten_times_a_second() -> None:
    pace = Pace(0.0)
    looks = [n * LOOK_S for n in range(1, 501)]
    told = [now for now in looks if pace.due(now, 0, False)]
    assert len(told) == pytest.approx(10.0 / PERIOD_S, abs=2)


def test_fast_values_beside_a_slow_task_are_told_hardly_more_often() -> None:
    pace = Pace(0.0)
    told = [n for n in range(1, 1001) if pace.due(n * LOOK_S, int(n * LOOK_S / 0.1 + 1e-9), True)]
    assert len(told) == pytest.approx(20.0 / PERIOD_S, abs=3)


def test_a_long_pause_is_not_made_up_for() -> None:
    pace = Pace(0.0)
    assert pace.due(60.0, 0, False)
    assert [n for n in range(1, 6) if pace.due(60.0 + n * LOOK_S, 0, False)] == [5]
