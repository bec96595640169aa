"""The ledger: the queue of what nobody has explained, a cause by one click, and each row's whole story."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from millwright.accounts.permissions import may, projects_with
from millwright.core.sla import Cause
from millwright.service_levels import actions
from millwright.service_levels.choices import CAUSES
from millwright.service_levels.models import Interval, Note, Supersession

from .base import Rows, attempt

#: What the queue offers by one click and one key; the others want a reason and are given on the row's page.
QUICK = (Cause.UNPLANNED, Cause.SMALL_STOP, Cause.PLANNED, Cause.CHANGEOVER)
#: Those that an approver gives, with a reason.
AGREED = (Cause.PLANNED, Cause.CHANGEOVER, Cause.EXCLUDED, Cause.VOID)


class Ledger(Rows):
    """Rows of the ledger: those without a cause at first, newest first."""

    rows = Interval.objects.with_names()
    template_name = "portal/ledger.html"

    def get_queryset(self) -> Any:
        asked = self.request.GET
        rows = super().get_queryset()
        cause = asked.get("cause", str(Cause.UNKNOWN))
        if cause == str(Cause.UNKNOWN):
            rows = rows.unclassified()
        else:
            rows = rows.current().order_by("-begin", "-pk")
            if cause in set(Cause):
                rows = rows.filter(cause=cause)
        if text := asked.get("q", "").strip():
            rows = rows.filter(environment__name__icontains=text)
        if asked.get("open") == "1":
            rows = rows.filter(end=None, long=True)
        return rows

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        asked = self.request.GET
        context = super().get_context_data(**kwargs)
        seen = set(
            Note.objects.filter(
                incident__in=[row.incident for row in context["object_list"]], kind="acknowledge"
            ).values_list("incident", flat=True)
        )
        return {
            **context,
            "causes": CAUSES,
            "quick": [(str(cause), dict(CAUSES)[str(cause)]) for cause in QUICK],
            "cause": asked.get("cause", str(Cause.UNKNOWN)),
            "text": asked.get("q", ""),
            "open": asked.get("open") == "1",
            "seen": seen,
            "operable": projects_with(self.request.user, "operate"),
            "query": asked.urlencode(),
        }


def _row(request: HttpRequest, pk: int) -> Interval:
    return get_object_or_404(Interval.objects.with_names().for_user(request.user), pk=pk)


def _back(request: HttpRequest) -> HttpResponse:
    """To the list as it was filtered."""
    query = request.POST.get("query", "")
    return redirect(f"{reverse('portal:ledger')}{'?' + query if query else ''}")


@login_required
def row(request: HttpRequest, pk: int) -> HttpResponse:
    """One incident: how it was seen, what people said and did, and what can be done with it."""
    found = _row(request, pk)
    history = list(
        Interval.objects.filter(incident=found.incident)
        .with_names()
        .select_related("supersession__actor")
        .order_by("pk")
    )
    replaced = Supersession.objects.filter(interval=found).first()
    newest = next((each for each in reversed(history) if not hasattr(each, "supersession")), None)
    project = found.environment.project
    context = {
        "row": found,
        "history": history,
        "replaced": replaced,
        "newest": newest,
        "notes": Note.objects.filter(incident=found.incident).select_related("actor"),
        "causes": CAUSES,
        "agreed": [str(cause) for cause in AGREED],
        "can_operate": may(request.user, "operate", project),
        "can_decide": may(request.user, "decide", project),
    }
    return render(request, "portal/ledger_row.html", context)


def _moment(text: str) -> dt.datetime | None:
    """A local date and time of a form, in the plant's zone."""
    try:
        at = dt.datetime.fromisoformat(text)
    except ValueError:
        return None
    return at if at.tzinfo is not None else timezone.make_aware(at)


@login_required
@require_POST
def act(request: HttpRequest, pk: int) -> HttpResponse:
    """Give a cause, split, comment, say that one has seen it."""
    found, user = _row(request, pk), request.user
    verb, reason = request.POST.get("verb", ""), request.POST.get("reason", "")
    made: Any = None
    if verb.startswith("cause:") or verb == "classify":
        cause = verb.removeprefix("cause:") if verb != "classify" else request.POST.get("cause", "")
        made = attempt(
            request,
            lambda: actions.classify_interval(user, found, cause, reason),
            _("The cause was given."),
        )
    elif verb == "split":
        at = _moment(request.POST.get("at", ""))
        pair = attempt(
            request,
            lambda: actions.split_interval(user, found, at or found.begin, reason),
            _("It was split in two."),
        )
        made = pair[0] if pair else None
    elif verb in ("comment", "acknowledge"):
        text = request.POST.get("text", "")
        attempt(
            request,
            lambda: actions.note_interval(user, found, text, acknowledge=verb == "acknowledge"),
            _("Noted."),
        )
    if "query" in request.POST:
        return _back(request)
    return redirect("portal:ledger_row", made.pk if made is not None else pk)


@login_required
@require_POST
def merge(request: HttpRequest) -> HttpResponse:
    """One row for those that are ticked."""
    keys = [
        int(key) for key in request.POST.getlist("row")[:100] if re.fullmatch(r"[0-9]{1,18}", key)
    ]
    rows = list(Interval.objects.with_names().for_user(request.user).filter(pk__in=keys))
    made = attempt(
        request,
        lambda: actions.merge_intervals(request.user, rows, request.POST.get("reason", "")),
        _("They are one now."),
    )
    return redirect("portal:ledger_row", made.pk) if made is not None else _back(request)
