"""Decisions in one's place: given for a time, seen by both, taken back at once."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.dateparse import parse_date
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from millwright.accounts import people as actions
from millwright.accounts.models import Delegation, User
from millwright.accounts.permissions import may

from .base import attempt


def _give(request: HttpRequest) -> Any:
    username = request.POST.get("taker", "").strip()
    taker = User.objects.filter(username=username, is_active=True).first()
    if taker is None:
        raise ValidationError({"taker": _("%(value)r: nobody has this account") % {"value": username}})  # fmt: skip
    day = _day(request.POST.get("until", ""))
    # To the end of that day, in the plant's zone.
    end = timezone.make_aware(dt.datetime.combine(day, dt.time(23, 59, 59)))
    return actions.delegate(request.user, taker, end)


def _day(text: str) -> dt.date:
    try:
        day = parse_date(text)
    except ValueError:
        day = None
    if day is None:
        raise ValidationError({"until": _("%(value)r: choose a day") % {"value": text}})
    return day


@login_required
def delegations(request: HttpRequest) -> HttpResponse:
    """What one gave and what one was given, with a form to give."""
    if request.method == "POST":
        attempt(request, lambda: _give(request), _("Handed on. Both of you see it here."))
        return redirect("portal:delegations")
    user = request.user
    rows = (
        Delegation.objects.in_force()
        .filter(Q(giver=user) | Q(taker=user))
        .select_related("giver", "taker")[:100]
    )
    decides = may(user, "decide") or user.memberships.filter(role__in=actions.DECIDERS).exists()
    return render(request, "portal/delegations.html", {"rows": rows, "decides": decides})


@login_required
@require_POST
def end(request: HttpRequest, pk: Any) -> HttpResponse:
    """Take it back, or give it back."""
    rows = Delegation.objects.filter(Q(giver=request.user) | Q(taker=request.user))
    row = get_object_or_404(rows, pk=pk)
    attempt(request, lambda: actions.end_delegation(request.user, row), _("Ended."))
    return redirect("portal:delegations")
