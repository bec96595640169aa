"""What the plant will want, by the hour: the most of earlier weeks at that hour of the week, and what is known to come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from .calendar import bounds, holds
from .model import Entry

HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)
#: earlier weeks that count
WEEKS = 4
#: how far ahead it is told
AHEAD_HOURS = 72


@dataclass(frozen=True, slots=True)
class Demand:
    """CPUs wanted and memory promised, together on all hosts."""

    cpus: float = 0.0
    memory_bytes: float = 0.0

    def most(self, other: Demand) -> Demand:
        """The larger of each."""
        return Demand(max(self.cpus, other.cpus), max(self.memory_bytes, other.memory_bytes))


@dataclass(frozen=True, slots=True)
class Hour:
    """What an hour of the past wanted at most. `at`: its beginning, in the plant's own time."""

    at: datetime
    demand: Demand


@dataclass(frozen=True, slots=True)
class Coming:
    """What will be wanted on top, from a moment until another (nothing: for good)."""

    since: datetime
    demand: Demand
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """By the hour from `begins` on; nothing: no earlier week knows that hour."""

    begins: datetime
    hours: tuple[Demand | None, ...]

    def of(self, index: int) -> Demand | None:
        """The hour so many hours after the first; nothing where nothing is known or it is too far ahead."""
        return self.hours[index] if index < len(self.hours) else None

    def hour(self, index: int) -> datetime:
        """When that hour begins."""
        return self.begins + index * HOUR


def begins(at: datetime) -> datetime:
    """The beginning of the hour."""
    return at.replace(minute=0, second=0, microsecond=0)


def forecast(
    past: Iterable[Hour],
    now: datetime,
    measured: Demand,
    coming: Sequence[Coming] = (),
    hours: int = AHEAD_HOURS,
) -> Forecast:
    """The hours ahead, this one first, which wants at least what is measured.

    An hour that no earlier week has known is not known, and neither is any as long as less than a week is. All times
    are of one kind: the plant's own, with a zone or without.
    """
    first = begins(now)
    oldest = first - WEEKS * WEEK
    known: dict[tuple[int, int], Demand] = {}
    earliest = first
    for row in past:
        if not oldest <= row.at < first:
            continue
        earliest = min(earliest, row.at)
        key = (row.at.weekday(), row.at.hour)
        known[key] = known.get(key, Demand()).most(row.demand)
    ready = first - earliest >= WEEK
    found: list[Demand | None] = []
    for index in range(hours):
        at = first + index * HOUR
        demand = known.get((at.weekday(), at.hour)) if ready else None
        if index == 0 and demand is not None:
            demand = demand.most(measured)
        found.append(demand and _with(demand, coming, at))
    return Forecast(first, tuple(found))


def ready_from(past: Iterable[Hour], now: datetime) -> datetime:
    """From when on enough is known: a week after the first hour that counts."""
    oldest = begins(now) - WEEKS * WEEK
    return min((row.at for row in past if row.at >= oldest), default=begins(now)) + WEEK


def from_calendar(
    entries: Iterable[Entry], now: datetime, hours: int = AHEAD_HOURS
) -> list[Coming]:
    """What dated lines of the calendar (a rush order) reserve in the hours ahead.

    Lines without a beginning are in the past hours already, and so are those that began more than a week ago.
    """
    found = []
    first = begins(now)
    for entry in entries:
        since, _until = bounds(entry.since, entry.until, now)
        if not entry.reservation or since is None or since < now - WEEK:
            continue
        for index in range(hours):
            at = first + index * HOUR
            if holds(entry, at):
                found.append(Coming(at, Demand(cpus=entry.reservation), at + HOUR))
    return found


def _with(demand: Demand, coming: Sequence[Coming], at: datetime) -> Demand:
    added = [
        entry.demand
        for entry in coming
        if entry.since < at + HOUR and (entry.until is None or entry.until > at)
    ]
    return Demand(
        demand.cpus + sum(entry.cpus for entry in added),
        demand.memory_bytes + sum(entry.memory_bytes for entry in added),
    )
