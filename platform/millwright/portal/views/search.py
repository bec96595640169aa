"""One search over everything that the person may see (Ctrl-K)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _

from millwright.accounts.models import Project
from millwright.accounts.permissions import may
from millwright.environments.models import Environment, Machine, Request
from millwright.inventory.models import Host
from millwright.shopfloor.models import Device, Program

#: Of each kind: more than this is not found but browsed, in the kind's own list.
MOST = 6
#: One letter finds everything and costs as much.
LEAST = 2
_IP_BEGINS = re.compile(r"[0-9]+(\.[0-9.]*)?|[0-9a-f]{1,4}(:[0-9a-f:.]*)?", re.IGNORECASE)
_MAC_BEGINS = re.compile(r"[0-9a-f]{2}(:[0-9a-f:]*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Hit:
    kind: str
    name: str
    detail: str
    url: str
    state: str = ""


def _machines(user: Any, text: str) -> list[Machine]:
    """Machines by the beginning of their IP or MAC address: asked only for what can be one.

    Two questions in place of one with "or", which no index of the two tables could answer.
    """
    rows = Machine.objects.with_names().for_user(user).present()
    found: list[Machine] = []
    if _IP_BEGINS.fullmatch(text):
        found += rows.filter(address_claim__address__startswith=text.lower())[:MOST]
    if _MAC_BEGINS.fullmatch(text) and len(found) < MOST:
        known = {row.pk for row in found}
        found += [row for row in rows.filter(mac__istartswith=text)[:MOST] if row.pk not in known]
    return found[:MOST]


def find_everywhere(user: Any, text: str) -> list[Hit]:
    """Hits by name and by address, kind by kind: one query each, whatever the plant's size."""
    if len(text) < LEAST:
        return []
    name = Q(name__icontains=text)
    hits = [
        Hit(
            _("Environment"),
            row.name,
            str(row.project),
            reverse("portal:environment", args=[row.name]),
            row.state,
        )
        for row in Environment.objects.for_user(user)
        .present()
        .select_related("project")
        .filter(name)[:MOST]
    ]
    machines = _machines(user, text)
    hits += [
        Hit(
            _("Machine"),
            str(row),
            row.address_claim.address if hasattr(row, "address_claim") else row.mac,
            reverse("portal:environment", args=[row.environment.name]),
            row.observed,
        )
        for row in machines
    ]
    hits += [
        Hit(
            _("Request"),
            row.name,
            str(row.requester),
            reverse("portal:request", args=[row.pk]),
            row.state,
        )
        for row in Request.objects.listed().for_user(user).filter(name)[:MOST]
    ]
    hits += [
        Hit(_("Program"), row.name, str(row.project), reverse("portal:program", args=[row.pk]))
        for row in Program.objects.for_user(user).select_related("project").filter(name)[:MOST]
    ]
    hits += [
        Hit(
            _("Device"),
            row.name,
            f"{row.address}:{row.port}",
            f"{reverse('portal:devices')}?q={row.name}",
        )
        for row in Device.objects.for_user(user).filter(name | Q(address__startswith=text))[:MOST]
    ]
    if may(user, "pool"):
        hits += [
            Hit(
                _("Host"),
                row.name,
                row.address or "",
                reverse("portal:host", args=[row.name]),
                row.health if row.power == "awake" else row.power,
            )
            for row in Host.objects.filter(name)[:MOST]
        ]
    hits += [
        Hit(
            _("Project"),
            row.name,
            row.slug,
            f"{reverse('portal:environments')}?project={row.slug}",
        )
        for row in Project.objects.for_user(user).filter(name | Q(slug__icontains=text))[:MOST]
    ]
    return hits


@login_required
def search(request: HttpRequest) -> HttpResponse:
    """A page of its own, and the same hits alone for the dialog."""
    text = request.GET.get("q", "").strip()
    context = {
        "text": text,
        "hits": find_everywhere(request.user, text),
        "short": len(text) < LEAST,
        "least": LEAST,
    }
    part = request.headers.get("HX-Request") == "true"
    return render(request, "portal/parts/hits.html" if part else "portal/search.html", context)
