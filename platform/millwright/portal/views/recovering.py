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

from .base import attempt

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
            attempt(request, lambda: recovering.stop(request.user, row, reason), _("Stopped."))
        else:
            attempt(
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
            )
        return redirect("portal:host_recover", name)
    gone = active.gone if active is not None else "gone" in request.GET
    context = {
        "host": host,
        "active": active,
        "gone": gone,
        "plan": recovering.preview(host, gone=gone),
        "can_fence": bool(host.policy.get("fence")),
        "past": host.recoveries.exclude(state="active").select_related("requested_by")[:10],
        "operations": Operation.objects.filter(
            host=host, kind__in=("fence", "recover", "clear_copy")
        ).select_related("machine__environment")[:NEWEST],
    }
    return render(request, "portal/host_recover.html", context)
