"""A lost host: who made sure that it is off, and where its machines start."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _

from millwright.accounts.permissions import may
from millwright.balancing import recovering
from millwright.environments.models import Operation
from millwright.inventory.models import Host

from .base import WORDS, attempt

#: Operations of one recovery that are shown.
NEWEST = 50


@login_required
def recover(request: HttpRequest, name: str) -> HttpResponse:
    """Before: what would start where. Then a person or the fence agent makes sure, and it begins."""
    if not may(request.user, "pool"):
        raise PermissionDenied(_("Recovering machines is for those who keep the pool."))
    host = get_object_or_404(Host, name=name)
    active = host.recoveries.filter(state="active").select_related("fencing").first()
    if request.method == "POST":
        reason = request.POST.get("reason", "")
        if active is not None and request.POST.get("verb") == "stop":
            row = active
            attempt(
                request, lambda: recovering.stop(request.user, row, reason), _("Stopped."), WORDS
            )
            return redirect("portal:host_recover", name)
        begun = attempt(
            request,
            lambda: recovering.start(
                request.user,
                host,
                confirm_off=request.POST.get("how") == "person",
                fence=request.POST.get("how") == "fence",
                gone="gone" in request.POST,
                initial_values=request.POST.getlist("initial_values"),
                reason=reason,
            ),
            _("Its machines start elsewhere."),
            WORDS,
        )
        if begun:
            return redirect("portal:host_recover", name)
    gone = "gone" in (request.POST or request.GET)
    if active is not None:
        gone = active.gone
    plan = recovering.preview(host, gone=gone)
    rebuilt = [row for row in plan.starts if row.rebuild]
    context = {
        "given": request.POST,
        "chosen": request.POST.getlist("initial_values"),
        "rebuilt": len(rebuilt),
        "initial": sum(row.controller and row.retained_as_of is None for row in rebuilt),
        "offered": any(row.retained_as_of is not None for row in rebuilt),
        "host": host,
        "active": active,
        "gone": gone,
        "plan": plan,
        "can_fence": bool(host.policy.get("fence")),
        "past": host.recoveries.exclude(state="active").select_related("requested_by")[:10],
        "operations": Operation.objects.filter(
            host=host, kind__in=("fence", "recover", "clear_copy")
        ).select_related("machine__environment")[:NEWEST],
    }
    status = 422 if request.method == "POST" else 200
    return render(request, "portal/host_recover.html", context, status=status)
