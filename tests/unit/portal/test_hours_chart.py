"""Hours as a drawing: lines that are flat in each hour, gaps, marks, and times below."""

from __future__ import annotations

import datetime as dt

import pytest
from millwright.balancing.foreseen import Compared
from millwright.core.balancing import Demand
from millwright.portal.hours_chart import LEAST_MARK, MOST_TICKS, WIDTH, Drawing, drawing

HOUR = dt.timedelta(hours=1)
BEGIN = dt.datetime(2026, 5, 4, tzinfo=dt.UTC)


def hour(
    number: int, cpus: float, expected: float | None = None, *, lacked: bool = False
) -> Compared:
    told = None if expected is None else Demand(expected, 1.0)
    return Compared(BEGIN + number * HOUR, Demand(cpus, 1.0), told, Demand(50.0, 1.0), lacked)


def drawn(rows: list[Compared], hours: float) -> Drawing:
    return drawing(
        rows,
        BEGIN,
        BEGIN + hours * HOUR,
        lambda demand: demand.cpus,
        lambda row: row.short_cpus > 0,
    )


def test_a_line_is_flat_in_each_hour_and_an_unknown_hour_is_a_gap() -> None:
    made = drawn([hour(0, 10.0, 20.0), hour(1, 20.0), hour(3, 5.0, 5.0)], 4)
    assert made.top == pytest.approx(54.0)
    # Two hours in a row, then one that is not known, then one more.
    assert made.measured == "M0.0 163.0H250.0V125.9H500.0M750.0 181.5H1000.0"
    assert made.expected == "M0.0 125.9H250.0M750.0 181.5H1000.0"


def test_what_lies_beyond_the_period_is_cut() -> None:
    made = drawn([hour(-2, 1.0), hour(-1, 1.0), hour(0, 10.0), hour(1, 10.0)], 1.5)
    assert made.measured.startswith("M0.0 ") and made.measured.endswith(f"H{WIDTH:.1f}")
    assert made.measured.count("M") == 1


def test_marks_are_seen_in_a_month_too() -> None:
    rows = [hour(5, 9.0, 4.0), hour(6, 3.0, 4.0), hour(7, 60.0, 4.0, lacked=True)]
    made = drawn(rows, 24 * 28)
    assert len(made.short) == 2 and len(made.lacked) == 1
    assert {float(width) for _, width in made.short} == {LEAST_MARK}
    day = drawn(rows, 24)
    assert day.short[0] == (f"{5 / 24 * WIDTH:.1f}", f"{WIDTH / 24:.1f}")


@pytest.mark.parametrize("days", [0.1, 1, 3, 7, 14, 28, 100])
def test_so_many_times_are_named_as_fit_on_a_phone(days: float) -> None:
    ticks = drawn([hour(0, 1.0)], 24 * days).ticks
    assert 1 <= len(ticks) <= MOST_TICKS + 1
    assert len({tick.text for tick in ticks}) == len(ticks)


def test_nothing_known_is_an_empty_drawing() -> None:
    made = drawn([], 24)
    assert (made.measured, made.expected, made.awake, made.short, made.lacked) == (
        "",
        "",
        "",
        (),
        (),
    )
