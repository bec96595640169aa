"""Maintenance windows: when a one-off or recurring one lies."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

from .hours import moment
from .intervals import Interval, Spans

#: More occurrences than this are a mistake.
MOST = 1000


def occurrences(
    begins: dt.datetime,
    ends: dt.datetime,
    *,
    zone: ZoneInfo,
    every_days: int = 0,
    until: dt.date | None = None,
    closed_at: dt.datetime | None = None,
) -> Spans:
    """All spans of a window. `every_days` 0 is one-off; otherwise it recurs at the same wall clock up to day `until`.

    Nothing lies after `closed_at`, when people said that they were done.
    """
    rows = [Interval(begins, ends)]
    if every_days and until is not None:
        first, last = begins.astimezone(zone), ends.astimezone(zone)
        length = (last.date() - first.date()).days
        day = first.date() + dt.timedelta(days=every_days)
        while day <= until and len(rows) < MOST:
            begin = moment(zone, day, first.hour * 60 + first.minute)
            end = moment(
                zone,
                day + dt.timedelta(days=length),
                last.hour * 60 + last.minute,
                last=True,
            )
            if begin < end:
                rows.append(Interval(begin, end))
            day += dt.timedelta(days=every_days)
    if closed_at is not None:
        rows = [
            Interval(row.begin, min(row.end, max(closed_at, row.begin)))
            for row in rows
            if row.begin < closed_at
        ]
    return Spans(rows)
