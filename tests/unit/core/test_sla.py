"""Service level arithmetic against a brute-force grid of minutes."""

import datetime as dt
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from millwright.core.sla import (
    Interval,
    IntervalError,
    Spans,
    StateChange,
    after_grace,
    availability,
    closed,
    observe,
)

ZERO = dt.datetime(2026, 3, 29, tzinfo=dt.UTC)
MINUTES = 120
PERIOD = Interval(ZERO, ZERO + dt.timedelta(minutes=MINUTES))


def at(minute: int) -> dt.datetime:
    return ZERO + dt.timedelta(minutes=minute)


def spans(pairs: list[tuple[int, int]]) -> Spans:
    return Spans(Interval(at(min(pair)), at(max(pair))) for pair in pairs)


def grid(pairs: list[tuple[int, int]]) -> set[int]:
    return {minute for pair in pairs for minute in range(min(pair), max(pair))}


def minutes(value: Spans) -> set[int]:
    return {
        minute
        for row in value.intervals
        for minute in range(
            int((row.begin - ZERO).total_seconds()) // 60,
            int((row.end - ZERO).total_seconds()) // 60,
        )
    }


PAIRS = st.lists(
    st.tuples(st.integers(-20, MINUTES + 20), st.integers(-20, MINUTES + 20)), max_size=8
)


@settings(max_examples=500)
@given(PAIRS, PAIRS)
def test_sets_of_intervals_behave_as_sets_of_minutes(one: list, two: list) -> None:
    a, b = spans(one), spans(two)
    assert minutes(a) == grid(one)
    assert minutes(a | b) == grid(one) | grid(two)
    assert minutes(a & b) == grid(one) & grid(two)
    assert minutes(a - b) == grid(one) - grid(two)
    assert a.length == dt.timedelta(minutes=len(grid(one)))
    for result in (a, a | b, a & b, a - b):
        rows = result.intervals
        assert all(left.end < right.begin for left, right in pairwise(rows))
        assert all(row.begin < row.end for row in rows)
    for minute in range(-20, MINUTES + 20):
        assert (at(minute) in a) == (minute in grid(one))


@settings(max_examples=500)
@given(PAIRS, PAIRS, PAIRS, PAIRS)
def test_availability_is_what_counting_minutes_gives(
    down: list, missing: list, service: list, excluded: list
) -> None:
    result = availability(
        PERIOD,
        down=spans(down),
        missing=spans(missing),
        service=spans(service),
        excluded=(spans(excluded),),
    )
    eligible = (set(range(MINUTES)) & grid(service)) - grid(excluded)
    bad = (grid(down) | grid(missing)) & eligible
    assert result.eligible == dt.timedelta(minutes=len(eligible))
    assert result.down == dt.timedelta(minutes=len(bad))
    assert result.missing == dt.timedelta(minutes=len((grid(missing) - grid(down)) & eligible))
    if not eligible:
        assert result.availability is None
        assert result.kept(0.5) is None
    else:
        assert result.availability == pytest.approx(1 - len(bad) / len(eligible))
        assert result.budget_left(0.9).total_seconds() == pytest.approx(
            60 * (len(eligible) * 0.1 - len(bad)), abs=1e-3
        )


CHANGES = st.lists(
    st.tuples(st.integers(-20, MINUTES + 20), st.sampled_from([True, False, None])), max_size=10
)


@settings(max_examples=500)
@given(CHANGES)
def test_a_period_is_divided_without_gap_or_overlap(rows: list) -> None:
    seen = observe([StateChange(at(minute), up) for minute, up in rows], PERIOD)
    ordered = sorted(rows, key=lambda row: row[0])
    for minute in range(MINUTES):
        known = [up for when, up in ordered if when <= minute]
        state = known[-1] if known else None
        assert (at(minute) in seen.up) == (state is True)
        assert (at(minute) in seen.down) == (state is False)
        assert (at(minute) in seen.unknown) == (state is None)
    assert seen.up | seen.down | seen.unknown == Spans([PERIOD])
    assert seen.up.length + seen.down.length + seen.unknown.length == PERIOD.length


@given(PAIRS, st.integers(0, 60))
def test_unknown_time_counts_beyond_the_grace(pairs: list, grace: int) -> None:
    counted = after_grace(spans(pairs), dt.timedelta(minutes=grace))
    expected = {
        minute for row in spans(pairs).intervals for minute in sorted(minutes(Spans([row])))[grace:]
    }
    assert minutes(counted) == expected


def test_an_hour_that_the_clocks_skip_is_not_counted() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    day = Interval(dt.datetime(2026, 3, 29, tzinfo=berlin), dt.datetime(2026, 3, 30, tzinfo=berlin))
    assert day.length == dt.timedelta(hours=23)
    autumn = Interval(
        dt.datetime(2026, 10, 25, tzinfo=berlin), dt.datetime(2026, 10, 26, tzinfo=berlin)
    )
    assert autumn.length == dt.timedelta(hours=25)


def test_open_ends_reach_to_now() -> None:
    found = closed([(at(0), at(5)), (at(10), None), (at(40), None)], now=at(30))
    assert minutes(found) == {*range(5), *range(10, 30)}


def test_wrong_intervals_are_refused_with_both_times() -> None:
    with pytest.raises(IntervalError, match=r"before it begins.*00:05.*00:00"):
        Interval(at(5), at(0))
    with pytest.raises(IntervalError, match="zone"):
        Interval(dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 2))
