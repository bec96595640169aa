"""Engineering stations: who of a cell reaches a project's machines, and what they may write there."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from millwright.accounts.permissions import PermissionRefused, may, projects_with
from millwright.portal.forms import StationForm
from millwright.shopfloor import stations
from millwright.shopfloor.modbus_security import ranges_text
from millwright.shopfloor.models import EngineeringStation

from .base import Rows, attempt, refused


def _keeps_some(user: Any) -> bool:
    """Whether the person administers any project."""
    return projects_with(user, "administer") != []


class StationList(Rows):
    """Stations of the person's projects."""

    rows = EngineeringStation.objects.select_related("project", "cell").order_by("name", "pk")
    template_name = "portal/stations.html"

    def get_context_data(self, **more: Any) -> dict[str, Any]:
        context = super().get_context_data(**more)
        for row in context["object_list"]:
            row.may_write = ranges_text(row.write_ranges)
        kept = projects_with(self.request.user, "administer")
        context["kept"] = kept
        context["keeps_all"], context["keeps_some"] = kept is None, kept != []
        return context


@login_required
def edit(request: HttpRequest, pk: int | None = None) -> HttpResponse:
    """Register a station, or change where it is and what it may write."""
    row = None
    if pk is not None:
        rows = EngineeringStation.objects.select_related("project", "cell")
        row = get_object_or_404(rows.for_user(request.user), pk=pk)
    if not (may(request.user, "administer", row.project) if row else _keeps_some(request.user)):
        raise PermissionDenied(
            _("Engineering stations are registered by those who administer the project.")
        )
    initial = row and {
        "cell": row.cell,
        "cidr": row.cidr,
        "write_ranges": ranges_text(row.write_ranges),
    }
    form = StationForm(request.user, request.POST or None, station=row, initial=initial)
    if request.method == "POST" and form.is_valid() and _saved(request, form, row):
        messages.success(
            request, _("Saved. The firewall opens, and running controllers are told what it may.")
        )
        return redirect("portal:stations")
    return render(
        request,
        "portal/station_form.html",
        {"form": form, "row": row},
        status=422 if form.errors else 200,
    )


def _saved(request: HttpRequest, form: StationForm, row: EngineeringStation | None) -> bool:
    given = dict(form.cleaned_data)
    if row is not None:
        given |= {"project": row.project, "name": row.name}
    else:
        twin = EngineeringStation.objects.filter(project=given["project"], name=given["name"])
        if twin.exists():
            form.add_error("name", _("There is one of this name; change that one"))
            return False
    try:
        stations.set_station(request.user, **given)
    except PermissionRefused as error:
        raise PermissionDenied(str(error)) from None
    except ValidationError as error:
        refused(form, error)
        return False
    return True


@login_required
@require_POST
def remove(request: HttpRequest, pk: int) -> HttpResponse:
    """Forget a station."""
    rows = EngineeringStation.objects.select_related("project")
    row = get_object_or_404(rows.for_user(request.user), pk=pk)
    attempt(
        request,
        lambda: stations.remove_station(request.user, row),
        _("Removed. The firewall closes to it."),
    )
    return redirect("portal:stations")
