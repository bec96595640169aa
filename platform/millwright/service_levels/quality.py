"""What is counted by minutes and kept by hours: links to devices, control cores' waits, the portal.

Prometheus measures it and forgets; the orchestrator keeps each hour's minutes (`QualityCount`), so that a month's
report and a preview of another promise do not depend on what Prometheus still has.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Max, Sum

from millwright.core.sla import Interval as Span
from monitoring.objectives import Indicator, Level, shipped

from .choices import PLANT, QUALITIES
from .contracts import contract_at
from .models import Contract, CycleCount, QualityCount

#: Indicator → the contract's field with the share that is promised.
FIELD = {
    Indicator.DEVICE_LINK: "device_link_ratio",
    Indicator.RUN_QUEUE_WAIT: "run_queue_ratio",
}


@dataclass(frozen=True, slots=True)
class Quality:
    """Minutes that were measured in a month, and the good ones, of one environment or of several together."""

    indicator: str
    minutes: float
    good: float
    #: the share that is promised; None: nothing is. Of several: the least.
    objective: float | None
    #: environments with measured minutes to which it is promised, and those that kept it
    promised: int = 0
    in_keeping: int = 0

    @property
    def words(self) -> Any:
        """What is counted, for people."""
        return dict(QUALITIES)[self.indicator]

    @property
    def share(self) -> float | None:
        """None: nothing was measured."""
        return self.good / self.minutes if self.minutes else None

    @property
    def kept(self) -> bool | None:
        """None: nothing was measured, or nothing promised."""
        return self.in_keeping == self.promised if self.promised else None


def qualities(
    environments: Sequence[UUID],
    span: Span,
    contracts: Mapping[UUID, Sequence[Contract]],
    at: dt.datetime,
) -> tuple[Quality, ...]:
    """Of these environments together, each held against its contract of a moment; one query."""
    where = {"environment__in": environments} if len(environments) <= 100 else {}
    rows = (
        QualityCount.objects.filter(
            begin__gte=span.begin, begin__lt=span.end, environment__isnull=False, **where
        )
        .order_by()
        .values_list("environment", "indicator")
        .annotate(Sum("minutes"), Sum("good"))
    )
    known = set(environments)
    measured = [row for row in rows if row[0] in known]
    found = []
    for indicator, name in FIELD.items():
        mine = [
            (getattr(contract_at(contracts[key], at), name), minutes, good)
            for key, whose, minutes, good in measured
            if whose == indicator
        ]
        promised = [row for row in mine if row[0] is not None]
        found.append(
            Quality(
                str(indicator),
                sum(row[1] for row in mine),
                sum(row[2] for row in mine),
                min((row[0] for row in promised), default=None),
                len(promised),
                sum(good >= minutes * ratio for ratio, minutes, good in promised),
            )
        )
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Cycles:
    """Scans of a month, of one environment or of several together, held against one contract."""

    scans: int = 0
    missed: int = 0
    longest_streak: int = 0
    #: environments that scanned where something of it is promised, and those that kept it
    promised: int = 0
    in_keeping: int = 0

    @property
    def in_time(self) -> float | None:
        """None: nothing scanned."""
        return 1 - self.missed / self.scans if self.scans else None


def cycles(environments: Sequence[UUID], span: Span, contract: Contract) -> Cycles:
    """What the counts of scans say, each environment held against the contract; one query."""
    where = {"environment__in": environments} if len(environments) <= 100 else {}
    known = set(environments)
    rows = [
        row
        for row in CycleCount.objects.filter(begin__lt=span.end, end__gt=span.begin, **where)
        .order_by()
        .values_list("environment")
        .annotate(Sum("scans"), Sum("missed"), Max("longest_streak"))
        if row[0] in known and row[1]
    ]
    ratio, streak = contract.cycle_ratio, contract.cycle_streak
    kept = [
        (ratio is None or missed <= scans * (1 - ratio)) and (streak is None or longest <= streak)
        for _key, scans, missed, longest in rows
    ]
    asked = ratio is not None or streak is not None
    return Cycles(
        sum(row[1] for row in rows),
        sum(row[2] for row in rows),
        max((row[3] for row in rows), default=0),
        len(rows) if asked else 0,
        sum(kept) if asked else 0,
    )


def portal_ratio(at: dt.datetime) -> float:
    """The share of minutes in which portal and API are promised to answer, at a moment."""
    contract = Contract.objects.filter(service_class=PLANT, valid_from__lte=at).last()
    if contract is not None:
        return contract.availability_ratio
    goal = shipped().get(Level.PLANT, Indicator.PORTAL_AVAILABILITY)
    return goal.target if goal is not None else 0.0


def of_the_portal(span: Span, ratio: float) -> Quality:
    """Minutes of the portal in a span, held against a share."""
    sums = QualityCount.objects.filter(
        environment=None,
        indicator=Indicator.PORTAL_AVAILABILITY,
        begin__gte=span.begin,
        begin__lt=span.end,
    ).aggregate(minutes=Sum("minutes"), good=Sum("good"))
    minutes, good = sums["minutes"] or 0.0, sums["good"] or 0.0
    return Quality(
        str(Indicator.PORTAL_AVAILABILITY),
        minutes,
        good,
        ratio,
        int(bool(minutes)),
        int(bool(minutes) and good >= minutes * ratio),
    )
