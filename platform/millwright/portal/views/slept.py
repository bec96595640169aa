"""What sleeping hosts save, and the forecast against what was: for those who read the whole plant."""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _

from millwright.accounts.permissions import may, sees_everything
from millwright.balancing import consolidating, foreseen, slept
from millwright.balancing.foreseen import Compared
from millwright.core.balancing import Demand
from millwright.portal.hours_chart import drawing

#: Hosts, and hours, on one page.
HOSTS_A_PAGE, HOURS_A_PAGE = 20, 24


@login_required
def page(request: HttpRequest) -> HttpResponse:
    """A period's hours asleep, energy, late and failed wakes by host; and each hour's forecast against what was."""
    if not sees_everything(request.user):
        raise PermissionDenied(_("What sleeping hosts save is for those who read the whole plant."))
    now, given = timezone.now(), request.GET
    errors: dict[str, list[str]] = {}
    try:
        since, until = slept.period(given, now)
    except ValidationError as error:
        errors = error.message_dict
        since, until = slept.period({}, now)
    if given.get("as") == "csv" and not errors:
        return _file(_hosts(slept.savings(since, until, now)), "sleep", since, until)
    rows = foreseen.compared(since, until)
    if given.get("as") == "hours" and not errors:
        return _file(_hours(rows), "forecast", since, until)
    told = slept.savings(since, until, now)
    sums = foreseen.sums(rows)
    listed = [row for row in reversed(rows) if row.short or row.lacked or not given.get("short")]
    periods = _periods(now)
    asked = given.get("from", "").strip(), given.get("to", "").strip()
    context = {
        "since": since,
        "until": until,
        "told": told,
        "sums": sums,
        "charts": _charts(rows, since, until) if sums.compared else [],
        "ready": None if sums.compared else foreseen.ready(now),
        "page_obj": Paginator(told.hosts, HOSTS_A_PAGE).get_page(given.get("page")),
        "hours": Paginator(listed, HOURS_A_PAGE).get_page(given.get("hours")),
        "only_short": bool(given.get("short")),
        "given": {"begin": asked[0], "end": asked[1]},
        "errors": errors,
        "periods": periods,
        # Without a word it is the second.
        "chosen": next(
            (words for words, *days in periods if tuple(days) == asked),
            "" if any(asked) else periods[1][0],
        ),
        "mode": consolidating.told().mode,
        "can_balance": may(request.user, "pool"),
    }
    return render(request, "portal/slept.html", context, status=422 if errors else 200)


def _charts(
    rows: Sequence[Compared], since: dt.datetime, until: dt.datetime
) -> list[dict[str, Any]]:
    def cpus(demand: Demand) -> float:
        return demand.cpus

    def memory(demand: Demand) -> float:
        return demand.memory_bytes

    found = []
    short = {"cpus": lambda row: row.short_cpus > 0, "memory": lambda row: row.short_bytes > 0}
    for name, of in (("cpus", cpus), ("memory", memory)):
        expected = [of(row.expected) for row in rows if row.expected is not None]
        found.append(
            {
                "name": name,
                "drawing": drawing(rows, since, until, of, short[name]),
                "expected": max(expected, default=0.0),
                "measured": max((of(row.measured) for row in rows), default=0.0),
            }
        )
    return found


def _periods(now: dt.datetime) -> list[tuple[str, str, str]]:
    """Periods to choose: their words, first and last day."""
    today = timezone.localtime(now).date()
    month = today.replace(day=1)
    last = month - dt.timedelta(days=1)
    return [
        (_("today"), f"{today}", f"{today}"),
        (_("7 days"), f"{today - dt.timedelta(days=6)}", f"{today}"),
        (_("28 days"), f"{today - dt.timedelta(days=27)}", f"{today}"),
        (_("this month"), f"{month}", f"{today}"),
        (_("last month"), f"{last.replace(day=1)}", f"{last}"),
    ]


# --- files ---------------------------------------------------------------------------------------


def _hosts(told: slept.Savings) -> Iterator[tuple[Any, ...]]:
    yield "host", "asleep_s", "sleeps", "watts", "kwh", "late", "failed"
    for row in told.hosts:
        kwh = "" if row.kwh is None else f"{row.kwh:.3f}"
        watts = "" if row.watts is None else f"{row.watts:.0f}"
        yield row.host, f"{row.asleep_s:.0f}", row.sleeps, watts, kwh, row.late, row.failed


def _hours(rows: Iterable[Compared]) -> Iterator[tuple[Any, ...]]:
    def pair(demand: Demand | None) -> tuple[str, str]:
        if demand is None:
            return "", ""
        return f"{demand.cpus:.2f}", f"{demand.memory_bytes:.0f}"

    yield (
        "hour", "expected_cpus", "expected_memory_bytes", "cpus", "memory_bytes", "awake_cpus",
        "awake_memory_bytes", "short", "lacked",
    )  # fmt: skip
    for row in rows:
        at = timezone.localtime(row.at).isoformat(timespec="minutes")
        amounts = (*pair(row.expected), *pair(row.measured), *pair(row.awake))
        yield at, *amounts, int(row.short), int(row.lacked)


def _file(
    rows: Iterable[tuple[Any, ...]], name: str, since: dt.datetime, until: dt.datetime
) -> HttpResponse:
    out = io.StringIO()
    csv.writer(out).writerows(rows)
    response = HttpResponse(out.getvalue(), content_type="text/csv; charset=utf-8")
    days = f"{timezone.localtime(since):%Y-%m-%d}-{timezone.localtime(until):%Y-%m-%d}"
    response["Content-Disposition"] = f'attachment; filename="{name}-{days}.csv"'
    return response
