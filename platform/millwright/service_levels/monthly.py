"""One environment's month with everything about it: figures, budget over time, rows, what changed, who agreed."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Max, Q, Sum

from millwright.core.sla import Interval as Span
from millwright.core.sla import Measured, month_before, month_of, month_period
from millwright.environments.models import Environment, Machine, Operation, StateTransition

from .choices import EXCLUDING
from .contracts import contract_at, contracts_of, plant_zone
from .measuring import measure_one, window_spans
from .models import Contract, CycleCount, Interval, MaintenanceWindow, Note, Seal, ServiceSpan
from .quality import Quality, qualities
from .times import Times, held_against, provisioned, recovered
from .watching import whole_budgets

#: Rows on a page and in a report; the API pages through all of them.
MOST_ROWS = 500
MOST_CHANGES = 200


@dataclass(frozen=True, slots=True)
class Change:
    """Something that happened, to hold beside the ledger."""

    at: dt.datetime
    #: operation, host, contract
    kind: str
    #: the kind of an operation, a host's name, a contract's objective
    code: str
    #: what became of it
    state: str = ""
    #: why
    text: str = ""
    #: the operation's id; empty for others
    operation: str = ""


@dataclass(frozen=True, slots=True)
class Scans:
    """Cycle statistics from the counts of late scans."""

    scans: int
    missed: int
    longest_streak: int
    objective: float | None
    #: so many late ones after another are promised at most
    streak: int | None = None

    @property
    def in_time(self) -> float | None:
        return 1 - self.missed / self.scans if self.scans else None


@dataclass(frozen=True, slots=True)
class Month:
    """What an environment's page and report are made of."""

    environment: Environment
    month: dt.date
    span: Span
    measured: Measured
    budget: dt.timedelta
    contract: Contract
    #: all that held within the month
    contracts: list[Contract]
    rows: list[Interval]
    #: how many there are; more than `rows` holds when there are very many
    row_count: int
    windows: list[MaintenanceWindow]
    changes: list[Change]
    scans: Scans
    provisioning: Times
    recovery: Times
    #: links to devices and control cores' waits, by minutes
    quality: tuple[Quality, ...]
    seals: list[Seal]
    #: incident → notes
    notes: dict[Any, list[Note]]
    over: bool
    #: when it was measured
    at: dt.datetime

    @property
    def budget_left(self) -> dt.timedelta:
        return self.budget - self.measured.down

    @property
    def kept(self) -> bool | None:
        """Of a month that is over: whether it was kept; before: whether it can still be."""
        return self.budget_left >= dt.timedelta() if self.measured.eligible else None

    def pareto(self) -> list[dict[str, Any]]:
        """Causes by length, with their share of all and the sum of shares up to each."""
        total = sum((length for _cause, length in self.measured.causes), dt.timedelta())
        found, running = [], dt.timedelta()
        for cause, length in self.measured.causes:
            running += length
            found.append(
                {
                    "cause": cause,
                    "length": length,
                    "share": length / total,
                    "cumulated": running / total,
                }
            )
        return found

    def burn_down(self) -> list[tuple[dt.datetime, float]]:
        """Budget left in minutes over time: a corner at each begin and end of what counted."""
        end = min(self.span.end, max(self.span.begin, self.at))
        left = self.budget.total_seconds() / 60
        points = [(self.span.begin, left)]
        for row in self.measured.down_spans:
            points.append((row.begin, left))
            left -= row.length.total_seconds() / 60
            points.append((row.end, left))
        return [*points, (end, left)]


def months_to_choose(environment: Environment, now: dt.datetime) -> list[dt.date]:
    """From the month that runs back to the first in service, newest first, at most two years."""
    zone = plant_zone()
    span = ServiceSpan.objects.filter(environment=environment).first()
    month = month_of(zone, now)
    first = month_of(zone, span.begin) if span is not None else month
    found = [month]
    while month > first and len(found) < 24:
        month = month_before(month)
        found.append(month)
    return found


def month_of_environment(environment: Environment, month: dt.date, now: dt.datetime) -> Month:
    """Everything of a month; some twenty queries, whatever is in it."""
    span = month_period(plant_zone(), month)
    measured = measure_one(environment.pk, month, now)
    contracts = contracts_of([environment.pk])[environment.pk]
    at = min(now, span.end - dt.timedelta(microseconds=1))
    held = [
        row
        for number, row in enumerate(contracts)
        if row.valid_from < span.end
        and (number + 1 == len(contracts) or contracts[number + 1].valid_from > span.begin)
    ]
    found = Interval.objects.current().touching(span).filter(environment=environment)
    rows = list(found.with_names().order_by("-begin", "-pk")[:MOST_ROWS])
    notes: dict[Any, list[Note]] = {}
    for note in Note.objects.filter(incident__in=[row.incident for row in rows]).select_related(
        "actor"
    ):
        notes.setdefault(note.incident, []).append(note)
    contract = contract_at(contracts, at)
    keys = [environment.pk]

    def holding(_key: Any, moment: dt.datetime) -> Contract:
        return contract_at(contracts, moment)

    return Month(
        environment=environment,
        month=month,
        span=span,
        measured=measured,
        budget=whole_budgets([environment.pk], month, now)[environment.pk],
        contract=contract,
        contracts=held,
        rows=rows,
        row_count=found.count() if len(rows) == MOST_ROWS else len(rows),
        windows=windows_in(environment, span),
        changes=changes_in(environment, span, held),
        scans=_scans(environment, span, contract),
        provisioning=held_against(provisioned(keys, span), holding, "provisioning_s"),
        recovery=held_against(recovered(keys, span), holding, "recovery_s"),
        quality=qualities(keys, span, {environment.pk: contracts}, at),
        seals=list(
            Seal.objects.filter(environment=environment, month=month)
            .select_related("made_by", "environment")
            .order_by("number")
        ),
        notes=notes,
        over=span.end <= now,
        at=now,
    )


def windows_in(environment: Environment, span: Span) -> list[MaintenanceWindow]:
    """Approved maintenance that lies in the span, with who and why."""
    rows = (
        MaintenanceWindow.objects.with_names()
        .filter(environment=environment, state__in=EXCLUDING, begins_at__lt=span.end)
        .filter(Q(ends_at__gt=span.begin) | Q(every_days__gt=0))
        .order_by("begins_at")
    )
    return [row for row in rows if window_spans(row).intervals and _touches(row, span)]


def _touches(window: MaintenanceWindow, span: Span) -> bool:
    return any(
        row.begin < span.end and row.end > span.begin for row in window_spans(window).intervals
    )


def _scans(environment: Environment, span: Span, contract: Contract) -> Scans:
    sums = CycleCount.objects.filter(
        environment=environment, begin__lt=span.end, end__gt=span.begin
    ).aggregate(scans=Sum("scans"), missed=Sum("missed"), longest=Max("longest_streak"))
    return Scans(
        sums["scans"] or 0,
        sums["missed"] or 0,
        sums["longest"] or 0,
        contract.cycle_ratio,
        contract.cycle_streak,
    )


def changes_in(environment: Environment, span: Span, contracts: Sequence[Contract]) -> list[Change]:
    """Operations, what befell its hosts, contracts: newest first."""
    found = [
        Change(at, "operation", kind, state, reason, str(pk))
        for pk, at, kind, state, reason in Operation.objects.filter(
            environment=environment, started_at__gte=span.begin, started_at__lt=span.end
        )
        .order_by("-started_at")
        .values_list("pk", "started_at", "kind", "state", "reason")[:MOST_CHANGES]
    ]
    hosts = [
        str(key)
        for key in Machine.objects.filter(environment=environment)
        .exclude(host=None)
        .values_list("host", flat=True)
    ]
    found += [
        Change(at, "host", name, after, cause)
        for at, name, after, cause in StateTransition.objects.filter(
            subject_type="host", subject_id__in=hosts, at__gte=span.begin, at__lt=span.end
        ).values_list("at", "subject_name", "after", "cause")[:MOST_CHANGES]
    ]
    found += [
        Change(row.valid_from, "contract", f"{row.availability_ratio:.3%}", text=row.note)
        for row in contracts
        if span.begin <= row.valid_from < span.end
    ]
    return sorted(found, key=lambda row: row.at, reverse=True)[:MOST_CHANGES]
