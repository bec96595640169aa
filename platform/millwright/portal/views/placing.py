"""One machine's place: why it is here and not there, and what it is promised and given."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _

from millwright.accounts.permissions import may
from millwright.balancing import asking, entitling
from millwright.balancing.models import Balancer, MachineShare, ResourcePool
from millwright.environments.models import Machine

from .base import attempt

MIB = 2**20
#: Fields of the form: (name, type, whether it may be empty).
FIELDS = (
    ("shares", int, False),
    ("cpu_reservation", float, False),
    ("cpu_limit", float, True),
    ("memory_minimum_mib", int, True),
    ("priority", int, False),
)


def _wanted(request: HttpRequest) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, kind, empty in FIELDS:
        text = request.POST.get(name, "").strip().replace(",", ".")
        try:
            value = None if empty and not text else kind(text)
        except ValueError:
            raise ValidationError({name: _("%(value)r is no number") % {"value": text}}) from None
        if name == "memory_minimum_mib":
            name, value = "memory_minimum_bytes", None if value is None else value * MIB
        found[name] = value
    if "after" in request.POST:
        names = request.POST["after"].replace(",", " ").split()
        found["after"] = list(dict.fromkeys(names))
    for name in ("pool", "balance_mode"):
        if name in request.POST:
            found[name] = request.POST[name]
    return found


@login_required
def place(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Why it is here; who keeps the pool says what it is entitled to."""
    rows = Machine.objects.for_user(request.user).select_related(
        "environment__project", "host", "pool"
    )
    machine = get_object_or_404(rows, pk=pk)
    keeper = may(request.user, "pool")
    if request.method == "POST":
        if not keeper:
            raise PermissionDenied(_("Entitlements are for those who keep the pool."))
        attempt(
            request,
            lambda: entitling.set_entitlement(
                request.user, machine, request.POST.get("reason", ""), **_wanted(request)
            ),
            _("Set."),
        )
        return redirect("portal:machine_place", pk)
    least = machine.memory_minimum_bytes
    context = {
        "machine": machine,
        "why": asking.why_here(machine),
        "share": MachineShare.objects.filter(machine=machine).first(),
        "can_entitle": keeper,
        "modes": Balancer.MODES,
        "after": ", ".join(entitling.after_names(machine)),
        "pools": ResourcePool.objects.values_list("name", flat=True) if keeper else (),
        # As typed: no thousands' marks in a field.
        "shares": str(machine.shares),
        "priority": str(machine.priority),
        "reservation": f"{machine.cpu_reservation:g}",
        "limit": "" if machine.cpu_limit is None else f"{machine.cpu_limit:g}",
        "memory_minimum_mib": "" if least is None else str(least // MIB),
    }
    return render(request, "portal/machine_place.html", context)
