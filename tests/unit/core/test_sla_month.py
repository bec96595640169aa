"""Service hours, the fold of what was seen, windows and a month's figures, against grids of minutes."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from millwright.core.sla import (
    Cause,
    Entry,
    Evidence,
    Happened,
    HoursError,
    Interval,
    Kind,
    Seen,
    ServiceHours,
    Shift,
    Spans,
    Terms,
    Track,
    classify,
    fold,
    measure,
    month_period,
    occurrences,
)

MINUTE = dt.timedelta(minutes=1)
#: The hour that is left out and the one that occurs twice lie in these; and one zone without either.
STARTS = st.sampled_from(
    [
        (ZoneInfo("Europe/Berlin"), dt.datetime(2026, 3, 28, 18, tzinfo=dt.UTC)),
        (ZoneInfo("Europe/Berlin"), dt.datetime(2026, 10, 24, 18, tzinfo=dt.UTC)),
        (ZoneInfo("America/New_York"), dt.datetime(2026, 11, 1, 0, tzinfo=dt.UTC)),
        (ZoneInfo("Asia/Shanghai"), dt.datetime(2026, 3, 28, 18, tzinfo=dt.UTC)),
    ]
)
CLOCK = st.integers(0, 95).map(lambda quarter: quarter * 15)
SHIFTS = st.lists(
    st.tuples(st.frozensets(st.integers(0, 6), min_size=1), CLOCK, CLOCK), min_size=1, max_size=3
)
HOURS = 30


def grid(spans: Spans, start: dt.datetime, minutes: int) -> list[bool]:
    """Whether each minute of a grid lies in the spans."""
    marks = [False] * minutes
    for row in spans.intervals:
        first = max(0, -((start - row.begin) // MINUTE))
        last = min(minutes, -((start - row.end) // MINUTE))
        for minute in range(first, last):
            marks[minute] = True
    return marks


def by_the_clock(
    zone: ZoneInfo, shifts: list, holidays: frozenset, start: dt.datetime, minutes: int
) -> list[bool]:
    """Shifts minute by minute: begun once the clock has shown the begin, over once it shows the end for good."""
    pad = 3 * 24 * 60
    clocks = [
        (start + minute * MINUTE).astimezone(zone).replace(tzinfo=None)
        for minute in range(-pad, minutes + pad)
    ]
    reached, latest = [], dt.datetime.min
    for clock in clocks:
        latest = max(latest, clock)
        reached.append(latest)
    ahead, earliest = [], dt.datetime.max
    for clock in reversed(clocks):
        earliest = min(earliest, clock)
        ahead.append(earliest)
    ahead.reverse()
    marks = [False] * minutes
    day = start.date() - dt.timedelta(days=3)
    while day <= start.date() + dt.timedelta(days=3):
        for days, begin, end in shifts:
            if day.weekday() in days and day not in holidays:
                midnight = dt.datetime.combine(day, dt.time())
                begins = midnight + begin * MINUTE
                ends = midnight + (end if end > begin else end + 1440) * MINUTE
                for minute in range(minutes):
                    at = minute + pad
                    if reached[at] >= begins and ahead[at] < ends:
                        marks[minute] = True
        day += dt.timedelta(days=1)
    return marks


def check_hours(where: tuple, shifts: list, off: list[int]) -> None:
    zone, start = where
    holidays = frozenset(start.date() + dt.timedelta(days=days) for days in off)
    hours = ServiceHours(zone, tuple(Shift(*shift) for shift in shifts), holidays)
    period = Interval(start, start + dt.timedelta(hours=HOURS))
    wanted = by_the_clock(zone, shifts, holidays, start, HOURS * 60)
    assert grid(hours.spans(period), start, HOURS * 60) == wanted
    assert ServiceHours.from_data(hours.as_data(), zone).spans(period) == hours.spans(period)


OFF = st.lists(st.integers(-1, 1), max_size=2)


@settings(max_examples=40, deadline=None)
@given(STARTS, SHIFTS, OFF)
def test_service_hours_are_what_the_clock_on_the_wall_says(
    where: tuple, shifts: list, off: list[int]
) -> None:
    check_hours(where, shifts, off)


@pytest.mark.full
@settings(max_examples=1000, deadline=None)
@given(STARTS, SHIFTS, OFF)
def test_service_hours_over_many_cases(where: tuple, shifts: list, off: list[int]) -> None:
    check_hours(where, shifts, off)


# --- a month's figures ---------------------------------------------------------------------------

START = dt.datetime(2026, 3, 29, tzinfo=dt.UTC)
LENGTH = 240
POINT = st.integers(-30, LENGTH + 30)
ENTRIES = st.lists(
    st.tuples(
        POINT,
        st.one_of(st.none(), st.integers(1, 120)),
        st.sampled_from(Kind),
        st.sampled_from(Cause),
    ),
    max_size=8,
)
PAIRS = st.lists(st.tuples(POINT, st.integers(1, 90)), max_size=3)
TERMS = st.lists(
    st.tuples(st.integers(-10, LENGTH), st.sampled_from([0.9, 0.99]), st.booleans(), st.booleans()),
    min_size=1,
    max_size=3,
)
SHIFT = ServiceHours(ZoneInfo("UTC"), (Shift(frozenset(range(7)), 30, 150),))


def at(minute: int) -> dt.datetime:
    return START + minute * MINUTE


def spans(pairs: list[tuple[int, int]]) -> Spans:
    return Spans(Interval(at(begin), at(begin + length)) for begin, length in pairs)


def check_month(
    entries: list, windows: list, service: list, absences: list, terms: list, grace: int, now: int
) -> None:
    terms = sorted(terms, key=lambda row: row[0])
    rows = [
        Entry(at(begin), None if length is None else at(begin + length), kind, cause)
        for begin, length, kind, cause in entries
    ]
    got = measure(
        Interval(START, at(LENGTH)),
        rows,
        [
            Terms(at(begin), ratio, SHIFT if shift else None, grace * MINUTE, counts)
            for begin, ratio, shift, counts in terms
        ],
        now=at(now),
        service=spans(service),
        windows=spans(windows),
        absences=spans(absences),
    )

    def within(pairs: list, minute: int) -> bool:
        return any(begin <= minute < begin + length for begin, length in pairs)

    def causes_at(minute: int) -> set[Cause]:
        return {
            cause
            for begin, length, kind, cause in entries
            if begin <= minute < (max(now, begin) if length is None else begin + length)
            and cause is not Cause.VOID
            and not (kind is Kind.MISSING and cause is Cause.UNKNOWN)
        }

    def no_data(minute: int) -> bool:
        return within(absences, minute) or any(
            kind is Kind.MISSING
            and cause is Cause.UNKNOWN
            and begin <= minute < (max(now, begin) if length is None else begin + length)
            for begin, length, kind, cause in entries
        )

    last = min(LENGTH, max(now, 0))
    eligible = down = missing = excluded = ordered_time = 0
    budget = 0.0
    run = 0
    minutes_without = []
    # The grace runs from the first minute without data, also where that lies before the period; what
    # has not reached the period is not known to it.
    for minute in range(-400, LENGTH + 200):
        relevant = no_data(minute)
        run = run + 1 if relevant else 0
        minutes_without.append(run > grace)
    down_minutes = []
    for minute in range(last):
        term = terms[0]
        for row in terms[1:]:
            if row[0] <= minute:
                term = row
        _, ratio, shift, counts = term
        hit = False
        if within(service, minute) and (not shift or 30 <= minute % 1440 < 150):
            causes = causes_at(minute)
            lost = bool(causes & {Cause.UNKNOWN, Cause.UNPLANNED, Cause.SMALL_STOP})
            ordered = bool(causes & {Cause.PLANNED, Cause.CHANGEOVER})
            if counts:
                lost |= ordered
            if within(windows, minute) or Cause.EXCLUDED in causes:
                excluded += 1
            elif ordered and not lost:
                ordered_time += 1
            else:
                eligible += 1
                budget += 1 - ratio
                nothing = minutes_without[minute + 400]
                hit = lost or nothing
                down += hit
                missing += nothing and not lost
        down_minutes.append(hit)
    assert got.eligible == eligible * MINUTE
    assert got.down == down * MINUTE
    assert got.missing == missing * MINUTE
    assert got.excluded == excluded * MINUTE
    assert got.ordered == ordered_time * MINUTE
    assert got.budget / MINUTE == pytest.approx(budget, abs=1e-3)
    assert got.outages == sum(
        hit and (minute == 0 or not down_minutes[minute - 1])
        for minute, hit in enumerate(down_minutes)
    )
    if eligible:
        assert got.objective == pytest.approx(1 - budget / eligible, abs=1e-7)
        assert got.availability == pytest.approx(1 - down / eligible)
    else:
        assert got.availability is None


CASES = st.tuples(
    ENTRIES, PAIRS, PAIRS, PAIRS, TERMS, st.integers(0, 20), st.integers(1, LENGTH + 60)
)


@settings(max_examples=200, deadline=None)
@given(CASES)
def test_a_months_figures_are_those_of_its_minutes(case: tuple) -> None:
    check_month(*case)


@pytest.mark.parametrize("seconds", [61, 761, 3600, 2_678_400])
def test_what_one_contract_promised_is_its_own_figure_of_any_length(seconds: int) -> None:
    begin = dt.datetime(2026, 11, 26, 16, 58, tzinfo=dt.UTC)
    period = Interval(begin, begin + dt.timedelta(seconds=seconds, microseconds=7))
    for ratio in (0.95, 0.999, 0.9999):
        got = measure(period, [], [Terms(begin, ratio)], now=period.end)
        assert got.objective == ratio


@pytest.mark.full
@settings(max_examples=7000, deadline=None)
@given(CASES)
def test_a_months_figures_over_many_cases(case: tuple) -> None:
    check_month(*case)


# --- what was seen ---------------------------------------------------------------------------------

SEEN = st.lists(
    st.tuples(
        st.integers(0, LENGTH - 1),
        st.sampled_from(
            [
                ("observed", "running"),
                ("observed", "crashed"),
                ("observed", "unknown"),
                ("observed", "migrating"),
                ("probe_modbus", "failing"),
                ("probe_modbus", "ok"),
                ("probe_opcua", "failing"),
                ("probe_opcua", "ok"),
                ("probe_opcua", "stale"),
                ("service", "begun"),
                ("service", "ended"),
            ]
        ),
    ),
    max_size=12,
)


def check_fold(events: list) -> None:
    events = sorted(events, key=lambda row: row[0])
    rows = fold((Seen(at(minute), *what) for minute, what in events), Track())
    known = {"observed": "absent", "probe_modbus": "", "probe_opcua": "", "service": "ended"}
    # Last moment's states, one for each event: those of one minute take no time but leave a mark.
    states: list[tuple[int, Kind | None]] = []
    answered: set[str] = set()
    for minute, (aspect, value) in events:
        if aspect == "observed" and value == "unknown" and known["observed"] != "unknown":
            answered = set()
        known[aspect] = value
        if aspect.startswith("probe_"):
            answered = answered | {aspect} if value == "ok" else answered - {aspect}
        seen = known["observed"]
        if known["service"] != "begun":
            kind = None
        elif seen == "crashed" or seen == "absent" or "failing" in known.values():
            kind = Kind.DOWN
        elif seen == "unknown" and not answered:
            kind = Kind.MISSING
        else:
            kind = None
        states.append((minute, kind))
    # Lost from sight, then found down: down since it was lost.
    for index in range(len(states) - 2, -1, -1):
        if states[index][1] is Kind.MISSING and states[index + 1][1] is Kind.DOWN:
            states[index] = (states[index][0], Kind.DOWN)
    for minute in range(LENGTH):
        wanted = next((kind for when, kind in reversed(states) if when <= minute), None)
        got = [
            row.kind
            for row in rows
            if row.begin <= at(minute) and (not row.end or at(minute) < row.end)
        ]
        assert got == ([wanted] if wanted else []), minute


@settings(max_examples=150, deadline=None)
@given(SEEN)
def test_the_fold_of_what_was_seen_covers_each_minute_once(events: list) -> None:
    check_fold(events)


@pytest.mark.full
@settings(max_examples=2000, deadline=None)
@given(SEEN)
def test_the_fold_over_many_cases(events: list) -> None:
    check_fold(events)


# --- words --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"shifts": [{"from": "6:00"}]}, "shifts[0].from"),
        ({"shifts": [{"from": "24:00"}]}, "shifts[0].from"),
        ({"shifts": [{"days": ["monday"]}]}, "shifts[0].days"),
        ({"holidays": ["25.12.2026"]}, "holidays[0]"),
        ({"time_zone": "Europe/Atlantis"}, "time_zone"),
        ({"zone": "UTC"}, "zone"),
    ],
)
def test_hours_that_cannot_be_read_name_the_field(data: dict, field: str) -> None:
    with pytest.raises(HoursError) as caught:
        ServiceHours.from_data(data, ZoneInfo("UTC"))
    assert caught.value.field == field


def test_a_holiday_may_come_each_year() -> None:
    hours = ServiceHours.from_data({"holidays": ["12-25", "2027-03-26"]}, ZoneInfo("UTC"))
    assert ServiceHours.from_data(hours.as_data(), ZoneInfo("UTC")) == hours
    for year in (2026, 2027):
        december = month_period(ZoneInfo("UTC"), dt.date(year, 12, 1))
        assert hours.spans(december).length == dt.timedelta(days=30)


def test_months_with_a_change_of_clocks_are_an_hour_shorter_and_longer() -> None:
    zone = ZoneInfo("Europe/Berlin")
    lengths = [
        month_period(zone, dt.date(2026, month, 1)).length / dt.timedelta(hours=1)
        for month in (3, 10, 11)
    ]
    assert lengths == [31 * 24 - 1, 31 * 24 + 1, 30 * 24]


def test_a_recurring_window_keeps_its_time_on_the_wall() -> None:
    zone = ZoneInfo("Europe/Berlin")
    begin = dt.datetime(2026, 3, 22, 6, tzinfo=zone)
    spans = occurrences(
        begin,
        begin + dt.timedelta(hours=2),
        zone=zone,
        every_days=7,
        until=dt.date(2026, 4, 5),
        closed_at=dt.datetime(2026, 4, 5, 7, tzinfo=zone),
    )
    walls = [(row.begin.astimezone(zone), row.end.astimezone(zone)) for row in spans.intervals]
    assert [(b.day, b.hour, e.hour) for b, e in walls] == [(22, 6, 8), (29, 6, 8), (5, 6, 7)]


@pytest.mark.parametrize(
    ("happened", "offset_s", "length_s", "cause"),
    [
        (Happened.ORDERED_STOP, -10, 600, Cause.PLANNED),
        (Happened.CHANGEOVER, 0, 10, Cause.CHANGEOVER),
        (Happened.HOST, 4, 600, Cause.UNPLANNED),
        (Happened.HOST, 15, 600, Cause.UNPLANNED),
        (Happened.HOST, 16, 600, Cause.UNKNOWN),
        (Happened.ORDERED_STOP, 6, 600, Cause.UNKNOWN),
        (Happened.HOST, 400, 600, Cause.UNKNOWN),
        (Happened.HOST, 400, 60, Cause.SMALL_STOP),
        (Happened.CRASH, 0, None, Cause.UNPLANNED),
    ],
)
def test_events_near_the_begin_give_the_cause(
    happened: Happened, offset_s: int, length_s: int | None, cause: Cause
) -> None:
    begin = at(0)
    when = begin + dt.timedelta(seconds=offset_s)
    evidence = [Evidence(happened, when, when + dt.timedelta(seconds=20), "text")]
    end = None if length_s is None else begin + dt.timedelta(seconds=length_s)
    assert classify(begin, end, evidence, small_stop=2 * MINUTE)[0] is cause


def test_all_events_of_one_cause_are_told_once_the_first_cause_wins() -> None:
    begin = at(0)
    evidence = [
        Evidence(Happened.CRASH, begin, begin, "crashed: killed"),
        Evidence(Happened.HOST, begin, begin, "host h1 suspect: slow"),
        Evidence(Happened.HOST, begin + MINUTE / 6, begin + MINUTE / 6, "host h1 suspect: slow"),
    ]
    found = classify(begin, None, evidence, small_stop=MINUTE)
    # What it was, as a code: a slow host is no lost one when the guest itself crashed.
    assert found == (Cause.UNPLANNED, "host h1 suspect: slow; crashed: killed", Happened.CRASH)
    assert classify(begin, None, evidence[1:], small_stop=MINUTE).by is Happened.HOST
    assert classify(begin, None, [], small_stop=MINUTE) == (Cause.UNKNOWN, "", None)
    ordered = Evidence(Happened.ORDERED_STOP, begin, begin, "stop by erin")
    found = classify(begin, None, [*evidence, ordered], small_stop=MINUTE)
    assert found == (Cause.PLANNED, "stop by erin", Happened.ORDERED_STOP)
