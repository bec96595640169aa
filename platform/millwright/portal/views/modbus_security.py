"""Modbus/TCP Security of a project's controllers, or of one environment's, as a form."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _

from millwright.accounts.models import Project
from millwright.accounts.permissions import may
from millwright.environments.models import Environment
from millwright.shopfloor import modbus_security
from millwright.shopfloor.models import ModbusSecurity

from .base import attempt

#: Rows for roles beyond those there are.
_SPARE = 3


@login_required
def page(request: HttpRequest, slug: str) -> HttpResponse:
    """Whose certificates count at port 802, and what each role may; for the project or for one environment of it."""
    project = get_object_or_404(Project.objects.for_user(request.user), slug=slug)
    if not may(request.user, "administer", project):
        raise PermissionDenied
    name = request.POST.get("environment") or request.GET.get("environment") or ""
    environments = Environment.objects.filter(project=project).order_by("name")
    environment = get_object_or_404(environments, name=name) if name else None
    rows = ModbusSecurity.objects.select_related("project", "environment").filter(project=project)
    row = next((row for row in rows if row.environment == environment), None)
    if request.method == "POST":
        if request.POST.get("verb") == "remove":
            if row is not None:
                attempt(request, lambda: modbus_security.remove_security(request.user, row), _("Removed."))  # fmt: skip
            return _back(slug, name)
        if attempt(request, lambda: _save(request, project, environment), _("Saved. Running controllers are told.")):  # fmt: skip
            return _back(slug, name)
    context = {
        "project": project,
        "environment": environment,
        "environments": environments[:500],
        "row": row,
        "set": rows,
        "authorities": request.POST.get("authorities", row.authorities if row else ""),
        "plain": "plain" in request.POST if request.method == "POST" else row is None or row.plain,
        "roles": _shown(request, row),
    }
    status = 422 if request.method == "POST" else 200
    return render(request, "portal/administration/modbus_security.html", context, status=status)


def _back(slug: str, environment: str) -> HttpResponse:
    place = reverse("portal:modbus_security", args=[slug])
    return redirect(f"{place}?environment={environment}" if environment else place)


def _posted(request: HttpRequest) -> list[dict[str, str]]:
    columns = [request.POST.getlist(key) for key in ("name", "functions", "write")]
    return [
        {"name": name.strip(), "functions": functions, "write": write}
        for name, functions, write in zip(*columns, strict=False)
    ]


def _save(request: HttpRequest, project: Project, environment: Environment | None) -> Any:
    roles = [
        {
            "name": row["name"],
            "functions": modbus_security.parse_functions(row["functions"]),
            "write": modbus_security.parse_ranges(row["write"]),
        }
        for row in _posted(request)
        if any(value.strip() for value in row.values())
    ]
    return modbus_security.set_security(
        request.user, project=project, environment=environment, plain="plain" in request.POST,
        authorities=request.POST.get("authorities", ""), roles=roles,
    )  # fmt: skip


def _shown(request: HttpRequest, row: ModbusSecurity | None) -> list[dict[str, str]]:
    """Roles as typed or as saved, and empty rows for more."""
    if request.method == "POST":
        found = [each for each in _posted(request) if any(each.values())]
    else:
        found = [
            {
                "name": role["name"],
                "functions": ", ".join(map(str, role["functions"])),
                "write": modbus_security.ranges_text(role["write"]),
            }
            for role in (row.roles if row else [])
        ]
    return found + [{"name": "", "functions": "", "write": ""}] * _SPARE
