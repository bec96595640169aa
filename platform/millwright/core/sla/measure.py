"""A period's figures from its ledger: availability, budget, outages, MTBF, MTTR, causes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from .causes import ORDERED, Cause
from .hours import ServiceHours
from .intervals import ZERO, Interval, Spans, after_grace, availability
from .timeline import Kind


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of the ledger; an end of None is open."""

    begin: dt.datetime
    end: dt.datetime | None
    kind: Kind
    cause: Cause


@dataclass(frozen=True, slots=True)
class Terms:
    """What a contract says from `begin` on."""

    begin: dt.datetime
    #: the objective, in [0, 1)
    availability: float
    hours: ServiceHours | None = None
    #: missing data counts as down beyond this
    grace: dt.timedelta = dt.timedelta(minutes=2)
    #: whether what was ordered (planned, changeover) uses the budget
    planned_counts: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures of a period. Lengths of time; `availability` in [0, 1] or None when nothing was eligible."""

    eligible: dt.timedelta
    down: dt.timedelta
    #: part of `down` for which there is no data
    missing: dt.timedelta
    #: promised hours that were agreed not to count
    excluded: dt.timedelta
    #: promised hours out of service by order, where those do not count
    ordered: dt.timedelta
    availability: float | None
    budget: dt.timedelta
    outages: int
    #: cause → time of the promised hours, in order of size
    causes: tuple[tuple[str, dt.timedelta], ...]
    #: when it was that which `down` counts
    down_spans: tuple[Interval, ...] = ()

    @property
    def budget_left(self) -> dt.timedelta:
        return self.budget - self.down

    @property
    def mttr(self) -> dt.timedelta | None:
        """Mean time to restore: down by outages; None without one."""
        return self.down / self.outages if self.outages else None

    @property
    def mtbf(self) -> dt.timedelta | None:
        """Mean time between failures: up by outages; None without one."""
        return (self.eligible - self.down) / self.outages if self.outages else None

    @property
    def objective(self) -> float | None:
        """The objective of the whole period; several contracts weigh by their eligible time."""
        # The budget is in whole microseconds: of a short time its quotient is not quite what was promised.
        return round(1.0 - self.budget / self.eligible, 7) if self.eligible else None

    @property
    def kept(self) -> bool | None:
        """Whether the budget holds; None when nothing was eligible."""
        return self.budget_left >= ZERO if self.eligible else None


def measure(
    period: Interval,
    entries: Iterable[Entry],
    terms: Sequence[Terms],
    *,
    now: dt.datetime,
    service: Spans | None = None,
    windows: Spans | None = None,
    absences: Spans | None = None,
) -> Measured:
    """Measure a period up to `now`.

    Args:
        terms: contracts in order of `begin`; the first one's holds before its begin too.
        service: when it was in service at all (None: always).
        windows: approved maintenance.
        absences: when nobody looked at anything; counts as missing data.
    """
    if not terms:
        raise ValueError("no terms to measure by")
    end = min(period.end, max(now, period.begin))
    whole = Spans((Interval(period.begin, end),))
    if service is not None:
        whole &= service
    down: dict[Cause, list[Interval]] = {}
    missing: list[Interval] = list(absences.intervals) if absences is not None else []
    for entry in entries:
        ends = entry.end if entry.end is not None else max(now, entry.begin)
        if entry.cause is Cause.VOID or ends <= period.begin or entry.begin >= end:
            continue
        row = Interval(entry.begin, ends)
        if entry.kind is Kind.MISSING and entry.cause is Cause.UNKNOWN:
            missing.append(row)
        else:
            down.setdefault(entry.cause, []).append(row)
    spans = {cause: Spans(rows) for cause, rows in down.items()}
    ordered = _union(spans, ORDERED)
    agreed = _union(spans, {Cause.EXCLUDED}) | (windows or Spans())
    total = _Sum()
    for number, term in enumerate(terms):
        begin = period.begin if number == 0 else term.begin
        until = terms[number + 1].begin if number + 1 < len(terms) else end
        if begin >= min(until, end) or until <= period.begin:
            continue
        part = whole & Spans((Interval(max(begin, period.begin), min(until, end)),))
        if term.hours is not None and part:
            part &= _hours(term.hours, Interval(max(begin, period.begin), min(until, end)))
        counted = _union(spans, set(spans) - {Cause.EXCLUDED} - ORDERED)
        if term.planned_counts:
            counted |= ordered
        lacking = after_grace(Spans(missing), term.grace)
        result = availability(
            Interval(period.begin, end),
            down=counted,
            missing=lacking,
            service=part,
            excluded=(agreed,) if term.planned_counts else (agreed, ordered - counted),
        )
        total.eligible += result.eligible
        total.down += result.down
        total.missing += result.missing
        total.budget += result.budget(term.availability)
        total.excluded += (part & agreed).length
        if not term.planned_counts:
            total.ordered += ((part & ordered) - agreed - counted).length
        outages = ((counted | lacking) & part) - agreed
        if not term.planned_counts:
            outages -= ordered - counted
        total.outage_spans.extend(outages.intervals)
        for cause, rows in spans.items():
            total.causes[cause] = total.causes.get(cause, ZERO) + (rows & part).length
        if result.missing:
            total.causes["missing"] = total.causes.get("missing", ZERO) + result.missing
    outage_spans = Spans(total.outage_spans).intervals
    return Measured(
        eligible=total.eligible,
        down=total.down,
        missing=total.missing,
        excluded=total.excluded,
        ordered=total.ordered,
        availability=1.0 - total.down / total.eligible if total.eligible else None,
        budget=total.budget,
        outages=len(outage_spans),
        causes=tuple(
            sorted(
                ((str(cause), length) for cause, length in total.causes.items() if length),
                key=lambda row: (-row[1], row[0]),
            )
        ),
        down_spans=outage_spans,
    )


@lru_cache(maxsize=64)
def _hours(hours: ServiceHours, period: Interval) -> Spans:
    """Many environments have the same hours."""
    return hours.spans(period)


class _Sum:
    def __init__(self) -> None:
        self.eligible = self.down = self.missing = self.budget = ZERO
        self.excluded = self.ordered = ZERO
        self.outage_spans: list[Interval] = []
        self.causes: dict[str, dt.timedelta] = {}


def _union(spans: dict[Cause, Spans], wanted: Iterable[Cause]) -> Spans:
    found = Spans()
    for cause in wanted:
        if cause in spans:
            found |= spans[cause]
    return found
