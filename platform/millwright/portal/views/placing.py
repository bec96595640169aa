"""One machine's place: why it is here and not there, and what it is promised and given."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _

from millwright.accounts.permissions import may
from millwright.balancing import asking, entitling
from millwright.balancing.models import Balancer, MachineShare, ResourcePool
from millwright.environments.models import Machine

from .base import attempt

MIB = 2**20
#: Hosts that are compared on one page.
HOSTS_A_PAGE = 25
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
    wrong: dict[str, str] = {}
    for name, kind, empty in FIELDS:
        text = request.POST.get(name, "").strip().replace(",", ".")
        try:
            value = None if empty and not text else kind(text)
        except ValueError:
            wrong[name] = _("%(value)r is no number") % {"value": text}
            continue
        if name == "memory_minimum_mib":
            name, value = "memory_minimum_bytes", None if value is None else value * MIB
        found[name] = value
    if wrong:
        raise ValidationError(wrong)
    if "after" in request.POST:
        names = request.POST["after"].replace(",", " ").split()
        found["after"] = list(dict.fromkeys(names))
    for name in ("pool", "balance_mode"):
        if name in request.POST:
            found[name] = request.POST[name]
    return found


def _set(request: HttpRequest, machine: Machine) -> dict[str, list[str]]:
    """Set what was typed; what is wrong with it, by field of the form."""
    wrong: dict[str, list[str]] = {}
    attempt(
        request,
        lambda: entitling.set_entitlement(
            request.user, machine, request.POST.get("reason", ""), **_wanted(request)
        ),
        _("Set."),
        wrong=wrong,
    )
    names = {"memory_minimum_bytes": "memory_minimum_mib"}
    return {names.get(field, field): texts for field, texts in wrong.items()}


def _typed(machine: Machine) -> dict[str, str]:
    """What the form holds, as it would be typed: no thousands' marks."""
    least = machine.memory_minimum_bytes
    return {
        "pool": machine.pool.name if machine.pool else "",
        "balance_mode": machine.balance_mode,
        "shares": str(machine.shares),
        "priority": str(machine.priority),
        "cpu_reservation": f"{machine.cpu_reservation:g}",
        "cpu_limit": "" if machine.cpu_limit is None else f"{machine.cpu_limit:g}",
        "memory_minimum_mib": "" if least is None else str(least // MIB),
        "after": ", ".join(entitling.after_names(machine)),
        "reason": "",
    }


@login_required
def place(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Why it is here; who keeps the pool says what it is entitled to."""
    rows = Machine.objects.for_user(request.user).select_related(
        "environment__project", "host", "pool"
    )
    machine = get_object_or_404(rows, pk=pk)
    keeper = may(request.user, "pool")
    errors: dict[str, list[str]] = {}
    if request.method == "POST":
        if not keeper:
            raise PermissionDenied(_("Entitlements are for those who keep the pool."))
        errors = _set(request, machine)
        if not errors:
            return redirect("portal:machine_place", pk)
        # The row that was tried is not what holds.
        machine = get_object_or_404(rows, pk=pk)
    why = asking.why_here(machine)
    typed = _typed(machine)
    if errors:
        typed |= {name: request.POST[name] for name in typed if name in request.POST}
    fields = [
        (name, label, typed[name], errors.get(name, []), mode)
        for name, label, mode in (
            ("shares", _("Shares"), "numeric"),
            ("cpu_reservation", _("Reserved CPUs"), "decimal"),
            ("cpu_limit", _("CPU limit"), "decimal"),
            ("memory_minimum_mib", _("Least memory, MiB"), "numeric"),
            ("priority", _("Priority"), "numeric"),
            ("after", _("Starts after these machines"), ""),
        )
    ]
    context = {
        "machine": machine,
        "why": why,
        "page_obj": Paginator(why.hosts, HOSTS_A_PAGE).get_page(request.GET.get("page")),
        "share": MachineShare.objects.filter(machine=machine).first(),
        "can_entitle": keeper,
        "modes": Balancer.MODES,
        "pools": ResourcePool.objects.values_list("name", flat=True) if keeper else (),
        "typed": typed,
        "fields": fields,
        "errors": errors,
        "others": [text for name, texts in errors.items() if name not in typed for text in texts],
    }
    status = 422 if errors else 200
    return render(request, "portal/machine_place.html", context, status=status)
