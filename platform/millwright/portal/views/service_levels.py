"""What was promised and what is kept: the wall, the list of lines, one environment's month."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Count, F, Q
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache

from millwright.accounts.permissions import may
from millwright.core.sla import month_before, month_of
from millwright.service_levels.choices import CLASSES, WindowState
from millwright.service_levels.contracts import plant_zone
from millwright.service_levels.jitter import SPANS, JitterUnavailableError, jitter_map
from millwright.service_levels.models import Interval, MaintenanceWindow, MonthSum
from millwright.service_levels.monthly import Month, month_of_environment, months_to_choose
from millwright.service_levels.reporting import plant_csv
from millwright.service_levels.watching import board, lines_of, silent_since

from .base import Rows
from .environments import find

#: Tiles that are read from 5 m on one screen.
TILES = 48


def month_asked(request: HttpRequest, now: dt.datetime) -> dt.date:
    """`?month=YYYY-MM`; anything else, or a month to come: the month that runs."""
    this = month_of(plant_zone(), now)
    text = request.GET.get("month", "")
    if not re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", text):
        return this
    return min(this, dt.date(int(text[:4]), int(text[5:]), 1))


def _tiles(request: HttpRequest) -> dict[str, Any]:
    now = timezone.now()
    return {"board": board(request.user, now, TILES), "classes": dict(CLASSES)}


@login_required
def wall(request: HttpRequest) -> HttpResponse:
    """The andon board: one tile a line, worst first; for a screen that nobody touches."""
    return render(request, "portal/wall.html", _tiles(request))


@never_cache
@login_required
def tiles(request: HttpRequest) -> HttpResponse:
    """The board's tiles alone, as the wall fetches them."""
    return render(request, "portal/parts/wall_tiles.html", _tiles(request))


class Overview(Rows):
    """A month's lines with what is left of their budgets, worst first."""

    rows = MonthSum.objects.select_related("environment__project")
    template_name = "portal/service_levels.html"

    def get_queryset(self) -> Any:
        self.now = timezone.now()
        self.month = month_asked(self.request, self.now)
        rows = super().get_queryset().filter(month=self.month)
        if text := self.request.GET.get("q", "").strip():
            rows = rows.filter(environment__name__icontains=text)
        if self.request.GET.get("broken") == "1":
            rows = rows.filter(down_s__gt=F("budget_s"))
        return rows.order_by(F("budget_s") - F("down_s"), "environment__name")

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.GET.get("as") == "csv":
            text = plant_csv(self.get_queryset())
            response = HttpResponse(text, content_type="text/csv; charset=utf-8")
            name = f"service-levels-{self.month:%Y-%m}.csv"
            response["Content-Disposition"] = f'attachment; filename="{name}"'
            return response
        return super().get(request, *args, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs)
        user = self.request.user
        found = list(context["object_list"])
        lines = lines_of([row.environment for row in found], self.now, self.month)
        month, months = month_of(plant_zone(), self.now), []
        for _number in range(13):
            months.append(month)
            month = month_before(month)
        return {
            **context,
            "entries": list(zip(found, lines, strict=True)),
            "month": self.month,
            "months": months,
            "running": self.month == months[0],
            "text": self.request.GET.get("q", ""),
            "broken": self.request.GET.get("broken") == "1",
            "classes": dict(CLASSES),
            "silent": silent_since(self.now),
            "counts": MonthSum.objects.for_user(user)
            .filter(month=self.month)
            .aggregate(all=Count("pk"), lost=Count("pk", filter=Q(down_s__gt=F("budget_s")))),
            "open": Interval.objects.for_user(user).current().filter(end=None, long=True).count(),
            "unclassified": Interval.objects.for_user(user).unclassified().count(),
            "waiting": MaintenanceWindow.objects.for_user(user)
            .filter(state=WindowState.REQUESTED)
            .count(),
        }


def chart_of(month: Month) -> dict[str, Any]:
    """The burn-down and what changed, as the page's script draws it; times in seconds since 1970."""
    points = month.burn_down()
    return {
        "begin": month.span.begin.timestamp(),
        "end": month.span.end.timestamp(),
        "times": [at.timestamp() for at, _left in points],
        "left": [round(left, 3) for _at, left in points],
        "whole": round(month.budget.total_seconds() / 60, 3),
        "marks": [
            {"at": change.at.timestamp(), "number": number}
            for number, change in enumerate(month.changes, 1)
        ],
    }


@login_required
def environment(request: HttpRequest, name: str) -> HttpResponse:
    """One environment's month: figures, budget over time, ledger, what changed."""
    row, now = find(request, name), timezone.now()
    month = month_of_environment(row, month_asked(request, now), now)
    (line,) = lines_of([row], now)
    context = {
        "environment": row,
        "found": month,
        "line": line,
        "chart": chart_of(month),
        "spans": SPANS,
        "months": months_to_choose(row, now),
        "running": month.month == month_of(plant_zone(), now),
        "classes": dict(CLASSES),
        "can_operate": may(request.user, "operate", row.project),
        "can_decide": may(request.user, "decide", row.project),
        "can_administer": may(request.user, "administer", row.project),
        "silent": silent_since(now),
        "address": reverse("portal:environment_service_level", args=[name]),
    }
    return render(request, "portal/environment_service_level.html", context)


@never_cache
@login_required
def jitter(request: HttpRequest, name: str) -> JsonResponse:
    """How late cycles began, for the heat map: the last 1, 6, 24 or 168 hours."""
    row, text = find(request, name), request.GET.get("hours", "")
    hours = int(text) if text in map(str, SPANS) else SPANS[1]
    try:
        return JsonResponse(jitter_map(row.name, hours, timezone.now()))
    except JitterUnavailableError as error:
        words = _("Prometheus does not answer (%(why)s)") % {"why": error}
        return JsonResponse({"error": words}, status=503)
