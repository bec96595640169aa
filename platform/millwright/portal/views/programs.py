"""Programs: written in the browser, checked, rehearsed, compared, deployed."""

from __future__ import annotations

import io
import zipfile
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Prefetch
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from millwright.accounts.models import Project
from millwright.accounts.permissions import PermissionRefused, may
from millwright.desk import DeskError
from millwright.environments.models import Machine, Operation
from millwright.portal.forms import UploadForm
from millwright.shopfloor import actions, deployments, workbench
from millwright.shopfloor.models import Deployment, Program, ProgramVersion

from .base import Rows, attempt, error_lines


class ProgramList(Rows):
    """Programs of the person's projects."""

    rows = Program.objects.select_related("project").prefetch_related(
        Prefetch("versions", ProgramVersion.objects.short())
    )
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
    """A program's versions, what waits for approval, and what the project demands."""
    row = get_object_or_404(Program.objects.select_related("project").for_user(request.user), pk=pk)
    versions = (
        row.versions.short()
        .select_related("uploaded_by")
        .prefetch_related("deployments__machine__environment")
    )
    asked = (
        Deployment.objects.filter(program_version__program=row, state="asked")
        .with_names()
        .order_by("created_at")
    )
    context = {
        "program": row,
        "versions": versions,
        "asked": asked,
        "needs_approval": deployments.needs_approval(row.project),
        "can_engineer": may(request.user, "engineer", row.project),
        "can_decide": may(request.user, "decide", row.project),
        "can_administer": may(request.user, "administer", row.project),
    }
    return render(request, "portal/program.html", context)


def _version(request: HttpRequest, pk: Any) -> ProgramVersion:
    return get_object_or_404(
        ProgramVersion.objects.select_related("program__project", "uploaded_by").for_user(
            request.user
        ),
        pk=pk,
    )


@login_required
def version(request: HttpRequest, pk: Any) -> HttpResponse:
    """One version: its sources, what the compiler said, where it may go."""
    row = _version(request, pk)
    context: dict[str, Any] = {"version": row, "working": row.state in ("queued", "building")}
    if request.headers.get("HX-Request"):
        answer = render(request, "portal/parts/version.html", context)
        if not context["working"]:
            # Built: the rest of the page has something to offer now, too.
            answer["HX-Refresh"] = "true"
        return answer
    project = row.program.project
    engineer = may(request.user, "engineer", project)
    context |= {
        "can_engineer": engineer,
        "needs_approval": deployments.needs_approval(project),
        "machines": Machine.objects.with_names()
        .present()
        .filter(environment__project=project)
        .exclude(host=None)[:50]
        if engineer and row.state == "ready"
        else [],
        "previous": row.program.versions.filter(number__lt=row.number).first(),
    }
    return render(request, "portal/program_version.html", context)


def _posted_files(request: HttpRequest) -> dict[str, str]:
    """The editor's files: rows of path and text; browsers send CR LF, sources have LF."""
    pairs = zip(request.POST.getlist("path"), request.POST.getlist("text"), strict=False)
    return {path.strip(): text.replace("\r\n", "\n") for path, text in pairs if path.strip()}


def _editor(request: HttpRequest, context: dict[str, Any], status: int = 200) -> HttpResponse:
    return render(request, "portal/program_edit.html", context, status=status)


def _save(
    request: HttpRequest, project: Project, name: str, context: dict[str, Any]
) -> HttpResponse:
    """Save the posted files as the next version, or show them again with what is wrong."""
    files = _posted_files(request)
    try:
        made = actions.upload_program(request.user, project, name, files)
    except PermissionRefused as error:
        raise PermissionDenied(str(error)) from None
    except ValidationError as error:
        return _editor(
            request, {**context, "files": files, "errors": error_lines(error)}, status=422
        )
    return redirect("portal:program_version", made.pk)


@login_required
def edit(request: HttpRequest, pk: Any) -> HttpResponse:
    """A version's files in the editor; saving makes the next version."""
    row = _version(request, pk)
    project = row.program.project
    if not may(request.user, "engineer", project):
        raise PermissionDenied
    context = {
        "project": project,
        "name": row.program.name,
        "version": row,
        "files": row.files,
    }
    if request.method == "POST":
        return _save(request, project, row.program.name, context)
    return _editor(request, context)


@login_required
def write(request: HttpRequest) -> HttpResponse:
    """A new program in the editor, from a small example."""
    projects = [
        row for row in Project.objects.for_user(request.user) if may(request.user, "engineer", row)
    ]
    if not projects:
        raise PermissionDenied
    slug = request.POST.get("project", "")
    chosen = next((row for row in projects if row.slug == slug), projects[0])
    context = {
        "projects": projects,
        "project": chosen,
        "name": request.POST.get("name", ""),
        "files": workbench.STARTER,
    }
    if request.method == "POST":
        if slug not in {row.slug for row in projects}:
            raise PermissionDenied
        return _save(request, chosen, request.POST.get("name", ""), context)
    return _editor(request, context)


def _posted_project(request: HttpRequest) -> Project:
    return get_object_or_404(
        Project.objects.for_user(request.user), slug=request.POST.get("project", "")
    )


@login_required
@require_POST
def check(request: HttpRequest) -> HttpResponse:
    """What the compiler says of the editor's files, for the editor."""
    project = _posted_project(request)
    try:
        return JsonResponse(workbench.check(request.user, project, _posted_files(request)))
    except PermissionRefused as error:
        raise PermissionDenied(str(error)) from None
    except DeskError as error:
        return JsonResponse({"unavailable": str(error), "busy": error.busy})


@login_required
@require_POST
def rehearse(request: HttpRequest) -> HttpResponse:
    """Run the scenarios of the editor's files; a fragment for the editor, a page without JavaScript."""
    context: dict[str, Any] = {"suites": [], "error": ""}
    if pk := request.POST.get("program_version"):
        row = _version(request, pk)
        project, files = row.program.project, row.files
        context["version"] = row
    else:
        project, files = _posted_project(request), _posted_files(request)
    try:
        context |= workbench.rehearse(request.user, project, files)
    except PermissionRefused as error:
        raise PermissionDenied(str(error)) from None
    except ValidationError as error:
        context["error"] = "\n".join(error_lines(error))
    except DeskError as error:
        context["error"] = str(error)
    tests = [test for suite in context["suites"] for test in suite["tests"]]
    context["passed"], context["count"] = sum(test["ok"] for test in tests), len(tests)
    name = (
        "portal/parts/rehearsal.html"
        if request.headers.get("HX-Request")
        else "portal/program_rehearsal.html"
    )
    return render(request, name, context)


@login_required
def compare(request: HttpRequest, pk: Any) -> HttpResponse:
    """Two versions side by side: lines, and whether a running controller can take the new one over."""
    row = get_object_or_404(Program.objects.select_related("project").for_user(request.user), pk=pk)
    versions = list(row.versions.select_related("uploaded_by"))
    by_number = {str(each.number): each for each in versions}
    new = by_number.get(request.GET.get("new", ""), versions[0] if versions else None)
    old = by_number.get(request.GET.get("old", ""), versions[1] if len(versions) > 1 else new)
    context: dict[str, Any] = {"program": row, "versions": versions, "old": old, "new": new}
    if old is not None and new is not None:
        context["files"] = workbench.file_differences(old, new)
        try:
            context["verdict"] = workbench.online_verdict(old, new)
        except DeskError as error:
            context["verdict_error"] = str(error)
    return render(request, "portal/program_compare.html", context)


@login_required
@require_POST
def policy(request: HttpRequest, pk: Any) -> HttpResponse:
    """Demand approval of deployments in the program's project, or no longer."""
    row = get_object_or_404(Program.objects.select_related("project").for_user(request.user), pk=pk)
    wanted = request.POST.get("approval") == "1"
    attempt(
        request,
        lambda: deployments.set_policy(request.user, row.project, approval=wanted),
        _("Saved."),
    )
    return redirect("portal:program", row.pk)


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
    done = attempt(
        request,
        lambda: deployments.deploy(request.user, machine, chosen, request.POST.get("reason", "")),
    )
    if isinstance(done, Operation):
        messages.success(request, _("It is being delivered."))
    elif done:
        messages.success(request, _("It waits for somebody's approval."))
    return redirect("portal:environment", name)


@login_required
@require_POST
def deployment_decide(request: HttpRequest, pk: Any) -> HttpResponse:
    """Agree to somebody's deployment, or refuse it."""
    row = get_object_or_404(
        Deployment.objects.for_user(request.user).select_related("program_version"), pk=pk
    )
    if request.POST.get("verb") == "approve":
        attempt(
            request,
            lambda: deployments.approve(request.user, row),
            _("Approved. It is being delivered."),
        )
    else:
        attempt(
            request,
            lambda: deployments.refuse(request.user, row, request.POST.get("reason", "")),
            _("Refused."),
        )
    return redirect("portal:program", row.program_version.program_id)
