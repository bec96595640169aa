"""Months of environments, measured from the ledger in bulk, and the sums that pages read."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.db import models
from django.utils import timezone

from millwright.core.sla import (
    Cause,
    Entry,
    Kind,
    Measured,
    Spans,
    Terms,
    measure,
    month_of,
    month_period,
    occurrences,
)
from millwright.core.sla import Interval as Span

from .choices import EXCLUDING
from .contracts import as_terms, contracts_of, plant_zone
from .models import Absence, Interval, MaintenanceWindow, MonthSum, ServiceSpan

#: Of the sums of the month that is running: measured again after this.
FRESH = dt.timedelta(minutes=5)
#: Asked for by key up to here; more are read whole and sorted out here.
FEW = 100


def _of(queryset: Any, environments: Sequence[UUID]) -> Any:
    return queryset.filter(environment__in=environments) if len(environments) <= FEW else queryset


def entries_of(environments: Sequence[UUID], span: Span) -> dict[UUID, list[Entry]]:
    """The current rows that touch a span, by environment. One query."""
    found: dict[UUID, list[Entry]] = defaultdict(list)
    rows = _of(Interval.objects.current().touching(span), environments).order_by()
    kinds, causes = {str(kind): kind for kind in Kind}, {str(cause): cause for cause in Cause}
    for environment, begin, end, kind, cause in rows.values_list(
        "environment_id", "begin", "end", "kind", "cause"
    ).iterator(chunk_size=10_000):
        found[environment].append(Entry(begin, end, kinds[kind], causes[cause]))
    return found


def windows_of(environments: Sequence[UUID], span: Span) -> dict[UUID, Spans]:
    """Approved maintenance within a span, by environment. One query."""
    zone = plant_zone()
    found: dict[UUID, Spans] = {}
    rows = MaintenanceWindow.objects.filter(state__in=EXCLUDING, begins_at__lt=span.end).filter(
        models.Q(ends_at__gt=span.begin) | models.Q(every_days__gt=0)
    )
    for row in _of(rows, environments):
        spans = window_spans(row, zone) & Spans((span,))
        found[row.environment_id] = found.get(row.environment_id, Spans()) | spans
    return found


def window_spans(window: MaintenanceWindow, zone: Any = None) -> Spans:
    """When a window lies, as often as it recurs."""
    return occurrences(
        window.begins_at,
        window.ends_at,
        zone=zone or plant_zone(),
        every_days=window.every_days,
        until=window.until,
        closed_at=window.closed_at,
    )


def absences_in(span: Span) -> tuple[Spans, Spans]:
    """When nobody looked: without being asked to, and ordered. One query."""
    parts: dict[bool, list[Span]] = {True: [], False: []}
    for row in Absence.objects.filter(end__gt=span.begin, begin__lt=span.end):
        parts[row.ordered].append(Span(row.begin, row.end))
    return Spans(parts[False]), Spans(parts[True])


def service_of(environments: Sequence[UUID], now: dt.datetime) -> dict[UUID, Spans]:
    """When each was in service. One query."""
    return {
        row.environment_id: Spans((Span(row.begin, max(row.begin, row.end or now)),))
        for row in _of(ServiceSpan.objects.all(), environments)
    }


def measure_months(
    environments: Sequence[UUID],
    month: dt.date,
    now: dt.datetime | None = None,
    terms: dict[UUID, list[Terms]] | None = None,
) -> dict[UUID, Measured]:
    """Measure a month of many environments: seven queries, however many there are.

    `terms`: others than their contracts', to see what would have been.
    """
    return measure_span(environments, month_period(plant_zone(), month), now, terms)


def measure_span(
    environments: Sequence[UUID],
    span: Span,
    now: dt.datetime | None = None,
    terms: dict[UUID, list[Terms]] | None = None,
) -> dict[UUID, Measured]:
    """The same for any span of time."""
    now = now or timezone.now()
    entries = entries_of(environments, span)
    windows = windows_of(environments, span)
    missing, ordered = absences_in(span)
    service = service_of(environments, now)
    if terms is None:
        terms = {
            key: [as_terms(row) for row in rows] for key, rows in contracts_of(environments).items()
        }
    nothing = Spans()
    return {
        key: measure(
            span,
            entries.get(key, ()),
            terms[key],
            now=now,
            service=service.get(key, nothing),
            windows=windows.get(key, nothing) | ordered,
            absences=missing - ordered,
        )
        for key in environments
    }


def measure_one(environment: UUID, month: dt.date, now: dt.datetime | None = None) -> Measured:
    """One environment's month."""
    return measure_months([environment], month, now)[environment]


# --- sums ------------------------------------------------------------------------------------------


def refresh(environments: Sequence[UUID], month: dt.date, now: dt.datetime) -> int:
    """Measure a month again and keep its sums."""
    rows = [
        MonthSum(
            environment_id=key,
            month=month,
            eligible_s=row.eligible.total_seconds(),
            down_s=row.down.total_seconds(),
            missing_s=row.missing.total_seconds(),
            excluded_s=row.excluded.total_seconds(),
            ordered_s=row.ordered.total_seconds(),
            budget_s=row.budget.total_seconds(),
            outages=row.outages,
            causes={cause: length.total_seconds() for cause, length in row.causes},
            measured_at=now,
            stale=False,
        )
        for key, row in measure_months(environments, month, now).items()
    ]
    columns = [
        field.name
        for field in MonthSum._meta.concrete_fields
        if field.name not in {"id", "environment", "month"}
    ]
    MonthSum.objects.bulk_create(
        rows,
        batch_size=500,
        update_conflicts=True,
        unique_fields=["environment", "month"],
        update_fields=columns,
    )
    return len(rows)


def mark_stale(changes: Iterable[tuple[UUID, dt.datetime]]) -> None:
    """Sums of these environments from these moments on are to be measured again."""
    zone = plant_zone()
    earliest: dict[dt.date, set[UUID]] = defaultdict(set)
    for environment, begin in changes:
        earliest[month_of(zone, begin)].add(environment)
    for month, environments in earliest.items():
        MonthSum.objects.filter(environment__in=environments, month__gte=month, stale=False).update(
            stale=True
        )


def refresh_due(now: dt.datetime, limit: int = 500) -> int:
    """Measure what is stale, and of the month that is running what is missing or old; returns how many."""
    this = month_of(plant_zone(), now)
    due: dict[dt.date, list[UUID]] = defaultdict(list)
    old = models.Q(month=this, measured_at__lt=now - FRESH)
    for environment, month in (
        MonthSum.objects.filter(models.Q(stale=True) | old)
        .order_by("-stale", "measured_at")
        .values_list("environment", "month")[:limit]
    ):
        due[month].append(environment)
    running = ServiceSpan.objects.filter(models.Q(end=None) | models.Q(end__gte=now - FRESH))
    due[this] += running.exclude(
        models.Exists(
            MonthSum.objects.filter(environment=models.OuterRef("environment"), month=this)
        )
    ).values_list("environment", flat=True)[:limit]
    return sum(refresh(keys, month, now) for month, keys in due.items() if keys)
