"""Hours as a drawing: what was expected, what was wanted and what hosts awake had, as lines that are flat in each hour.

Drawn by the server: it is there without scripts, in both themes, and a table beside it says the same.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from django.utils import timezone
from django.utils.formats import date_format

from millwright.balancing.foreseen import Compared
from millwright.core.balancing import Demand

#: Units of the drawing, which is stretched to the width that there is.
WIDTH, HEIGHT = 1000.0, 200.0
#: The least width of a mark: two points on a phone, where an hour of a month is half of one.
LEAST_MARK = 6.0
#: Times named below it, at most: so many fit on a phone.
MOST_TICKS = 7
_HOUR = dt.timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Tick:
    """A time below the drawing. `percent`: how far from its left edge."""

    percent: str
    text: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """Paths and marks in the drawing's units, as text that no language changes; `top`: what its upper edge stands for."""

    measured: str
    expected: str
    awake: str
    short: tuple[tuple[str, str], ...]
    lacked: tuple[tuple[str, str], ...]
    ticks: tuple[Tick, ...]
    top: float

    @property
    def half(self) -> float:
        """What the middle stands for."""
        return self.top / 2


def drawing(
    rows: Sequence[Compared],
    since: dt.datetime,
    until: dt.datetime,
    of: Callable[[Demand], float],
    short: Callable[[Compared], bool],
) -> Drawing:
    """The hours between two moments; `of`: what of a demand is drawn; `short`: whether more of it was wanted than expected."""
    rows = [row for row in rows if row.at < until and row.at + _HOUR > since]
    known = [each for row in rows for each in (row.measured, row.expected, row.awake) if each]
    top = (max(map(of, known), default=0.0) or 1.0) * 1.08
    span = max((until - since).total_seconds(), 1.0)

    def x(at: dt.datetime) -> float:
        return min(WIDTH, max(0.0, (at - since).total_seconds() / span * WIDTH))

    def path(pick: Callable[[Compared], Demand | None]) -> str:
        parts: list[str] = []
        last: dt.datetime | None = None
        for row in rows:
            value = pick(row)
            if value is None:
                continue
            y = HEIGHT - of(value) / top * HEIGHT
            # An hour that is not known is a gap and no line.
            parts.append(f"V{y:.1f}" if last == row.at else f"M{x(row.at):.1f} {y:.1f}")
            last = row.at + _HOUR
            parts.append(f"H{x(last):.1f}")
        return "".join(parts)

    def marks(hours: Iterable[Compared]) -> tuple[tuple[str, str], ...]:
        found = []
        for row in hours:
            begin, end = x(row.at), x(row.at + _HOUR)
            wider = max(0.0, LEAST_MARK - (end - begin)) / 2
            found.append((f"{begin - wider:.1f}", f"{end - begin + 2 * wider:.1f}"))
        return tuple(found)

    return Drawing(
        path(lambda row: row.measured),
        path(lambda row: row.expected),
        path(lambda row: row.awake),
        marks(row for row in rows if short(row)),
        marks(row for row in rows if row.lacked),
        _ticks(since, until),
        top,
    )


def _ticks(since: dt.datetime, until: dt.datetime) -> tuple[Tick, ...]:
    """Midnights of the plant, or full hours of a short period."""
    begin, end = timezone.localtime(since), timezone.localtime(until)
    hours = (end - begin) / _HOUR
    step = next(each for each in (3, 6, 24, 48, 96, 168, 336, 672, 10**6) if hours / each <= MOST_TICKS)  # fmt: skip
    at = begin.replace(hour=0, minute=0, second=0, microsecond=0)
    found = []
    while at < end:
        share = (at - begin) / (end - begin)
        # What would stand over the right edge is left out.
        if 0 <= share <= 0.92:
            text = date_format(at, "TIME_FORMAT") if step < 24 else date_format(at, "j M")
            found.append(Tick(f"{share * 100:.2f}%", text))
        if step < 24:
            at += dt.timedelta(hours=step)
        else:
            # Days by the calendar: one of them may have 23 hours or 25.
            day = at.date() + dt.timedelta(days=step // 24)
            at = timezone.make_aware(dt.datetime.combine(day, dt.time()), at.tzinfo)
    return tuple(found)
