"""The calendar: what holds at a time of the week or until a date, laid over the plant."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import MAXYEAR, MINYEAR, datetime, timedelta

from millwright.core.lifecycle import Movability

from .errors import SnapshotError
from .model import Entry, Plant, Pool, Vm

DAY_MINUTES = 24 * 60
#: how far ahead a planned window is looked for
AHEAD = timedelta(days=14)
#: days in which everything that repeats by the week has begun and ended once, the night before included
_WEEK = 9
#: what people mean by a date; far from what arithmetic of dates cannot do
YEARS = range(2000, 3000)


def minutes(text: str, field: str = "time") -> int:
    """Minutes of the day from "HH:MM" ("24:00" is the end of the day).

    Raises SnapshotError.
    """
    hours, colon, rest = text.partition(":")
    good = bool(colon) and len(hours) == 2 and len(rest) == 2 and (hours + rest).isdecimal()
    total = int(hours) * 60 + int(rest) if good else -1
    if not good or int(rest) > 59 or total > DAY_MINUTES:
        raise SnapshotError(field, text, "a time like 06:00 is wanted")
    return total


def moment(text: str, now: datetime | None = None, field: str = "time") -> datetime:
    """A moment from ISO text; without a zone it is the plant's own time, like `now`.

    Raises SnapshotError.
    """
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise SnapshotError(field, text, "an ISO time like 2026-05-04T06:00 is wanted") from None
    if now is None:
        return value
    if value.tzinfo is None:
        return value.replace(tzinfo=now.tzinfo)
    return value if now.tzinfo is not None else value.replace(tzinfo=None)


def bounds(since: str, until: str, now: datetime) -> tuple[datetime | None, datetime | None]:
    """When what is written like this begins and ends; nothing: it always has begun, or never ends.

    In the first and the last year that dates have, days cannot be counted on nor zones changed: an end in the
    last year is none, nor is a beginning in the first.

    Raises SnapshotError.
    """
    begin = moment(since, now) if since else None
    end = moment(until, now) if until else None
    if begin is not None and begin.year == MINYEAR:
        begin = None
    if end is not None and end.year == MAXYEAR:
        end = None
    if begin is not None and begin.year == MAXYEAR:
        begin = datetime(MAXYEAR, 1, 1, tzinfo=now.tzinfo)
    if end is not None and end.year == MINYEAR:
        end = datetime(MINYEAR, 12, 31, tzinfo=now.tzinfo)
    return begin, end


def holds(entry: Entry, now: datetime) -> bool:
    """Does the line hold at this moment? Days and hours are those of `now` as it is written."""
    since, until = bounds(entry.since, entry.until, now)
    if (since is not None and now < since) or (until is not None and now >= until):
        return False
    if not entry.days and not entry.start and not entry.end:
        return True
    minute = now.hour * 60 + now.minute
    start = minutes(entry.start) if entry.start else 0
    end = minutes(entry.end) if entry.end else DAY_MINUTES
    today = not entry.days or now.weekday() in entry.days
    if start < end:
        return today and start <= minute < end
    # Past midnight: the day is the one on which it began.
    yesterday = not entry.days or (now.weekday() - 1) % 7 in entry.days
    return (today and minute >= start) or (yesterday and minute < end)


def at(plant: Plant, now: datetime) -> Plant:
    """The plant as its calendar has it at `now` (the plant's own time); later lines lie on top."""
    lines = [entry for entry in plant.calendar if holds(entry, now)]
    if not lines:
        return plant
    below = pools_above(plant.pools)
    pools = tuple(_pool(pool, lines) for pool in plant.pools)
    vms = tuple(_vm(vm, lines, below) for vm in plant.vms)
    return replace(plant, pools=pools, vms=vms)


def next_window(plant: Plant, vm: Vm, now: datetime) -> datetime | None:
    """When the next planned window for the machine opens; nothing: none within two weeks."""
    below = pools_above(plant.pools)
    lines = [entry for entry in plant.calendar if entry.window and concerns(entry, vm, below)]
    if not lines:
        return None
    starts: set[datetime] = {now}
    for entry in lines:
        since, _until = bounds(entry.since, entry.until, now)
        if since is not None:
            starts.add(_local(since, now))
        begin = minutes(entry.start) if entry.start else 0
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        for day in range(AHEAD.days + 1):
            starts.add(midnight + timedelta(days=day, minutes=begin))
    for start in sorted(start for start in starts if now <= start <= now + AHEAD):
        if any(holds(entry, start) for entry in lines):
            return start
    return None


def next_change(entry: Entry, now: datetime) -> datetime | None:
    """When the line begins to hold or ceases to, after `now`; nothing: it stays as it is for ever."""
    held = holds(entry, now)
    return next((at for at in _turns((entry,), now) if at > now and holds(entry, at) != held), None)


def first_meeting(entries: Sequence[Entry], now: datetime) -> datetime | None:
    """The first moment from `now` on at which all these lines hold; nothing: there is none."""
    for at in _turns(entries, now):
        if at >= now and all(holds(entry, at) for entry in entries):
            return at
    return None


def _turns(entries: Sequence[Entry], now: datetime) -> list[datetime]:
    """Moments from `now` on at which one of these lines may begin or end: all that a week has, from where
    the latest of them begins. Nothing lies between two of them."""
    spans = [bounds(entry.since, entry.until, now) for entry in entries]
    # Days and hours are the plant's own: a bound that came with another zone is read on its clock too.
    begins = [_local(begin, now) for begin, _end in spans if begin is not None]
    ends = [_local(end, now) for _begin, end in spans if end is not None]
    found = {now, *begins, *ends}
    for first in {now, max([now, *begins])}:
        midnight = first.replace(hour=0, minute=0, second=0, microsecond=0)
        for entry in entries:
            minutes_of_day = {0, *(minutes(text) for text in (entry.start, entry.end) if text)}
            for day in range(_WEEK):
                for minute in minutes_of_day:
                    found.add(midnight + timedelta(days=day, minutes=minute))
    return sorted(at for at in found if at >= now)


def _local(value: datetime, now: datetime) -> datetime:
    """The same moment in the plant's own time."""
    return value.astimezone(now.tzinfo) if now.tzinfo is not None else value


def pools_above(pools: Iterable[Pool]) -> dict[str, frozenset[str]]:
    """For each pool itself and every pool above it."""
    parents = {pool.name: pool.parent for pool in pools}
    found = {}
    for name in parents:
        chain, step = {name}, parents[name]
        while step and step not in chain:
            chain.add(step)
            step = parents.get(step, "")
        found[name] = frozenset(chain)
    return found


def concerns(entry: Entry, vm: Vm, below: dict[str, frozenset[str]]) -> bool:
    """Is the machine meant: by its name, one of its labels, or its pool or a pool above?"""
    if vm.name in entry.vms or entry.labels & vm.labels:
        return True
    return bool(vm.pool and below.get(vm.pool, frozenset()) & set(entry.pools))


def _pool(pool: Pool, lines: list[Entry]) -> Pool:
    changes: dict[str, object] = {}
    for entry in lines:
        if pool.name in entry.pools:
            for name in ("shares", "reservation", "limit", "mode"):
                value = getattr(entry, name)
                if value is not None:
                    changes[name] = value
    return replace(pool, **changes) if changes else pool  # type: ignore[arg-type]  # fields by name


def _vm(vm: Vm, lines: list[Entry], below: dict[str, frozenset[str]]) -> Vm:
    changes: dict[str, object] = {}
    for entry in lines:
        if not concerns(entry, vm, below):
            continue
        if entry.window:
            changes["window_open"] = True
        for name in ("priority", "movability", "mode"):
            value = getattr(entry, name)
            if value is not None:
                changes[name] = value
        if vm.name in entry.vms or entry.labels & vm.labels:
            # A line that names a pool divides among pools; the machine's own numbers stay.
            for name, field in (
                ("shares", "shares"),
                ("reservation", "cpu_reservation"),
                ("limit", "cpu_limit"),
            ):
                value = getattr(entry, name)
                if value is not None:
                    changes[field] = value
    if not changes or all(getattr(vm, name) == value for name, value in changes.items()):
        return vm
    if changes.get("movability") is Movability.WINDOW and "window_open" not in changes:
        changes["window_open"] = False
    return replace(vm, **changes)  # type: ignore[arg-type]  # fields by name
