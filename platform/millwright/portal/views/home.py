"""Home: what waits for this person, worst first."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from millwright.accounts.permissions import may
from millwright.accounts.signals import BREAK_GLASS
from millwright.audit.models import AuditEntry
from millwright.balancing import waiting
from millwright.environments.actions import MAX_COPIES
from millwright.environments.models import Environment, Machine, Operation, Request
from millwright.environments.reasons import said
from millwright.inventory.models import Host
from millwright.portal.templatetags.mw import stands_against
from millwright.shopfloor.models import Deployment

#: A failure older than this is history, found among the operations.
LATELY = dt.timedelta(days=1)
#: Environments on the page, and their states as they call for a look.
SHOWN = 50
#: Of each sort of what the balancer waits for.
WAITS = 10
WORST_FIRST = ("failed", "degraded", "provisioning", "reserved", "removing")


@dataclass(frozen=True, slots=True)
class Wait:
    """One line of what the balancer waits for. `since`: nothing where nobody counts."""

    title: str
    why: str
    since: dt.datetime | None
    url: str


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """Inbox, the pool and what failed lately, environments worst first, own requests."""
    user = request.user
    hosts = (
        Host.objects.defer("topology", "capabilities", "policy").exclude(health="up")
        if may(user, "pool")
        else Host.objects.none()
    )
    failed = (
        Operation.objects.with_names()
        .for_user(user)
        .filter(state="failed", ended_at__gte=timezone.now() - LATELY)
        .order_by("-ended_at")[:10]
    )
    pool = None
    if may(user, "pool"):
        pool = Host.objects.aggregate(
            all=Count("pk"),
            up=Count("pk", filter=Q(health="up", power="awake")),
            asleep=Count("pk", filter=~Q(power="awake")),
            closed=Count("pk", filter=~Q(administration="schedulable")),
        )
    context = {
        "emergencies": _emergencies(user),
        "failed": failed,
        "pool": pool,
        "inbox": _inbox(user),
        "deployments": Deployment.objects.with_names().to_decide_by(user)[:20],
        "forced": Machine.objects.for_user(user)
        .present()
        .filter(forced__gt=0)
        .select_related("environment")
        .only("name", "forced", "forced_since", "environment__name")
        .order_by("forced_since")[:20],
        "unhealthy_hosts": hosts[:20],
        "waits": _waits(timezone.now()) if may(user, "pool") else [],
        "environments": _worst_first(user),
        "requests": Request.objects.listed().filter(requester=user)[:10],
    }
    return render(request, "portal/home.html", context)


def _inbox(user: Any) -> list[tuple[Request, int]]:
    """What waits for a decision, oldest first; those that were asked for together are one line: (first, how many)."""
    found: dict[Any, list[Request]] = {}
    for row in Request.objects.listed().to_decide_by(user)[: 20 * MAX_COPIES]:
        found.setdefault(row.alike or row.pk, []).append(row)
    return [(rows[0], len(rows)) for rows in list(found.values())[:20]]


def _worst_first(user: Any) -> list[Environment]:
    """The 50 environments that need a look most: two queries, however many run well."""
    rows = Environment.objects.for_user(user).present().select_related("project")
    wrong = list(rows.exclude(state__in=("running", "stopped"))[:SHOWN])
    wrong.sort(
        key=lambda row: (WORST_FIRST.index(row.state) if row.state in WORST_FIRST else 9, row.name)
    )
    well = rows.filter(state__in=("running", "stopped")).order_by("state", "name")
    return wrong + list(well[: SHOWN - len(wrong)])


def _emergencies(user: Any) -> Any:
    """Entries of emergency accounts in the last day, for those who keep the pool."""
    if not may(user, "pool"):
        return AuditEntry.objects.none()
    return AuditEntry.objects.filter(action=BREAK_GLASS, at__gte=timezone.now() - LATELY).order_by(
        "-at"
    )[:5]


def _waits(now: dt.datetime) -> list[Wait]:
    """What the balancer waits for and cannot do by itself, for those who keep the pool. Six queries."""
    found = []
    room = waiting.spare(now)
    if room is not None and room.kept < room.wanted:
        title = _("Room for lost hosts: %(kept)s of %(wanted)s") % {
            "kept": room.kept,
            "wanted": room.wanted,
        }
        why = _("machines that would not restart without %(hosts)s: %(n)s") % {
            "hosts": ", ".join(room.hosts),
            "n": room.left,
        }
        found.append(Wait(title, why, None, reverse("portal:capacity")))
    for rule in (waiting.unmended(now) or ())[:WAITS]:
        title = _("Rule %(name)s is not kept, and nothing mends it") % {"name": rule.rule}
        found.append(Wait(title, said(rule.why or rule.text), rule.since, reverse("portal:rules")))
    for drain in waiting.drains()[:WAITS]:
        title = _("The drain of %(host)s does not go on") % {"host": drain.host}
        why = "; ".join(stands_against(entry) for entry in drain.blockers)
        url = (
            reverse("portal:rolling_drain", args=[drain.pk])
            if drain.rolling
            else reverse("portal:host_drain", args=[drain.host])
        )
        found.append(Wait(title, why, drain.since, url))
    if wishes := list(waiting.wishes()):
        number = len({row.plan_id or f"alone {row.pk}" for row in wishes})
        title = _("Recommended moves that wait for a decision: %(n)s") % {"n": number}
        why = ", ".join(str(row.machine) for row in wishes[:WAITS])
        found.append(Wait(title, why, wishes[0].created_at, reverse("portal:balancing")))
    return found
