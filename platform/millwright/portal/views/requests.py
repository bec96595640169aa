"""Catalogue, request form with its live preview, list, one request, decision."""

from __future__ import annotations

import uuid
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from millwright.accounts.permissions import may
from millwright.catalog.models import TemplateVersion
from millwright.core.lifecycle import RequestState
from millwright.core.placement import MOST_TOLD
from millwright.environments import actions
from millwright.environments.alike import conflicts, decide_alike, waiting_alike
from millwright.environments.models import Request
from millwright.environments.placement import preview
from millwright.environments.quota import quota_after
from millwright.environments.reasons import said
from millwright.environments.sizes import size_of, sizes_of
from millwright.portal.cards import cards
from millwright.portal.forms import RequestForm, projects_for
from millwright.portal.templatetags.mw import binary_size, word
from millwright.shopfloor.models import Device

from .base import Rows, attempt, error_lines, refused


@login_required
def catalogue(request: HttpRequest) -> HttpResponse:
    """Templates as cards; what this pool can promise stands on each, and what a size takes of a project's quota."""
    projects = list(projects_for(request.user, "request")[:_MOST_PROJECTS])
    wanted = request.GET.get("project", "")
    project = next((row for row in projects if row.slug == wanted), None)
    if project is None and projects:
        project = projects[0]
    context = {"templates": cards(project), "projects": projects, "project": project}
    return render(request, "portal/catalogue.html", context)


#: Asks for every host's verdict, which in a large pool are many rows.
WHOLE = "hosts=all"

#: A refusal that names its field itself.
_NAMED = {"placement": ""}

#: So many projects can be chosen from on the catalogue's page.
_MOST_PROJECTS = 500

#: What a request asks for, besides its name.
_ASKED = (
    "project",
    "template_version",
    "size",
    "cell",
    "program_version",
    "strict_realtime",
    "lease_days",
    "justification",
    "devices",
)


class RequestList(Rows):
    """Requests, newest first, by state."""

    rows = Request.objects.listed()
    template_name = "portal/requests.html"

    def get_queryset(self) -> Any:
        queryset = super().get_queryset()
        state = self.request.GET.get("state", "")
        if text := self.request.GET.get("q", "").strip():
            queryset = queryset.filter(name__icontains=text)
        return queryset.filter(state=state) if state in set(RequestState) else queryset

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs)
        return {
            **context,
            "states": list(RequestState),
            "selected": self.request.GET.get("state", ""),
            "text": self.request.GET.get("q", "").strip(),
            "decidable": set(
                Request.objects.to_decide_by(self.request.user)
                .filter(pk__in=[row.pk for row in context["object_list"]])
                .values_list("pk", flat=True)
            ),
        }


@login_required
def new(request: HttpRequest) -> HttpResponse:
    """The request form; works without JavaScript, previews with it."""
    initial: dict[str, Any] = {}
    if name := request.GET.get("template"):
        initial["template_version"] = TemplateVersion.objects.filter(template__name=name).first()
    if slug := request.GET.get("project"):
        initial["project"] = projects_for(request.user, "request").filter(slug=slug).first()
    if copied := request.GET.get("copy"):
        earlier = get_object_or_404(Request.objects.for_user(request.user), pk=copied)
        initial = _as_asked(earlier)
    looking = _looks_for_devices(request)
    form = RequestForm(request.user, request.POST or None, initial=initial, quiet=looking)
    if request.method == "POST" and not looking and form.is_valid():
        fields = form.asked()
        copies, submit = fields.pop("copies") or 1, request.POST.get("save") == "submit"
        try:
            if copies > 1:
                actions.request_copies(request.user, copies, submit=submit, **fields)
                messages.success(
                    request,
                    ngettext("%(n)s request written.", "%(n)s requests written.", copies)
                    % {"n": copies},
                )
                return redirect("portal:requests")
            made = actions.create_request(request.user, **fields)
        except ValidationError as error:
            refused(form, error)
        else:
            return _written(request, made)
    return _form_page(request, form)


@login_required
def edit(request: HttpRequest, pk: Any) -> HttpResponse:
    """Change a draft."""
    item = get_object_or_404(Request.objects.with_names().for_user(request.user), pk=pk)
    if item.requester_id != request.user.pk and not may(request.user, "administer", item.project):
        raise PermissionDenied(_("A draft is changed by the one who wrote it."))
    if item.state != RequestState.DRAFT:
        messages.error(request, _("It was submitted already; withdraw it and ask anew."))
        return redirect("portal:request", item.pk)
    initial = {"name": item.name, **_as_asked(item)}
    looking = _looks_for_devices(request)
    form = RequestForm(request.user, request.POST or None, initial=initial, quiet=looking)
    del form.fields["copies"]
    if request.method == "POST" and not looking and form.is_valid():
        try:
            made = actions.update_request(request.user, item, **form.asked())
        except ValidationError as error:
            refused(form, error)
        else:
            return _written(request, made)
    return _form_page(request, form, item)


def _looks_for_devices(request: HttpRequest) -> bool:
    """Whether the form came to find devices, without JavaScript."""
    return request.method == "POST" and request.POST.get("save") == "find"


def _form_page(
    request: HttpRequest, form: RequestForm, item: Request | None = None
) -> HttpResponse:
    devices = form.devices_to_tick() if "devices" in form.fields else {}
    context = {"form": form, "item": item, "devices": devices}
    return render(request, "portal/request_form.html", context, status=422 if form.errors else 200)


@login_required
def devices_fragment(request: HttpRequest) -> HttpResponse:
    """Devices to tick for the form as it stands: those ticked, then what the search finds."""
    form = RequestForm(request.user, request.GET, quiet=True)
    context = form.devices_to_tick() if "devices" in form.fields else {}
    return render(request, "portal/parts/request_devices.html", context)


def _as_asked(item: Request) -> dict[str, Any]:
    """What a form begins with: as in this request."""
    found = {field: getattr(item, field) for field in _ASKED}
    found["devices"] = list(
        Device.objects.filter(project=item.project_id, cell=item.cell_id, name__in=item.devices)
    )
    return found


def _written(request: HttpRequest, made: Request) -> HttpResponse:
    """To the page of the request; submitted before, where the person said so."""
    if request.POST.get("save") == "submit":
        attempt(
            request,
            lambda: actions.submit_request(request.user, made),
            _("Submitted. An approver decides."),
            _NAMED,
        )
    return redirect("portal:request", made.pk)


@login_required
def preview_fragment(request: HttpRequest) -> HttpResponse:
    """Where it would be placed, for the form as it stands."""
    form = RequestForm(request.user, request.GET)
    report: dict[str, Any] = {}
    draft = request.GET.get("draft", "")
    version = _cleaned(form, "template_version")
    if version is not None:
        size_name, cell, project = (
            _cleaned(form, "size"),
            _cleaned(form, "cell"),
            _cleaned(form, "project"),
        )
        try:
            size = size_of(version.spec, size_name or "")
            plan = preview(
                version.spec,
                size.name,
                cell=cell.slug if cell else "",
                strict=bool(request.GET.get("strict_realtime")),
            )
            report = {
                **plan.as_dict(_told(request)),
                "quota": quota_rows(project, size, _cleaned(form, "copies") or 1)
                if project
                else [],
                "wrong": _wrong(form, draft),
            }
        except ValidationError as error:
            report = {"error": "\n".join(error_lines(error))}
        asked = request.GET.copy()
        # A page from before may still send it along.
        for name in ("csrfmiddlewaretoken", "hosts"):
            asked.pop(name, None)
        report |= {
            "whole": f"{request.path}?{asked.urlencode()}&{WHOLE}",
            "all": _told(request) is None,
        }
    return render(request, "portal/parts/placement.html", {"report": report, "typing": True})


def _told(request: HttpRequest) -> int | None:
    """How many hosts the page tells of one by one; None: of all."""
    return None if request.GET.get("hosts") == "all" else MOST_TOLD


def _cleaned(form: RequestForm, name: str) -> Any:
    if name == "devices":
        return form.device_names(form.data.getlist(name))
    try:
        return form.fields[name].clean(form.data.get(name))
    except ValidationError:
        return None


def _wrong(form: RequestForm, draft: str) -> list[str]:
    """What would be refused, of a form that is filled in as far as its name; nothing is said before."""
    names = ("name", *_ASKED)
    given = {name: _cleaned(form, name) for name in names}
    if not given["name"] or given["project"] is None or given["lease_days"] is None:
        return []
    if (_cleaned(form, "copies") or 1) > 1:
        given["name"] += "-1"
    asked = Request(**({"pk": draft} if _is_uuid(draft) else {}), **given)
    try:
        actions.validate_request(asked)
    except ValidationError as error:
        return [text for texts in error.message_dict.values() for text in texts]
    return []


def quota_rows(project: Any, size: Any, copies: int = 1) -> list[dict[str, Any]]:
    """Quota after so many more machines of this size, for the page."""
    rows = []
    for row in quota_after(project, size, environments=copies):
        show = binary_size if row.resource.endswith("_bytes") else str
        rows.append(
            {
                "label": row.label,
                "after": show(row.after),
                "limit": show(row.limit),
                "exceeded": row.exceeded,
            }
        )
    return rows


@login_required
def detail(request: HttpRequest, pk: Any) -> HttpResponse:
    """One request with everything needed to decide."""
    item = get_object_or_404(Request.objects.with_names().for_user(request.user), pk=pk)
    own = item.requester_id == request.user.pk
    waiting = item.state == RequestState.SUBMITTED
    together = waiting_alike(item) if waiting else [item]
    report = item.placement
    if item.state in (RequestState.DRAFT, RequestState.SUBMITTED):
        try:
            plan = preview(
                item.template_version.spec,
                item.size,
                cell=item.cell.slug if item.cell else "",
                strict=item.strict_realtime,
            )
            size = size_of(item.template_version.spec, item.size)
            report = {
                **plan.as_dict(_told(request)),
                "quota": quota_rows(item.project, size, len(together)),
                "whole": f"?{WHOLE}",
                "all": _told(request) is None,
            }
        except ValidationError as error:
            report = {"error": "\n".join(error_lines(error))}
    facts = [
        (_("Project"), item.project),
        (_("Requested by"), item.requester),
        (_("Template"), item.template_version),
        (_("Size"), word(item.size)),
        (_("Cell"), item.cell),
        (_("Control program"), item.program_version),
        (_("Devices"), ", ".join(item.devices)),
        (
            _("Core of its own"),
            _("insisted on") if item.strict_realtime else _("where one is free"),
        ),
        (_("Lease"), _("%(days)s days") % {"days": item.lease_days}),
        (_("Justification"), item.justification),
    ]
    if item.decided_at:
        facts += [
            (_("Decided by"), item.decided_by or _("policy")),
            (_("Reason"), said(item.decision_reason)),
        ]
    context = {
        "item": item,
        "facts": facts,
        "report": report,
        "environment_name": item.environment.name if item.environment else None,
        "sizes": sizes_of(item.template_version.spec),
        "together": together,
        "conflicts": conflicts(item, together) if waiting else [],
        "can_decide": waiting
        and not own
        and item.first_approval_by_id != request.user.pk
        and may(request.user, "decide", item.project),
        "second": waiting and actions.needs_second_approval(item),
        "can_submit": own and item.state == RequestState.DRAFT,
        "can_withdraw": own and item.state in (RequestState.DRAFT, RequestState.SUBMITTED),
    }
    return render(request, "portal/request.html", context)


@login_required
@require_POST
def decide(request: HttpRequest, pk: Any) -> HttpResponse:
    """Submit, withdraw, approve or reject."""
    item = get_object_or_404(Request.objects.for_user(request.user), pk=pk)
    reason = request.POST.get("reason", "")
    user = request.user
    granted = _granted(request)
    changes: dict[str, tuple[Any, str]] = {
        "submit": (
            lambda: actions.submit_request(user, item),
            _("Submitted. An approver decides."),
        ),
        "withdraw": (lambda: actions.withdraw_request(user, item), _("Withdrawn.")),
        "approve": (
            lambda: actions.approve_request(user, item, reason, granted),
            _("Approved."),
        ),
        "reject": (lambda: actions.reject_request(user, item, reason), _("Rejected.")),
        "approve_alike": (
            lambda: decide_alike(user, item, approve=True, reason=reason, changes=granted),
            _("All of them are approved."),
        ),
        "reject_alike": (
            lambda: decide_alike(user, item, approve=False, reason=reason),
            _("All of them are rejected."),
        ),
    }
    if chosen := changes.get(request.POST.get("decision", "")):
        attempt(request, *chosen, _NAMED)
    return redirect("portal:request", pk)


def _granted(request: HttpRequest) -> dict[str, Any]:
    """What the approver's form says in place of what was asked; nothing where a field is missing."""
    granted: dict[str, Any] = {}
    if size := request.POST.get("size"):
        granted["size"] = size
    days = request.POST.get("lease_days", "")
    if days:
        # Nonsense is refused by the action's own rule, with its bounds.
        granted["lease_days"] = int(days) if days.isascii() and days.isdigit() else 0
    return granted


@login_required
@require_POST
def decide_many(request: HttpRequest) -> HttpResponse:
    """Approve or reject the ticked requests: each decided alone, all told about at the end."""
    ticked = [pk for pk in request.POST.getlist("pk") if _is_uuid(pk)][:100]
    reason, verb = request.POST.get("reason", ""), request.POST.get("decision", "")
    if verb not in ("approve", "reject"):
        return redirect("portal:requests")
    change = actions.approve_request if verb == "approve" else actions.reject_request
    rows = Request.objects.for_user(request.user).filter(pk__in=ticked).order_by("submitted_at")
    done = sum(
        attempt(request, lambda item=item: change(request.user, item, reason), words=_NAMED)
        is not None
        for item in rows
    )
    if done:
        messages.success(
            request,
            ngettext("%(n)s request decided.", "%(n)s requests decided.", done) % {"n": done},
        )
    elif not ticked:
        messages.warning(request, _("Tick what you want to decide."))
    return redirect("portal:requests")


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
