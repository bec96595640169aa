"""The page of a machine's console."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render

from millwright.accounts.permissions import may
from millwright.core.lifecycle import MachineObserved
from millwright.environments.consoles import PATH
from millwright.environments.models import Machine
from millwright.portal.words import CONSOLE_ENDS
from millwright.settings import get_settings


@login_required
def console(request: HttpRequest, pk: Any) -> HttpResponse:
    """A terminal that opens when somebody asks for it."""
    machine = get_object_or_404(Machine.objects.with_names().for_user(request.user), pk=pk)
    if not may(request.user, "operate", machine.environment.project):
        raise PermissionDenied
    context = {
        "machine": machine,
        "environment": machine.environment,
        "running": machine.observed == MachineObserved.RUNNING,
        "path": PATH,
        "ends": CONSOLE_ENDS,
        "idle_minutes": get_settings().console_idle_minutes,
    }
    return render(request, "portal/console.html", context)
