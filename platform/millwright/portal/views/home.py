"""Home: what waits for this person, worst first."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from millwright.accounts.permissions import may
from millwright.environments.models import Environment, Request
from millwright.inventory.models import Host


@login_required
def home(request: HttpRequest) -> HttpResponse:
    """Inbox, unhealthy hosts, environments, own requests."""
    user = request.user
    hosts = Host.objects.exclude(health="up") if may(user, "pool") else Host.objects.none()
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
    context = {
        "inbox": Request.objects.with_names().to_decide_by(user)[:20],
        "unhealthy_hosts": hosts[:20],
        "environments": environments,
        "requests": Request.objects.with_names().filter(requester=user)[:10],
    }
    return render(request, "portal/home.html", context)
