"""Set-points on the page of an environment: allowing them, and writing one after a look at old and new."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from millwright.accounts.permissions import may
from millwright.gateway import GatewayError
from millwright.shopfloor import setpoints
from millwright.shopfloor.live import words
from millwright.shopfloor.models import SetPoint

from .base import attempt, error_lines
from .environments import find


def _point(request: HttpRequest, pk: Any) -> SetPoint:
    rows = SetPoint.objects.select_related(
        "machine__environment__project", "machine__address_claim", "machine__cell"
    )
    return get_object_or_404(rows.for_user(request.user), pk=pk)


@login_required
@require_POST
def allow(request: HttpRequest, name: str) -> HttpResponse:
    """Let operators write a tag within limits."""
    environment = find(request, name)
    machine = get_object_or_404(environment.machines.all(), pk=request.POST.get("machine"))

    def change() -> Any:
        limits = {}
        for field in ("low", "high"):
            text = request.POST.get(field, "")
            try:
                limits[field] = float(text.replace(",", "."))
            except ValueError:
                raise ValidationError(
                    {field: _("%(value)r is not a number") % {"value": text}}
                ) from None
        return setpoints.allow(
            request.user,
            machine,
            tag=request.POST.get("tag", ""),
            unit=request.POST.get("unit", "").strip(),
            **limits,
        )

    attempt(request, change, _("Operators may write it as soon as the configuration is delivered."))
    return redirect("portal:environment", name)


@login_required
@require_POST
def forbid(request: HttpRequest, pk: Any) -> HttpResponse:
    """No longer let anybody write the tag."""
    point = _point(request, pk)
    attempt(request, lambda: setpoints.forbid(request.user, point), _("Removed."))
    return redirect("portal:environment", point.machine.environment.name)


@login_required
def write(request: HttpRequest, pk: Any) -> HttpResponse:
    """First old and new value side by side, then the write."""
    point = _point(request, pk)
    environment = point.machine.environment
    if not may(request.user, "operate", environment.project):
        raise PermissionDenied
    source = request.POST if request.method == "POST" else request.GET
    value, reason = source.get("value", ""), source.get("reason", "")
    context: dict[str, Any] = {"point": point, "environment": environment, "value": value}
    context |= {"reason": reason, "errors": []}
    try:
        context["number"] = setpoints.checked(point, value) if value.strip() else None
        if request.method == "POST":
            made = setpoints.write(request.user, point, value, reason)
            if made.error:
                messages.error(request, f"{point.tag}: {made.error}")
            else:
                messages.success(
                    request,
                    _("%(tag)s: %(before)s → %(after)s")
                    % {"tag": point.tag, "before": made.before, "after": made.after},
                )
            return redirect("portal:environment", environment.name)
        context["before"] = setpoints.current(point)
    except ValidationError as error:
        context["errors"] = error_lines(error)
    except GatewayError as error:
        context["errors"] = [words(error)]
    refused = context["errors"] and request.method == "POST"
    return render(request, "portal/set_point.html", context, status=409 if refused else 200)
