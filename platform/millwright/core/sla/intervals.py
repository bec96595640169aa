"""Interval arithmetic for service levels: eligible time, downtime, availability, what is left of a budget.

Pure. Intervals are half-open, `[begin, end)`, in aware times; an end of None is open ("still so").
availability = 1 - (down and eligible) / eligible; eligible = service hours - excluded time. With nothing
eligible the answer is None ("n/a"), never 100 %.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

ZERO = dt.timedelta()


class IntervalError(ValueError):
    """An interval ends before it begins, or its times carry no zone; the text has both times."""


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """`[begin, end)`. Both times are aware; an empty interval is allowed and counts nothing."""

    begin: dt.datetime
    end: dt.datetime

    def __post_init__(self) -> None:
        if self.begin.tzinfo is None or self.end.tzinfo is None:
            raise IntervalError(f"times need a zone: {self.begin} to {self.end}")
        # Arithmetic within one zone is by the wall clock and loses an hour at changes: keep UTC.
        object.__setattr__(self, "begin", self.begin.astimezone(dt.UTC))
        object.__setattr__(self, "end", self.end.astimezone(dt.UTC))
        if self.end < self.begin:
            raise IntervalError(f"it ends before it begins: {self.begin} to {self.end}")

    @property
    def length(self) -> dt.timedelta:
        return self.end - self.begin


class Spans:
    """A set of moments as sorted intervals that neither touch nor overlap. Immutable."""

    __slots__ = ("_rows",)

    def __init__(self, intervals: Iterable[Interval] = ()) -> None:
        rows: list[Interval] = []
        for row in sorted(row for row in intervals if row.begin < row.end):
            if rows and row.begin <= rows[-1].end:
                if row.end > rows[-1].end:
                    rows[-1] = Interval(rows[-1].begin, row.end)
            else:
                rows.append(row)
        self._rows = tuple(rows)

    @property
    def intervals(self) -> tuple[Interval, ...]:
        return self._rows

    @property
    def length(self) -> dt.timedelta:
        return sum((row.length for row in self._rows), ZERO)

    def __bool__(self) -> bool:
        return bool(self._rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Spans) and self._rows == other._rows

    def __hash__(self) -> int:
        return hash(self._rows)

    def __repr__(self) -> str:
        return f"Spans({list(self._rows)!r})"

    def __contains__(self, moment: dt.datetime) -> bool:
        return any(row.begin <= moment < row.end for row in self._rows)

    def __or__(self, other: Spans) -> Spans:
        return Spans((*self._rows, *other._rows))

    def __and__(self, other: Spans) -> Spans:
        """What is in both; linear in the number of intervals."""
        rows, mine, theirs = [], 0, 0
        while mine < len(self._rows) and theirs < len(other._rows):
            one, two = self._rows[mine], other._rows[theirs]
            begin, end = max(one.begin, two.begin), min(one.end, two.end)
            if begin < end:
                rows.append(Interval(begin, end))
            if one.end <= two.end:
                mine += 1
            else:
                theirs += 1
        return Spans(rows)

    def __sub__(self, other: Spans) -> Spans:
        """What is here and not there; linear in the number of intervals."""
        rows, at = [], 0
        for row in self._rows:
            begin = row.begin
            while at < len(other._rows) and other._rows[at].end <= begin:
                at += 1
            index = at
            while index < len(other._rows) and other._rows[index].begin < row.end:
                if begin < other._rows[index].begin:
                    rows.append(Interval(begin, other._rows[index].begin))
                begin = max(begin, other._rows[index].end)
                index += 1
            if begin < row.end:
                rows.append(Interval(begin, row.end))
        return Spans(rows)


@dataclass(frozen=True, slots=True)
class StateChange:
    """From `at` on it was `up`, was not, or nobody could tell (None)."""

    at: dt.datetime
    up: bool | None


@dataclass(frozen=True, slots=True)
class Observed:
    """A period divided into up, down and unknown: together they cover it, none overlaps another."""

    up: Spans
    down: Spans
    unknown: Spans


def observe(changes: Iterable[StateChange], period: Interval) -> Observed:
    """Divide the period by what was known at each moment. Before the first change nothing is known.

    Of several changes at one moment the last counts.
    """
    parts: dict[bool | None, list[Interval]] = {True: [], False: [], None: []}
    begin, state = period.begin, None
    for change in sorted(changes, key=lambda row: row.at):
        at = min(max(change.at.astimezone(dt.UTC), period.begin), period.end)
        parts[state].append(Interval(begin, at))
        begin, state = at, change.up
    parts[state].append(Interval(begin, period.end))
    return Observed(Spans(parts[True]), Spans(parts[False]), Spans(parts[None]))


def after_grace(unknown: Spans, grace: dt.timedelta) -> Spans:
    """The part of each unknown interval that counts as down: what lies beyond the grace."""
    return Spans(
        Interval(row.begin + grace, row.end) for row in unknown.intervals if row.length > grace
    )


def closed(rows: Iterable[tuple[dt.datetime, dt.datetime | None]], now: dt.datetime) -> Spans:
    """Intervals whose open ends reach to `now`; those that begin later are left out."""
    return Spans(
        Interval(begin, end if end is not None else now)
        for begin, end in rows
        if end is not None or begin <= now
    )


@dataclass(frozen=True, slots=True)
class Result:
    """What was kept in a period."""

    eligible: dt.timedelta
    down: dt.timedelta
    #: part of `down` for which there is no data
    missing: dt.timedelta
    #: None: nothing was eligible
    availability: float | None

    def budget(self, objective: float) -> dt.timedelta:
        """How long it may be down in the eligible time at an objective in [0, 1)."""
        return self.eligible * (1.0 - objective)

    def budget_left(self, objective: float) -> dt.timedelta:
        """What of the budget is not used; negative when the objective is missed."""
        return self.budget(objective) - self.down

    def kept(self, objective: float) -> bool | None:
        """Whether the objective is kept; None when nothing was eligible."""
        return None if self.availability is None else self.availability >= objective


def availability(
    period: Interval,
    *,
    down: Spans,
    missing: Spans | None = None,
    service: Spans | None = None,
    excluded: Sequence[Spans] = (),
) -> Result:
    """Measure a period. `service`: the hours promised (None: always); `excluded`: approved maintenance.

    Missing data counts as down and is shown apart.
    """
    eligible = Spans((period,))
    if service is not None:
        eligible &= service
    for spans in excluded:
        eligible -= spans
    lacking = (missing or Spans()) - down
    counted = (down | lacking) & eligible
    total = eligible.length
    return Result(
        eligible=total,
        down=counted.length,
        missing=(lacking & eligible).length,
        availability=1.0 - counted.length / total if total else None,
    )
