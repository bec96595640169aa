"""Home: what waits for this person, worst first."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.contrib.auth.decorators import login_required
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone

from millwright.accounts.permissions import may
from millwright.accounts.signals import BREAK_GLASS
from millwright.audit.models import AuditEntry
from millwright.environments.models import Environment, Machine, Operation, Request
from millwright.inventory.models import Host
from millwright.shopfloor.models import Deployment

#: A failure older than this is history, found among the operations.
LATELY = dt.timedelta(days=1)


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """Inbox, the pool and what failed lately, environments worst first, own requests."""
    user = request.user
    hosts = (
        Host.objects.defer("topology", "capabilities", "policy").exclude(health="up")
        if may(user, "pool")
        else Host.objects.none()
    )
    worst_first = {
        "failed": 0,
        "degraded": 1,
        "provisioning": 2,
        "reserved": 3,
        "removing": 4,
        "running": 5,
        "stopped": 6,
    }
    environments = sorted(
        Environment.objects.for_user(user).present().select_related("project")[:50],
        key=lambda row: (worst_first.get(row.state, 9), row.name),
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
            up=Count("pk", filter=Q(health="up")),
            closed=Count("pk", filter=~Q(administration="schedulable")),
        )
    context = {
        "emergencies": _emergencies(user),
        "failed": failed,
        "pool": pool,
        "inbox": Request.objects.listed().to_decide_by(user)[:20],
        "deployments": Deployment.objects.with_names().to_decide_by(user)[:20],
        "forced": Machine.objects.for_user(user)
        .present()
        .filter(forced__gt=0)
        .select_related("environment")
        .only("name", "forced", "forced_since", "environment__name")
        .order_by("forced_since")[:20],
        "unhealthy_hosts": hosts[:20],
        "environments": environments,
        "requests": Request.objects.listed().filter(requester=user)[:10],
    }
    return render(request, "portal/home.html", context)


def _emergencies(user: Any) -> Any:
    """Entries of emergency accounts in the last day, for those who keep the pool."""
    if not may(user, "pool"):
        return AuditEntry.objects.none()
    return AuditEntry.objects.filter(action=BREAK_GLASS, at__gte=timezone.now() - LATELY).order_by(
        "-at"
    )[:5]
