"""Devices and mappings."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from millwright.accounts.permissions import may, require
from millwright.environments.models import Machine
from millwright.gateway import GatewayError as GatewayFailure
from millwright.portal.forms import DeviceForm
from millwright.shopfloor import actions, discovery, searching
from millwright.shopfloor.live import words
from millwright.shopfloor.mapping_csv import MOST_BYTES, from_csv, to_csv
from millwright.shopfloor.mapping_xlsx import MAGIC, from_xlsx, to_xlsx
from millwright.shopfloor.mapping_xlsx import TYPE as WORKBOOK
from millwright.shopfloor.models import Device, TagMapping, framing_of
from millwright.shopfloor.review import review

from .base import Rows, attempt, error_lines
from .live import GatewayError, gateway


class DeviceList(Rows):
    """Devices of the person's projects, line by line and cell by cell."""

    rows = (
        Device.objects.select_related("project", "cell")
        .prefetch_related("mappings__machine__environment")
        .order_by("project__name", "cell__slug", "name", "pk")
    )
    template_name = "portal/devices.html"

    def get_queryset(self) -> Any:
        rows = super().get_queryset()
        for word in self.request.GET.get("q", "").split():
            rows = rows.filter(
                Q(name__icontains=word)
                | Q(address__startswith=word)
                | Q(cell__slug__icontains=word)
                | Q(project__name__icontains=word)
            )
        return rows

    def get_context_data(self, **more: Any) -> dict[str, Any]:
        context = super().get_context_data(**more)
        context["text"] = self.request.GET.get("q", "").strip()
        places = groupby(context["object_list"], key=lambda row: (row.project, row.cell))
        context["lines"] = [
            {"project": project, "cell": cell, "rows": list(rows)}
            for (project, cell), rows in places
        ]
        return context


@login_required
def device_new(request: HttpRequest) -> HttpResponse:
    """Register a device; read it first."""
    form = DeviceForm(request.user, request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            made = actions.add_device(request.user, **form.cleaned_data)
        except ValidationError as error:
            for line in error_lines(error):
                form.add_error(None, line)
        else:
            if made.protocol == "opcua":
                messages.success(request, _("Registered. Say next which certificate is trusted."))
                return redirect("portal:device", made.pk)
            messages.success(request, _("Registered. Map its registers on the environment's page."))
            return redirect("portal:devices")
    return render(
        request, "portal/device_form.html", {"form": form}, status=422 if form.errors else 200
    )


def _registers(device: dict[str, Any], area: str, first: int) -> list[Any]:
    """Up to eight values; fewer of a device that ends before.

    Raises:
        GatewayError: not even one can be read.
    """
    count = 8
    while True:
        try:
            answer = gateway(
                "POST",
                "/v1/modbus/read",
                host=device["address"],
                port=device["port"],
                unit=device["unit"],
                area=area,
                address=first,
                count=count,
                framing=framing_of(device.get("protocol")),
            )
        except GatewayError as error:
            # Code 2: at least the last of them does not exist.
            if "exception 02" not in str(error) or count == 1:
                raise
            count //= 2
        else:
            return list(answer["values"])


@login_required
def device_read(request: HttpRequest) -> HttpResponse:
    """Read before saving: what the device answers now, through the gateway."""
    form = DeviceForm(request.user, request.GET)
    form.full_clean()
    data = form.cleaned_data
    area, first = request.GET.get("area", "input"), request.GET.get("first", "0")
    context: dict[str, Any] = {"area": area}
    project = data.get("project")
    if not data.get("address") or project is None or not may(request.user, "engineer", project):
        context["error"] = _("Fill in project, cell, address and port first.")
    elif not first.isdecimal():
        context["error"] = _("first register: %(value)r is not a number") % {"value": first}
    else:
        try:
            if data.get("protocol") == "opcua":
                answer = gateway(
                    "POST", "/v1/probe", kind="opcua", host=data["address"], port=data["port"]
                )
                context["values"] = [("OPC UA", answer.get("detail", "ok"))]
            else:
                values = _registers(data, area, int(first))
                context["values"] = list(enumerate(values, int(first)))
        except GatewayError as error:
            context["error"] = str(error)
    return render(request, "portal/parts/device_read.html", context)


def _place(request: HttpRequest) -> tuple[dict[str, Any], str]:
    """The form's project, cell, address and port as far as they are right, and what is missing."""
    form = DeviceForm(request.user, request.GET)
    form.full_clean()
    data = form.cleaned_data
    place = {name: data.get(name) for name in ("project", "cell", "address", "port")}
    missing = not all(place.values()) or not may(request.user, "engineer", place["project"])
    return place, _("Fill in project, cell, address and port first.") if missing else ""


@login_required
def device_discover(request: HttpRequest) -> HttpResponse:
    """Who answers at the form's address: unit ids with their identification, or endpoints and nodes."""
    place, error = _place(request)
    context: dict[str, Any] = {"place": place, "error": error}
    first, last = request.GET.get("first_unit", "1"), request.GET.get("last_unit", "16")
    if not error and not (first.isdecimal() and last.isdecimal()):
        context["error"] = _("unit ids: %(value)r is no number") % {"value": f"{first}, {last}"}
    elif not error:
        try:
            if request.GET.get("protocol") == "opcua":
                found = discovery.endpoints(request.user, **place)
                context["endpoints"] = found
                # A server that talks in the open is read as it is. Of one that does not, a person says which
                # certificate is the right one.
                if found and all(row["mode"] != "None" for row in found):
                    shown = (row["fingerprint"] for row in found if row["fingerprint"])
                    context["certificates"] = list(dict.fromkeys(shown))
            else:
                context["units"] = discovery.units(
                    request.user, first=int(first), last=int(last),
                    framing=framing_of(request.GET.get("protocol")), **place,
                )  # fmt: skip
        except ValidationError as problem:
            context["error"] = "; ".join(error_lines(problem))
        except GatewayFailure as problem:
            context["error"] = words(problem)
    return render(request, "portal/parts/device_found.html", context)


@login_required
@require_POST
def device_search(request: HttpRequest) -> HttpResponse:
    """Which addresses of the form's cell answer Modbus or OPC UA: a list to pick from."""
    form = DeviceForm(request.user, request.POST)
    form.full_clean()
    project, cell = form.cleaned_data.get("project"), form.cleaned_data.get("cell")
    context: dict[str, Any] = {}
    if project is None or cell is None:
        context["error"] = _("Choose project and cell first.")
    else:
        try:
            context["found"] = searching.search(
                request.user,
                project,
                cell,
                request.POST.get("search_first", "").strip(),
                request.POST.get("search_last", "").strip(),
            )
        except ValidationError as problem:
            context["error"] = "; ".join(error_lines(problem))
        except GatewayFailure as problem:
            context["error"] = words(problem)
    return render(request, "portal/parts/device_searched.html", context)


@login_required
def device_nodes(request: HttpRequest) -> HttpResponse:
    """What hangs below a node of the OPC UA server at the form's address, with values as they are now."""
    place, error = _place(request)
    context: dict[str, Any] = {"place": place, "error": error}
    if not error:
        try:
            node = request.GET.get("node", discovery.ROOT)
            fingerprint = request.GET.get("fingerprint", "")[:200]
            context["fingerprint"] = fingerprint
            context |= discovery.nodes(request.user, node=node, fingerprint=fingerprint, **place)
        except ValidationError as problem:
            context["error"] = "; ".join(error_lines(problem))
        except GatewayFailure as problem:
            context["error"] = words(problem)
    return render(request, "portal/parts/device_nodes.html", context)


@login_required
@require_POST
def device_remove(request: HttpRequest, pk: Any) -> HttpResponse:
    device = get_object_or_404(Device.objects.for_user(request.user), pk=pk)
    attempt(request, lambda: actions.remove_device(request.user, device), _("Removed."))
    return redirect("portal:devices")


#: Rows that the mapping form offers beyond those there are.
SPARE_ROWS = 4
_FIELDS = ("tag", "area", "register", "data_type", "direction", "scale", "offset")


@login_required
def mappings(request: HttpRequest, name: str) -> HttpResponse:
    """The points between a machine and a device, as a table to fill in."""
    machine = get_object_or_404(
        Machine.objects.with_names().for_user(request.user).present(),
        pk=request.GET.get("machine") or request.POST.get("machine"),
        environment__name=name,
    )
    project = machine.environment.project
    devices = Device.objects.filter(project=project, cell=machine.cell)
    device = (
        devices.filter(pk=request.GET.get("device") or request.POST.get("device")).first()
        or devices.first()
    )
    rows = (
        [
            {field: getattr(row, field) for field in _FIELDS}
            for row in machine.mappings.filter(device=device)
        ]
        if device
        else []
    )
    if request.method == "POST" and device is not None:
        rows = _posted_rows(request)
        fail = request.POST.get("fail", "hold")
        try:
            points = [
                {
                    **row,
                    "scale": float(row["scale"] or 1),
                    "offset": float(row["offset"] or 0),
                    "fail": fail,
                }
                for row in rows
            ]
        except ValueError as error:
            messages.error(request, _("scale and offset are numbers (%(why)s)") % {"why": error})
        else:
            if attempt(
                request,
                lambda: actions.set_mappings(request.user, machine, device, points),
                _(
                    "Saved. The configuration is being delivered and the firewall opened for the pair."
                ),
            ):
                return redirect("portal:environment", name)
    deployment = (
        machine.deployments.filter(state="active").select_related("program_version").first()
    )
    symbols = deployment.program_version.symbols.get("symbols", []) if deployment else []
    context = {
        "machine": machine,
        "devices": devices,
        "device": device,
        "symbols": [symbol for symbol in symbols if not symbol.get("constant")],
        "rows": rows + [dict.fromkeys(_FIELDS, "") for _ in range(SPARE_ROWS)],
        "areas": TagMapping.AREAS,
        "types": TagMapping.TYPES,
        "fails": TagMapping.FAIL,
        "findings": review(machine),
    }
    return render(request, "portal/mappings.html", context)


@login_required
def mappings_csv(request: HttpRequest, name: str) -> HttpResponse:
    """The points between a machine and a device as CSV or a workbook: taken away by GET, replaced by POST."""
    asked = request.POST if request.method == "POST" else request.GET
    machine = get_object_or_404(
        Machine.objects.with_names().for_user(request.user).present(),
        pk=asked.get("machine"),
        environment__name=name,
    )
    devices = Device.objects.filter(project=machine.environment.project, cell=machine.cell)
    device = get_object_or_404(devices, pk=asked.get("device"))
    if request.method != "POST":
        rows = machine.mappings.filter(device=device).order_by("tag")
        name = f"{machine.environment.name}-{device.name}"
        if asked.get("as") == "xlsx":
            response = HttpResponse(to_xlsx(rows), content_type=WORKBOOK)
            filename = f"{name}.xlsx"
        else:
            response = HttpResponse(to_csv(rows), content_type="text/csv; charset=utf-8")
            filename = f"{name}.csv"
        response["Content-Disposition"] = f'attachment; filename="{filename}"'
        return response

    def change() -> Any:
        require(request.user, "engineer", machine.environment.project)
        file = request.FILES.get("file")
        data = file.read(MOST_BYTES + 1) if file else b""
        if data.startswith(MAGIC):
            return actions.set_mappings(request.user, machine, device, from_xlsx(data))
        try:
            text = data.decode("utf-8-sig") if file else asked.get("text", "")
        except UnicodeDecodeError:
            raise ValidationError(
                {"mappings": [_("a workbook (XLSX) or CSV as UTF-8 text is expected")]}
            ) from None
        return actions.set_mappings(request.user, machine, device, from_csv(text))

    attempt(
        request,
        change,
        _("Saved. The configuration is being delivered and the firewall opened for the pair."),
    )
    target = reverse("portal:mappings", kwargs={"name": name})
    return redirect(f"{target}?machine={machine.pk}&device={device.pk}")


def _posted_rows(request: HttpRequest) -> list[dict[str, Any]]:
    """Rows of the form whose tag was filled in."""
    columns = [request.POST.getlist(field) for field in _FIELDS]
    return [
        dict(zip(_FIELDS, values, strict=True))
        for values in zip(*columns, strict=True)
        if values[0].strip()
    ]
