"""Rolling drains: chosen and foretold, then watched, paused, gone on with and stopped."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from millwright.accounts.permissions import may
from millwright.balancing import rolling
from millwright.balancing.models import RollingDrain
from millwright.inventory.models import Host

from .base import WORDS, attempt, error_lines

#: Hosts to tick on one page; more are found by more of their name.
OFFERED = 50
VERBS = {
    "pause": rolling.pause,
    "resume": rolling.resume,
    "done": rolling.work_done,
    "skip": rolling.skip,
    "stop": rolling.stop,
}


def _keeper(request: HttpRequest) -> None:
    if not may(request.user, "pool"):
        raise PermissionDenied(_("Draining hosts is for those who keep the pool."))


def _chosen(given: Any) -> list[str]:
    """Ticked hosts by the number beside them, then as they stand on the page."""
    names = given.getlist("host")

    def order(entry: tuple[int, str]) -> tuple[int, int]:
        text = given.get(f"order-{entry[1]}", "").strip()
        return (int(text) if text.isascii() and text.isdecimal() else len(names), entry[0])

    return [name for _at, name in sorted(enumerate(names), key=order)]


def _minutes(given: Any) -> int | None:
    if given.get("ends", "person") == "person":
        return None
    text = given.get("minutes", "").strip()
    if not (text.isascii() and text.isdecimal() and len(text) < 9):
        raise ValidationError({"work_minutes": _("%(value)r is not a number") % {"value": text}})
    return int(text)


@login_required
def drains(request: HttpRequest) -> HttpResponse:
    """The one under way, and earlier ones."""
    _keeper(request)
    rows = RollingDrain.objects.select_related("requested_by")
    page = Paginator(rows, 25).get_page(request.GET.get("page"))
    live = RollingDrain.objects.filter(state__in=RollingDrain.LIVE).first()
    return render(request, "portal/rolling_drains.html", {"page_obj": page, "live": live})


@login_required
def new(request: HttpRequest) -> HttpResponse:
    """Choose hosts and their order, see what would happen, begin."""
    _keeper(request)
    given = request.POST if request.method == "POST" else request.GET
    chosen, errors, plan, minutes = _chosen(given), [], None, None
    wrong: list[str] = []
    verb, find = request.POST.get("verb", ""), given.get("find", "").strip()
    if verb in ("preview", "start") and not chosen:
        errors = [_("Tick the hosts that are to be drained.")]
    elif chosen and verb != "find":
        try:
            minutes = _minutes(given)
            if request.POST.get("verb") == "start":
                made = rolling.start(
                    request.user,
                    chosen,
                    work_minutes=minutes,
                    approve="approve" in given,
                    reason=given.get("reason", ""),
                )
                return redirect("portal:rolling_drain", made.pk)
            plan = rolling.preview(chosen, minutes or 0)
        except ValidationError as error:
            told = error.message_dict if hasattr(error, "error_dict") else {}
            wrong = told.pop("work_minutes", [])
            errors = error_lines(ValidationError(told) if told or wrong else error, WORDS)
    # Those that are ticked stay in sight, whatever is searched.
    numbers = {name: at for at, name in enumerate(chosen, 1)}
    counted = Host.objects.annotate(count=Count("machines"))
    ticked = sorted(counted.filter(name__in=chosen), key=lambda host: numbers[host.name])
    others = counted.exclude(name__in=chosen).order_by("name").filter(name__icontains=find)
    offered = list(others[: OFFERED + 1])
    hosts = [*ticked, *offered[:OFFERED]]
    context = {
        "rows": [
            {"host": host, "chosen": host.name in numbers, "order": numbers.get(host.name, "")}
            for host in hosts
        ],
        "given": given,
        "find": find,
        "more": len(offered) > OFFERED,
        "wrong": wrong,
        "by_time": given.get("ends") == "time",
        "minutes_text": given.get("minutes", "60"),
        "chosen": chosen,
        "plan": plan,
        "errors": errors,
    }
    status = 422 if errors or wrong else 200
    return render(request, "portal/rolling_drain_form.html", context, status=status)


@login_required
def drain(request: HttpRequest, pk: int) -> HttpResponse:
    """How far it is, and what it waits for."""
    _keeper(request)
    row = get_object_or_404(RollingDrain.objects.select_related("requested_by", "drain"), pk=pk)
    machines = dict(
        Host.objects.filter(name__in=row.hosts)
        .annotate(count=Count("machines"))
        .values_list("name", "count")
    )
    through = [at for at in row.progress if at["state"] in ("done", "skipped")]
    at = next((each for each in row.progress if each["state"] not in ("done", "skipped")), None)
    context = {
        "row": row,
        "live": row.state in RollingDrain.LIVE,
        "entries": [{**each, "machines": machines.get(each["host"])} for each in row.progress],
        "at": at,
        "through": len(through),
        "percent": round(100 * len(through) / max(len(row.progress), 1)),
    }
    return render(request, "portal/rolling_drain.html", context)


@login_required
@require_POST
def act(request: HttpRequest, pk: int) -> HttpResponse:
    """Pause, go on, the work is done, leave a host out, stop."""
    _keeper(request)
    row = get_object_or_404(RollingDrain, pk=pk)
    change = VERBS.get(request.POST.get("verb", ""))
    if change is not None:
        reason = request.POST.get("reason", "")[:300]
        attempt(request, lambda: change(request.user, row, reason), _("Done."), WORDS)
    return redirect("portal:rolling_drain", pk)
