"""Resource pools: the tree with what each shares, and how boldly its machines are balanced."""

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
from millwright.balancing import pooling
from millwright.balancing.models import Balancer, ResourcePool
from millwright.balancing.recommending import balancer

from .base import attempt

MIB = 2**20
FIELDS = (
    "name",
    "parent",
    "shares",
    "cpu_reservation",
    "cpu_limit",
    "balance_mode",
    "memory_reservation_mib",
    "memory_limit_mib",
    "memory_shares",
)
#: Numbers of the form: what they are, and whether nothing means something.
_NUMBERS: tuple[tuple[str, type, bool], ...] = (
    ("shares", int, False),
    ("cpu_reservation", float, False),
    ("cpu_limit", float, True),
    ("memory_reservation_mib", int, False),
    ("memory_limit_mib", int, True),
    ("memory_shares", int, False),
)


def _keeper(request: HttpRequest) -> None:
    if not may(request.user, "pool"):
        raise PermissionDenied(_("Resource pools are for those who keep the pool."))


@login_required
def pools(request: HttpRequest) -> HttpResponse:
    """All pools, each below the one that it is part of."""
    _keeper(request)
    plant = balancer()
    context = {"rows": pooling.tree(plant.mode), "plant": plant}
    return render(request, "portal/resource_pools.html", context)


def _given(row: ResourcePool | None) -> dict[str, str]:
    draft = pooling.draft_of(row) if row is not None else pooling.PoolDraft()
    return {
        "name": draft.name,
        "parent": draft.parent,
        "shares": str(draft.shares),
        "cpu_reservation": f"{draft.cpu_reservation:g}",
        "cpu_limit": "" if draft.cpu_limit is None else f"{draft.cpu_limit:g}",
        "balance_mode": draft.balance_mode,
        "memory_reservation_mib": str(draft.memory_reservation_bytes // MIB),
        "memory_limit_mib": ""
        if draft.memory_limit_bytes is None
        else str(draft.memory_limit_bytes // MIB),
        "memory_shares": str(draft.memory_shares),
    }


def _draft(given: dict[str, str], row: ResourcePool | None) -> pooling.PoolDraft:
    shown = _given(row)
    numbers: dict[str, Any] = {}
    for name, kind, may_be_none in _NUMBERS:
        text = given[name].replace(",", ".")
        try:
            value = None if may_be_none and not text else kind(text)
        except ValueError:
            raise ValidationError(
                {name: _("%(value)r is not a number") % {"value": text}}
            ) from None
        if name.endswith("_mib"):
            known, name = shown[name], name.replace("_mib", "_bytes")
            if row is not None and text == known:
                # Bytes that are no whole MiB, as the API takes them, stay as they are.
                value = getattr(row, name)
            elif value is not None:
                value *= MIB
        numbers[name] = value
    words = {name: given[name] for name in ("name", "parent", "balance_mode")}
    return pooling.PoolDraft(**words, **numbers)


@login_required
def edit(request: HttpRequest, name: str = "") -> HttpResponse:
    """Write a pool, or change the one of this name."""
    _keeper(request)
    row = (
        get_object_or_404(ResourcePool.objects.select_related("parent"), name=name)
        if name
        else None
    )
    given, errors = _given(row), {}
    if request.method == "POST":
        # A form that was opened before there were these fields leaves them as they are.
        given = {key: request.POST.get(key, given[key]).strip() for key in FIELDS}
        try:
            reason = request.POST.get("reason", "")[:300]
            made = pooling.save_pool(request.user, _draft(given, row), row, reason)
        except ValidationError as error:
            errors = {
                name.replace("_bytes", "_mib"): texts for name, texts in error.message_dict.items()
            }
        else:
            messages.success(
                request, _("%(name)s: the next round goes by it.") % {"name": made.name}
            )
            return redirect("portal:resource_pools")
    context = {
        "row": row,
        "given": given,
        "errors": errors,
        "modes": Balancer.MODES,
        "parents": ResourcePool.objects.exclude(pk=row.pk if row else None),
    }
    status = 422 if errors else 200
    return render(request, "portal/resource_pool_form.html", context, status=status)


@login_required
@require_POST
def remove(request: HttpRequest, name: str) -> HttpResponse:
    """Remove a pool that holds nothing."""
    _keeper(request)
    row = get_object_or_404(ResourcePool, name=name)
    attempt(request, lambda: pooling.remove_pool(request.user, row), _("Removed."))
    return redirect("portal:resource_pools")
