"""One's own API tokens: made, shown once, revoked."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST

from millwright.accounts import actions
from millwright.accounts.models import ApiToken
from millwright.accounts.permissions import may

from .base import attempt

SCOPES = ("read", "write", "discovery")
DAYS = (7, 30, 90, 365)


@login_required
@never_cache
def tokens(request: HttpRequest) -> HttpResponse:
    """The list; a POST makes one and shows its secret on the answering page alone."""
    context: dict[str, Any] = {
        "scopes": [
            (value, label)
            for value, label in ApiToken._meta.get_field("scope").choices or ()
            # Discovery reads the whole plant's targets: for those who keep the pool.
            if value != "discovery" or may(request.user, "pool")
        ],
        "days": DAYS,
    }
    status = 200
    if request.method == "POST":
        name, scope = request.POST.get("name", "").strip(), request.POST.get("scope", "")
        days = request.POST.get("days", "")
        if not name or len(name) > 80:
            messages.error(request, _("name: give the token a name of at most 80 characters."))
        elif scope not in {value for value, _label in context["scopes"]}:
            if scope in SCOPES:
                raise PermissionDenied(_("This scope is for those who keep the pool."))
            messages.error(request, _("scope: choose one of the list."))
        elif not days.isascii() or not days.isdigit() or int(days) not in DAYS:
            messages.error(request, _("days: choose one of the list."))
        else:
            made = attempt(
                request,
                lambda: actions.issue_token(
                    request.user,
                    request.user,
                    name,
                    scope=scope,
                    lifetime=dt.timedelta(days=int(days)),
                ),
            )
            if made is not None:
                context["secret"] = made[1]
        status = 200 if "secret" in context else 422
    context["tokens"] = request.user.api_tokens.filter(revoked_at=None)[:100]
    return render(request, "portal/tokens.html", context, status=status)


@login_required
@require_POST
def revoke(request: HttpRequest, pk: Any) -> HttpResponse:
    """End one's own token at once."""
    token = get_object_or_404(request.user.api_tokens, pk=pk)
    attempt(request, lambda: actions.revoke_token(request.user, token), _("Revoked."))
    return redirect("portal:tokens")
