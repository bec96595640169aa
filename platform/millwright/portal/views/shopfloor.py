"""Programs, deployments, devices and mappings."""

from __future__ import annotations

import io
import zipfile
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from millwright.accounts.permissions import may
from millwright.environments.models import Machine
from millwright.portal.forms import DeviceForm, UploadForm
from millwright.shopfloor import actions
from millwright.shopfloor.models import Device, Program, ProgramVersion, TagMapping

from .base import Rows, attempt, error_lines
from .live import GatewayError, gateway


class ProgramList(Rows):
    """Programs of the person's projects."""

    rows = Program.objects.select_related("project").prefetch_related("versions")
    template_name = "portal/programs.html"


def _unpack(upload: Any) -> dict[str, str]:
    """Text files of a ZIP, without the one folder that may wrap them all."""
    if upload.size > actions.MAX_BYTES:
        raise ValidationError(
            {
                "archive": _("%(size)s bytes; at most %(most)s")
                % {"size": upload.size, "most": actions.MAX_BYTES}
            }
        )
    try:
        with zipfile.ZipFile(io.BytesIO(upload.read())) as archive:
            entries = [entry for entry in archive.infolist() if not entry.is_dir()]
            if (
                len(entries) > actions.MAX_FILES
                or sum(entry.file_size for entry in entries) > actions.MAX_BYTES
            ):
                raise ValidationError({"archive": _("too many files or too large when unpacked")})
            files = {entry.filename: archive.read(entry).decode() for entry in entries}
    except (zipfile.BadZipFile, UnicodeDecodeError) as error:
        raise ValidationError(
            {"archive": _("not a ZIP of text files (%(why)s)") % {"why": error}}
        ) from None
    roots = {name.split("/", 1)[0] for name in files}
    if len(roots) == 1 and all("/" in name for name in files) and not roots & {"src", "lib"}:
        files = {name.split("/", 1)[1]: text for name, text in files.items()}
    return files


@login_required
def upload(request: HttpRequest) -> HttpResponse:
    """Paste a source or send a project folder."""
    initial: dict[str, Any] = {}
    if earlier := request.GET.get("from"):
        version = get_object_or_404(
            ProgramVersion.objects.for_user(request.user).select_related("program"), pk=earlier
        )
        sources = [text for path, text in version.files.items() if path.endswith(".st")]
        initial = {
            "project": version.program.project_id,
            "name": version.program.name,
            "source": "\n".join(sources),
        }
    form = UploadForm(request.user, request.POST or None, request.FILES or None, initial=initial)
    if request.method == "POST" and form.is_valid():
        data = form.cleaned_data
        try:
            files = (
                _unpack(data["archive"])
                if data["archive"]
                else {"src/main.st": data["source"]}
                if data["source"].strip()
                else {}
            )
            made = actions.upload_program(request.user, data["project"], data["name"], files)
        except ValidationError as error:
            for line in error_lines(error):
                form.add_error(None, line)
        else:
            return redirect("portal:program_version", made.pk)
    return render(
        request, "portal/program_form.html", {"form": form}, status=422 if form.errors else 200
    )


@login_required
def program(request: HttpRequest, pk: Any) -> HttpResponse:
    """A program's versions."""
    row = get_object_or_404(Program.objects.select_related("project").for_user(request.user), pk=pk)
    versions = row.versions.select_related("uploaded_by").prefetch_related(
        "deployments__machine__environment"
    )
    return render(request, "portal/program.html", {"program": row, "versions": versions})


@login_required
def version(request: HttpRequest, pk: Any) -> HttpResponse:
    """One version: its sources and what the compiler said."""
    row = get_object_or_404(
        ProgramVersion.objects.select_related("program__project", "uploaded_by").for_user(
            request.user
        ),
        pk=pk,
    )
    context = {"version": row, "working": row.state in ("queued", "building")}
    name = (
        "portal/parts/version.html"
        if request.headers.get("HX-Request")
        else "portal/program_version.html"
    )
    return render(request, name, context)


@login_required
@require_POST
def deploy(request: HttpRequest, name: str) -> HttpResponse:
    """Send a version to a machine of the environment; an older one rolls back."""
    machine = get_object_or_404(
        Machine.objects.with_names().for_user(request.user).present(),
        pk=request.POST.get("machine"),
        environment__name=name,
    )
    chosen = get_object_or_404(
        ProgramVersion.objects.for_user(request.user).select_related("program"),
        pk=request.POST.get("program_version"),
    )
    attempt(
        request,
        lambda: actions.deploy(request.user, machine, chosen, request.POST.get("reason", "")),
        _("It is being delivered."),
    )
    return redirect("portal:environment", name)


class DeviceList(Rows):
    """Devices of the person's projects."""

    rows = Device.objects.select_related("project", "cell").prefetch_related(
        "mappings__machine__environment"
    )
    template_name = "portal/devices.html"


@login_required
def device_new(request: HttpRequest) -> HttpResponse:
    """Register a device; read it first."""
    form = DeviceForm(request.user, request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            actions.add_device(request.user, **form.cleaned_data)
        except ValidationError as error:
            for line in error_lines(error):
                form.add_error(None, line)
        else:
            messages.success(request, _("Registered. Map its registers on the environment's page."))
            return redirect("portal:devices")
    return render(
        request, "portal/device_form.html", {"form": form}, status=422 if form.errors else 200
    )


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
    elif not first.isdigit():
        context["error"] = _("first register: %(value)r is not a number") % {"value": first}
    else:
        try:
            if data.get("protocol") == "opcua":
                answer = gateway(
                    "POST", "/v1/probe", kind="opcua", host=data["address"], port=data["port"]
                )
                context["values"] = [("OPC UA", answer.get("detail", "ok"))]
            else:
                answer = gateway(
                    "POST",
                    "/v1/modbus/read",
                    host=data["address"],
                    port=data["port"],
                    unit=data["unit"],
                    area=area,
                    address=int(first),
                    count=8,
                )
                context["values"] = list(enumerate(answer["values"], int(first)))
        except GatewayError as error:
            context["error"] = str(error)
    return render(request, "portal/parts/device_read.html", context)


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
    }
    return render(request, "portal/mappings.html", context)


def _posted_rows(request: HttpRequest) -> list[dict[str, Any]]:
    """Rows of the form whose tag was filled in."""
    columns = [request.POST.getlist(field) for field in _FIELDS]
    return [
        dict(zip(_FIELDS, values, strict=True))
        for values in zip(*columns, strict=True)
        if values[0].strip()
    ]
