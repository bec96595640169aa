"""The force list of a controller."""

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
from millwright.desk import DeskError
from millwright.environments.models import Machine
from millwright.shopfloor import forces


@login_required
def force_list(request: HttpRequest, pk: Any) -> HttpResponse:
    """What is forced. The page comes at once; `?now=1` asks the controller, which takes seconds."""
    machine = _find(request, pk)
    context: dict[str, Any] = {"machine": machine, "environment": machine.environment}
    if request.GET.get("now") == "1":
        context["asked"] = True
        try:
            context["forced"] = forces.forced(request.user, machine)
        except (DeskError, ValidationError) as error:
            context["error"] = _said(error)
        if request.headers.get("HX-Request") == "true":
            return render(request, "portal/parts/forces.html", context)
    return render(request, "portal/forces.html", context)


@login_required
@require_POST
def unforce(request: HttpRequest, pk: Any) -> HttpResponse:
    """End those that are marked, or all of them."""
    machine = _find(request, pk)
    paths = None if request.POST.get("which") == "all" else request.POST.getlist("path")
    if request.POST.get("sure") != "yes":
        messages.error(
            request, _("Nothing was ended: say first that you know what the program then does.")
        )
    else:
        try:
            left = forces.unforce(request.user, machine, paths, request.POST.get("reason", ""))
        except (DeskError, ValidationError) as error:
            messages.error(request, _said(error))
        else:
            messages.success(request, _("Ended. Still forced: %(n)s.") % {"n": len(left)})
    return redirect("portal:forces", pk=machine.pk)


def _find(request: HttpRequest, pk: Any) -> Machine:
    machine = get_object_or_404(Machine.objects.with_names().for_user(request.user), pk=pk)
    if not may(request.user, "operate", machine.environment.project):
        raise PermissionDenied
    return machine


def _said(error: DeskError | ValidationError) -> str:
    return "; ".join(error.messages) if isinstance(error, ValidationError) else str(error)
