"""The page of a device: how it does, what is mapped, and which certificate of it is trusted."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from millwright.accounts.permissions import may
from millwright.gateway import GatewayError
from millwright.shopfloor import trust
from millwright.shopfloor.health import ask, health
from millwright.shopfloor.live import words
from millwright.shopfloor.models import Device

from .base import attempt


def _find(request: HttpRequest, pk: Any) -> Device:
    rows = Device.objects.select_related("project", "cell").for_user(request.user)
    return get_object_or_404(rows, pk=pk)


@login_required
def device(request: HttpRequest, pk: Any) -> HttpResponse:
    """How it does as its controllers see it, and what is trusted."""
    row = _find(request, pk)
    context = {
        "device": row,
        "health": health(row),
        "points": row.mappings.select_related("machine__environment").order_by("tag")[:200],
        "can_engineer": may(request.user, "engineer", row.project),
        "can_operate": may(request.user, "operate", row.project),
    }
    return render(request, "portal/device.html", context)


@login_required
@require_POST
def device_ask(request: HttpRequest, pk: Any) -> HttpResponse:
    """Ask it now, from the gateway."""
    row = _find(request, pk)
    if not may(request.user, "operate", row.project):
        raise PermissionDenied
    asked = ask(request.user, row)
    return render(request, "portal/parts/device_asked.html", {"device": row, "asked": asked})


@login_required
def device_certificates(request: HttpRequest, pk: Any) -> HttpResponse:
    """The certificates that it shows now, each beside what is trusted."""
    row = _find(request, pk)
    if not may(request.user, "engineer", row.project):
        raise PermissionDenied
    context: dict[str, Any] = {"device": row}
    try:
        context["rows"] = trust.offered(request.user, row)
    except GatewayError as error:
        context["error"] = words(error)
    except trust.ValidationError as error:
        context["error"] = " ".join(error.messages)
    return render(request, "portal/parts/device_certificates.html", context)


@login_required
@require_POST
def device_trust(request: HttpRequest, pk: Any) -> HttpResponse:
    """Trust a certificate, trust none any more, or go without encryption."""
    row = _find(request, pk)
    verb, reason = request.POST.get("verb", ""), request.POST.get("reason", "")

    def change() -> Any:
        if verb == "trust":
            try:
                return trust.trust(request.user, row, request.POST.get("fingerprint", ""), reason)
            except GatewayError as error:
                raise trust.ValidationError(words(error)) from None
        if verb == "distrust":
            return trust.distrust(request.user, row, reason)
        if verb == "unencrypted":
            return trust.without_encryption(request.user, row, reason)
        raise trust.ValidationError({"verb": _("unknown: %(verb)r") % {"verb": verb}})

    attempt(request, change, _("Saved. Its controllers are told."))
    return redirect("portal:device", pk)
