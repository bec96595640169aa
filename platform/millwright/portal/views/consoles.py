"""The pages of a machine's console and screen."""

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
from millwright.environments.sizes import has_screen
from millwright.portal.words import CONSOLE_ENDS
from millwright.settings import get_settings


@login_required
def console(request: HttpRequest, pk: Any) -> HttpResponse:
    """A terminal that opens when somebody asks for it."""
    return _page(request, pk, "portal/console.html")


@login_required
def screen(request: HttpRequest, pk: Any) -> HttpResponse:
    """The screen of its graphics card, opened when somebody asks for it."""
    return _page(request, pk, "portal/screen.html")


def _page(request: HttpRequest, pk: Any, template: str) -> HttpResponse:
    machine = get_object_or_404(Machine.objects.with_names().for_user(request.user), pk=pk)
    if not may(request.user, "operate", machine.environment.project):
        raise PermissionDenied
    context = {
        "machine": machine,
        "environment": machine.environment,
        "has_screen": has_screen(machine.template_version.spec),
        "running": machine.observed == MachineObserved.RUNNING,
        "path": PATH,
        "ends": CONSOLE_ENDS,
        "idle_minutes": get_settings().console_idle_minutes,
    }
    return render(request, template, context)
