"""Which tags of a machine are recorded for longer trends."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from millwright.shopfloor import recording

from .base import attempt
from .environments import find


@login_required
@require_POST
def record(request: HttpRequest, name: str) -> HttpResponse:
    """Record a tag from now on, or no longer."""
    environment = find(request, name)
    machine = get_object_or_404(environment.machines.all(), pk=request.POST.get("machine"))
    tag = request.POST.get("tag", "")

    def change() -> Any:
        if request.POST.get("verb") == "stop":
            return recording.stop(request.user, machine, tag)
        return recording.start(request.user, machine, tag)

    attempt(request, change, _("Saved."))
    return redirect("portal:environment", name)
