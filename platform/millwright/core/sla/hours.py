"""Service hours: shifts by the plant's wall clock, holidays, and months in the plant's zone.

A shift begins at the first moment at which the clock shows its begin or later, and ends at the last at
which it still shows less than its end. So a shift over the hour that occurs twice has it twice, one
over the hour that is left out is an hour shorter, and no shift overlaps itself.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from .intervals import Interval, Spans

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)|24:00")
_DAY = dt.timedelta(days=1)


class HoursError(ValueError):
    """Service hours cannot be read; `field` names where, the text the value and the rule."""

    def __init__(self, field: str, text: str) -> None:
        self.field = field
        super().__init__(f"{field}: {text}")


@dataclass(frozen=True, slots=True)
class Shift:
    """Days (0 is Monday) on which it begins, and minutes after midnight. An end at or before the begin is on the next day."""

    days: frozenset[int]
    begin: int
    end: int


def _minutes(value: object, field: str) -> int:
    text = str(value)
    if not _CLOCK.fullmatch(text):
        raise HoursError(field, f"{text!r}: write a time as HH:MM, at most 24:00")
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


def moment(zone: dt.tzinfo, day: dt.date, minutes: int, *, last: bool = False) -> dt.datetime:
    """When the wall clock first shows `minutes` of `day`, or, `last`, ceases to show less. In UTC.

    Where the clock jumps over that time: the moment of the jump.
    """
    wall = dt.datetime.combine(day, dt.time()) + dt.timedelta(minutes=minutes)
    first = wall.replace(tzinfo=zone, fold=0).astimezone(dt.UTC)
    second = wall.replace(tzinfo=zone, fold=1).astimezone(dt.UTC)
    if first <= second:
        # The clock came back only as far as this very time: it never showed less again.
        instant = second - dt.timedelta(microseconds=1)
        returned = instant.astimezone(zone).utcoffset() == second.astimezone(zone).utcoffset()
        return second if last and returned else first
    # The time does not exist: `second` lies before the jump, `first` after it.
    low, high = second, first
    before = low.astimezone(zone).utcoffset()
    while high - low > dt.timedelta(seconds=1):
        middle = low + (high - low) / 2
        middle = middle.replace(microsecond=0)
        if middle <= low:
            break
        if middle.astimezone(zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high


def month_period(zone: dt.tzinfo, month: dt.date) -> Interval:
    """A calendar month in the zone, from its first moment to the next month's."""
    first = month.replace(day=1)
    after = (first + dt.timedelta(days=32)).replace(day=1)
    return Interval(moment(zone, first, 0), moment(zone, after, 0))


def month_of(zone: dt.tzinfo, at: dt.datetime) -> dt.date:
    """The first day of the month in which `at` lies."""
    return at.astimezone(zone).date().replace(day=1)


def month_before(month: dt.date) -> dt.date:
    """The first day of the month before."""
    return (month.replace(day=1) - _DAY).replace(day=1)


def months_of(zone: dt.tzinfo, begin: dt.datetime, end: dt.datetime) -> Iterator[dt.date]:
    """Every month that `[begin, end]` touches."""
    month, last = month_of(zone, begin), month_of(zone, end)
    while month <= last:
        yield month
        month = (month + dt.timedelta(days=32)).replace(day=1)


@dataclass(frozen=True, slots=True)
class ServiceHours:
    """When a service is promised. No shifts: always, but for holidays."""

    zone: ZoneInfo
    shifts: tuple[Shift, ...] = ()
    #: a shift that would begin on such a day does not; one from the day before runs to its end
    holidays: frozenset[dt.date] = field(default_factory=frozenset)
    #: the same each year, as (month, day)
    yearly: frozenset[tuple[int, int]] = field(default_factory=frozenset)

    @classmethod
    def from_data(cls, data: Mapping[str, Any], zone: ZoneInfo) -> ServiceHours:
        """Read `{"time_zone", "shifts": [{"days": ["mon", …], "from": "06:00", "to": "22:00"}], "holidays": ["2026-12-25"]}`.

        `zone` is used where the data names none.

        Raises:
            HoursError: names the field, the value and the rule.
        """
        if unknown := sorted(set(data) - {"time_zone", "shifts", "holidays"}):
            raise HoursError(unknown[0], "not known; there are time_zone, shifts and holidays")
        for key, kind, rule in (
            ("time_zone", str, "a name"),
            ("shifts", list, "a list"),
            ("holidays", list, "a list"),
        ):
            if data.get(key) is not None and not isinstance(data[key], kind):
                raise HoursError(key, f"{data[key]!r}: must be {rule}")
        if name := data.get("time_zone"):
            if name not in available_timezones():
                raise HoursError("time_zone", f"{name!r} is no zone of the IANA database")
            zone = ZoneInfo(str(name))
        shifts = []
        for number, row in enumerate(data.get("shifts") or ()):
            where = f"shifts[{number}]"
            if not isinstance(row, Mapping):
                raise HoursError(where, "each shift has days, from and to")
            days = row.get("days") or list(DAYS)
            if not isinstance(days, list):
                raise HoursError(f"{where}.days", f"{days!r}: must be a list")
            if wrong := [day for day in days if day not in DAYS]:
                raise HoursError(f"{where}.days", f"{wrong[0]!r}: use {', '.join(DAYS)}")
            begin = _minutes(row.get("from", "00:00"), f"{where}.from")
            if begin == 24 * 60:
                raise HoursError(f"{where}.from", "'24:00': a shift begins before midnight")
            shifts.append(
                Shift(
                    frozenset(DAYS.index(day) for day in days),
                    begin,
                    _minutes(row.get("to", "24:00"), f"{where}.to"),
                )
            )
        holidays, yearly = set(), set()
        for number, value in enumerate(data.get("holidays") or ()):
            text = str(value)
            try:
                # 2024 was a leap year, so that 02-29 is a day.
                day = dt.date.fromisoformat(text if len(text) > 5 else f"2024-{text}")
            except ValueError:
                raise HoursError(
                    f"holidays[{number}]",
                    f"{value!r}: write a day as YYYY-MM-DD, or MM-DD for each year",
                ) from None
            if len(text) > 5:
                holidays.add(day)
            else:
                yearly.add((day.month, day.day))
        return cls(zone, tuple(shifts), frozenset(holidays), frozenset(yearly))

    def as_data(self) -> dict[str, Any]:
        """What `from_data` reads."""
        return {
            "time_zone": self.zone.key,
            "shifts": [
                {
                    "days": [DAYS[day] for day in sorted(shift.days)],
                    "from": _clock(shift.begin),
                    "to": _clock(shift.end),
                }
                for shift in self.shifts
            ],
            "holidays": [
                *(f"{month:02}-{day:02}" for month, day in sorted(self.yearly)),
                *sorted(day.isoformat() for day in self.holidays),
            ],
        }

    def spans(self, period: Interval) -> Spans:
        """The promised time within a period."""
        if not self.shifts and not self.holidays and not self.yearly:
            return Spans((period,))
        shifts = self.shifts or (Shift(frozenset(range(7)), 0, 24 * 60),)
        day = period.begin.astimezone(self.zone).date() - 2 * _DAY
        last = period.end.astimezone(self.zone).date() + _DAY
        rows = []
        while day <= last:
            if day not in self.holidays and (day.month, day.day) not in self.yearly:
                for shift in shifts:
                    if day.weekday() in shift.days:
                        end = shift.end if shift.end > shift.begin else shift.end + 24 * 60
                        begins = moment(self.zone, day, shift.begin)
                        ends = moment(self.zone, day, end, last=True)
                        if begins < ends:
                            rows.append(Interval(begins, ends))
            day += _DAY
        return Spans(rows) & Spans((period,))
