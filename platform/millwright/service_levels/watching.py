"""What people see of the plant's service levels now: each line's state, since when, and what is left."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.db.models import OuterRef, Subquery
from django.utils.translation import gettext_lazy as _

from millwright.core.sla import (
    COUNTED,
    Cause,
    Kind,
    Measured,
    Spans,
    measure,
    month_of,
    month_period,
)
from millwright.core.sla import Interval as Span
from millwright.core.sla.causes import ORDERED
from millwright.environments.models import Environment

from .choices import WindowState
from .contracts import as_terms, classes_of, contract_at, contracts_of, hours_of, plant_zone
from .measuring import measure_months, measure_span, windows_of
from .models import Interval, LedgerCursor, MaintenanceWindow, MonthSum, ServiceSpan

#: Without a round of the ledger for this long, what is shown is no longer so.
SILENT = dt.timedelta(seconds=60)
HOUR = dt.timedelta(hours=1)


class LineState(StrEnum):
    """Worst first."""

    DOWN = "down"
    MISSING = "missing"
    USED_UP = "used_up"
    MAINTENANCE = "maintenance"
    ORDERED = "ordered"
    UP = "up"


LINE_WORDS = {
    LineState.DOWN: _("down"),
    LineState.MISSING: _("no data"),
    LineState.USED_UP: _("budget used up"),
    LineState.MAINTENANCE: _("maintenance"),
    LineState.ORDERED: _("stopped by order"),
    LineState.UP: _("up"),
}
_RANK = {state: number for number, state in enumerate(LineState)}


@dataclass(frozen=True, slots=True)
class Line:
    """One environment as the wall shows it."""

    environment: Environment
    state: LineState
    since: dt.datetime
    level: str
    #: whether this moment is one of the promised hours
    promised_now: bool
    objective: float | None
    measured: Measured
    #: of the whole month, promised hours to come included
    budget: dt.timedelta
    #: how much faster than even the budget goes: 1 is used up exactly at the month's end; None: nothing promised yet
    burn: float | None
    burn_hour: float | None
    #: the open row of the ledger
    interval: int | None = None
    cause: str = ""
    why: str = ""

    @property
    def budget_left(self) -> dt.timedelta:
        """Negative when more was down than the month has."""
        return self.budget - self.measured.down

    @property
    def word(self) -> Any:
        return LINE_WORDS[self.state]


@dataclass(frozen=True, slots=True)
class Board:
    """Lines, worst first; `total` may be more than are shown."""

    at: dt.datetime
    lines: list[Line]
    total: int
    states: dict[str, int]
    #: when the ledger was last written; None: it is fresh
    silent_since: dt.datetime | None


@dataclass(frozen=True, slots=True)
class _Open:
    pk: int
    begin: dt.datetime
    state: LineState
    cause: str
    why: str


def _state(kind: str, cause: str, in_window: bool) -> LineState:
    if cause == Cause.VOID:
        return LineState.UP
    if cause == Cause.EXCLUDED or in_window:
        return LineState.MAINTENANCE
    if cause in ORDERED:
        return LineState.ORDERED
    if kind == Kind.MISSING and cause == Cause.UNKNOWN:
        return LineState.MISSING
    return LineState.DOWN if cause in COUNTED else LineState.UP


def _open_rows(environments: Sequence[UUID] | None, in_window: set[UUID]) -> dict[UUID, _Open]:
    """The worst open row of each environment that has one. One query; open rows are few."""
    rows = Interval.objects.current().filter(end=None, long=True)
    if environments is not None:
        rows = rows.filter(environment__in=environments)
    found: dict[UUID, _Open] = {}
    for pk, key, begin, kind, cause, why in rows.order_by("begin").values_list(
        "pk", "environment", "begin", "kind", "cause", "why"
    ):
        row = _Open(pk, begin, _state(kind, cause, key in in_window), cause, why)
        before = found.get(key)
        if before is None or _RANK[row.state] < _RANK[before.state]:
            found[key] = row
    return found


def silent_since(now: dt.datetime) -> dt.datetime | None:
    """When the ledger was written last, if that is too long ago to speak of now."""
    cursor = LedgerCursor.objects.first()
    if cursor is None or cursor.round_at is None:
        return None
    return cursor.round_at if now - cursor.round_at > SILENT else None


def whole_budgets(
    environments: Sequence[UUID], month: dt.date, now: dt.datetime
) -> dict[UUID, dt.timedelta]:
    """Budget of the whole month, as if nothing ended before its end. Six queries."""
    span = month_period(plant_zone(), month)
    windows = windows_of(environments, span)
    contracts = contracts_of(environments)
    spans = {
        row.environment_id: Spans((Span(row.begin, max(row.begin, row.end or span.end)),))
        for row in ServiceSpan.objects.filter(environment__in=environments)
    }
    nothing = Spans()
    return {
        key: measure(
            span,
            (),
            [as_terms(row) for row in contracts[key]],
            now=max(span.end, now),
            service=spans.get(key, nothing),
            windows=windows.get(key, nothing),
        ).budget
        for key in environments
    }


def lines_of(
    environments: Sequence[Environment], now: dt.datetime, month: dt.date | None = None
) -> list[Line]:
    """Lines of these environments, in their order; a constant number of queries."""
    keys = [row.pk for row in environments]
    month = month or month_of(plant_zone(), now)
    spans = ServiceSpan.objects.in_bulk(keys)
    in_window = set(
        MaintenanceWindow.objects.filter(
            environment__in=keys, state=WindowState.ACTIVE
        ).values_list("environment", flat=True)
    )
    opened = _open_rows(keys, in_window)
    last = Interval.objects.current().filter(environment=OuterRef("pk")).order_by("-begin", "-pk")
    ended = dict(
        Environment.objects.filter(pk__in=keys).values_list("pk", Subquery(last.values("end")[:1]))
    )
    contracts, levels = contracts_of(keys), classes_of(keys)
    measured = measure_months(keys, month, now)
    hour = measure_span(keys, Span(now - HOUR, now), now)
    budgets = whole_budgets(keys, month, now)
    found = []
    for environment in environments:
        key = environment.pk
        contract = contract_at(contracts[key], now)
        hours = hours_of(contract)
        row, figures = opened.get(key), measured[key]
        state = row.state if row is not None else LineState.UP
        if state is LineState.UP:
            if key in in_window:
                state = LineState.MAINTENANCE
            elif figures.eligible and budgets[key] < figures.down:
                state = LineState.USED_UP
        begin = spans[key].begin if key in spans else environment.created_at
        found.append(
            Line(
                environment=environment,
                state=state,
                since=row.begin if row is not None else (ended.get(key) or begin),
                level=levels.get(key, ""),
                promised_now=hours is None or now in hours.spans(Span(now - HOUR, now + HOUR)),
                objective=contract.availability_ratio,
                measured=figures,
                budget=budgets[key],
                burn=figures.down / figures.budget if figures.budget else None,
                burn_hour=hour[key].down / hour[key].budget if hour[key].budget else None,
                interval=row.pk if row is not None else None,
                cause=row.cause if row is not None else "",
                why=row.why if row is not None else "",
            )
        )
    return found


def board(user: Any, now: dt.datetime, limit: int = 48) -> Board:
    """The plant's lines that the person may see, worst first. A constant number of queries."""
    mine = Environment.objects.for_user(user).values("pk")
    keys = list(
        ServiceSpan.objects.filter(end=None, environment__in=mine).values_list(
            "environment", "environment__name"
        )
    )
    windows = set(
        MaintenanceWindow.objects.filter(state=WindowState.ACTIVE).values_list(
            "environment", flat=True
        )
    )
    opened = _open_rows(None, windows)
    sums = {
        key: (down, budget)
        for key, down, budget in MonthSum.objects.filter(
            month=month_of(plant_zone(), now)
        ).values_list("environment", "down_s", "budget_s")
    }

    def rank(entry: tuple[UUID, str]) -> tuple[Any, ...]:
        key, name = entry
        down, budget = sums.get(key, (0.0, 0.0))
        row = opened.get(key)
        state = row.state if row is not None else LineState.UP
        if state is LineState.UP and key in windows:
            state = LineState.MAINTENANCE
        used = down / budget if budget else 0.0
        return _RANK[state], -used, name

    ranked = sorted(keys, key=rank)
    shown = [key for key, _name in ranked[:limit]]
    rows = Environment.objects.select_related("project").in_bulk(shown)
    lines = lines_of([rows[key] for key in shown if key in rows], now)
    lines.sort(key=lambda line: (_RANK[line.state], -(line.burn or 0.0), line.environment.name))
    states = Counter(
        str(opened[key].state) if key in opened else str(LineState.UP) for key, _name in keys
    )
    return Board(now, lines, len(keys), dict(states), silent_since(now))
