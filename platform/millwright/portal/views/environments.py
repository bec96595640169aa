"""Environments: the list, and one environment with everything about it."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_POST

from millwright.accounts.models import Project
from millwright.accounts.permissions import may, projects_with
from millwright.core.lifecycle import EnvironmentState, MachineObserved, OperationKind
from millwright.environments import actions, labels, moving
from millwright.environments.access import has_access, show_access
from millwright.environments.models import Environment, Request, SavedView, StateTransition
from millwright.environments.serializers import MachineSerializer
from millwright.environments.sizes import has_screen, takes_programs
from millwright.inventory.models import Host
from millwright.portal.words import MOVABILITY, TREND_SPANS
from millwright.shopfloor.config import firewall_pairs
from millwright.shopfloor.live import shown_symbols, writable_symbols
from millwright.shopfloor.models import Deployment, Device, ProgramVersion, TagMapping
from millwright.shopfloor.pictures import picture_of

from .base import Rows, attempt


class EnvironmentList(Rows):
    """Present environments; filters by state, project and text."""

    rows = Environment.objects.with_machines()
    template_name = "portal/environments.html"

    def get_queryset(self) -> Any:
        queryset = super().get_queryset()
        state, text = self.request.GET.get("state", ""), self.request.GET.get("q", "").strip()
        queryset = (
            queryset.filter(state=state) if state in set(EnvironmentState) else queryset.present()
        )
        if project := self.request.GET.get("project", ""):
            queryset = queryset.filter(project__slug=project)
        if self.request.GET.get("mine") == "1":
            queryset = queryset.filter(owner=self.request.user)
        if self.request.GET.get("ending") == "1":
            queryset = queryset.filter(lease_ending=True)
        if tag := self.request.GET.get("tag", ""):
            queryset = queryset.filter(tags__name=tag)
        return queryset.filter(name__icontains=text) if text else queryset

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {
            **super().get_context_data(**kwargs),
            "states": list(EnvironmentState),
            "selected": self.request.GET.get("state", ""),
            "text": self.request.GET.get("q", ""),
            "projects": Project.objects.for_user(self.request.user)[:200],
            "project": self.request.GET.get("project", ""),
            "mine": self.request.GET.get("mine") == "1",
            "ending": self.request.GET.get("ending") == "1",
            "tag": self.request.GET.get("tag", ""),
            "views": SavedView.objects.for_user(self.request.user),
            "query": self.request.GET.urlencode(),
            "operable": projects_with(self.request.user, "operate"),
        }


def find(request: HttpRequest, name: str) -> Environment:
    """The newest environment of that name that the person may see; removed ones stay readable."""
    rows = (
        Environment.objects.with_machines()
        .for_user(request.user)
        .filter(name=name)
        .order_by("-created_at")
    )
    return get_object_or_404(rows[:1])


@login_required
def detail(request: HttpRequest, name: str) -> HttpResponse:
    """One environment: where it runs and why, programs, devices, live tags, operations."""
    environment = find(request, name)
    project = environment.project
    machines = []
    engineer = may(request.user, "engineer", project)
    keeper = may(request.user, "pool")
    asked = Request.objects.filter(environment=environment).values_list("devices", flat=True)
    wanted = next(iter(asked), [])
    for machine in environment.machines.all():
        mappings = TagMapping.objects.filter(machine=machine).select_related("device")
        machines.append(
            {
                "row": machine,
                "moved_by": MOVABILITY[machine.movability],
                "data": MachineSerializer(machine).data,
                "controller": takes_programs(machine.template_version.spec),
                "screen": has_screen(machine.template_version.spec),
                "opens": has_access(machine.template_version.spec),
                "claims": machine.cpu_claims.order_by("cpu"),
                "pairs": firewall_pairs(machine),
                "mappings": mappings,
                "unmapped": Device.objects.filter(
                    project=project, cell=machine.cell_id, name__in=wanted
                ).exclude(mappings__machine=machine)
                if wanted and engineer
                else (),
                "picture": picture_of(machine),
                "trends": machine.observed == MachineObserved.RUNNING,
                "recorded": (recorded := list(machine.recorded_tags.all())),
                "recordable": sorted(
                    {symbol["path"] for symbol in shown_symbols(machine)}
                    - {row.tag for row in recorded}
                )
                if engineer and machine.observed == MachineObserved.RUNNING
                else [],
                "set_points": machine.set_points.all(),
                "writable": writable_symbols(machine) if engineer else [],
                "deployments": Deployment.objects.with_names().filter(machine=machine)[:5],
            }
        )
    context = {
        "environment": environment,
        "machines": machines,
        "controllers": any(entry["controller"] for entry in machines),
        "operations": environment.operations.with_names().prefetch_related("steps")[:10],
        "history": StateTransition.objects.filter(
            subject_id__in=[str(environment.pk), *(str(entry["row"].pk) for entry in machines)]
        )[:20],
        "spans": TREND_SPANS,
        "can_operate": may(request.user, "operate", project),
        "can_move": keeper,
        # As typed: no thousands' marks in a field.
        "disruption": "" if environment.disruption is None else f"{environment.disruption:g}",
        "can_say_what_moves": keeper or may(request.user, "administer", project),
        "movabilities": MOVABILITY,
        "hosts": Host.objects.order_by("name").values_list("name", flat=True) if keeper else [],
        "can_engineer": engineer,
        "versions": ProgramVersion.objects.filter(
            program__project=project, state="ready"
        ).select_related("program")[:50]
        if engineer
        else [],
        "current": environment.operations.prefetch_related("steps").first(),
        "present": environment.state != EnvironmentState.REMOVED,
    }
    return render(request, "portal/environment.html", context)


@login_required
@require_POST
def set_tags(request: HttpRequest, name: str) -> HttpResponse:
    """Have the tags of the form, which are separated by commas or spaces."""
    environment = find(request, name)
    names = request.POST.get("tags", "").replace(",", " ").split()
    attempt(request, lambda: labels.set_tags(request.user, environment, names), _("Saved."))
    return redirect("portal:environment", name)


@login_required
@require_POST
def access(request: HttpRequest, name: str) -> HttpResponse:
    """Show the access words once, to people who may operate the machines."""
    environment = find(request, name)
    rows = attempt(request, lambda: show_access(request.user, environment))
    if rows is None:
        return redirect("portal:environment", name)
    context = {"environment": environment, "rows": rows}
    answer = render(request, "portal/access.html", context)
    answer["Cache-Control"] = "no-store, private"
    return answer


@login_required
@require_POST
def view_save(request: HttpRequest) -> HttpResponse:
    """Keep the list as it is filtered now."""
    query = request.POST.get("query", "")
    view = attempt(
        request,
        lambda: labels.save_view(request.user, request.POST.get("name", ""), query),
        _("Saved."),
    )
    return redirect(f"{reverse('portal:environments')}?{view.query if view else ''}")


@login_required
@require_POST
def view_forget(request: HttpRequest, pk: Any) -> HttpResponse:
    view = get_object_or_404(SavedView.objects.for_user(request.user), pk=pk)
    attempt(request, lambda: labels.forget_view(request.user, view), _("Removed."))
    return redirect("portal:environments")


@login_required
@require_POST
def act_on_many(request: HttpRequest) -> HttpResponse:
    """Start, stop or restart the ticked environments: each alone, all told about at the end."""
    verb, reason = request.POST.get("verb", ""), request.POST.get("reason", "")
    ticked = request.POST.getlist("name")[:100]
    if verb not in ("start", "stop", "restart"):
        return redirect("portal:environments")
    rows = Environment.objects.for_user(request.user).present().filter(name__in=ticked)
    done = sum(
        attempt(
            request,
            lambda item=item: actions.power(request.user, item, OperationKind(verb), reason),
        )
        is not None
        for item in rows.select_related("project").order_by("name")
    )
    if done:
        messages.success(
            request,
            ngettext("%(n)s environment is under way.", "%(n)s environments are under way.", done)
            % {"n": done},
        )
    elif not ticked:
        messages.warning(request, _("Tick the environments first."))
    return redirect("portal:environments")


def _move(request: HttpRequest, environment: Environment, verb: str, reason: str) -> None:
    """Move one machine, or say what may move it."""
    user = request.user
    machine = get_object_or_404(environment.machines, pk=request.POST.get("machine"))
    if verb == "movability":
        wanted = request.POST.get("movability", "")
        attempt(
            request,
            lambda: moving.set_movability(user, machine, wanted, reason),
            _("Set."),
        )
        return
    if not may(user, "pool"):
        raise PermissionDenied(_("Moving machines is for those who keep the pool."))
    name = request.POST.get("host", "")
    host = get_object_or_404(Host, name=name) if name else None
    attempt(
        request,
        lambda: moving.move_machine(user, machine, host, reason),
        _("It is being moved."),
    )


def _disruption(request: HttpRequest, environment: Environment, reason: str) -> None:
    """Say what users suffer from a move; an empty field: as the templates say."""
    text = request.POST.get("disruption", "").strip().replace(",", ".")
    try:
        wanted = float(text) if text else None
    except ValueError:
        messages.error(request, _("%(value)r is no number") % {"value": text})
        return
    attempt(
        request,
        lambda: moving.set_disruption(request.user, environment, wanted, reason),
        _("Set."),
    )


@login_required
@require_POST
def act(request: HttpRequest, name: str) -> HttpResponse:
    """Start, stop, restart, move, remove, extend."""
    environment = find(request, name)
    user, reason = request.user, request.POST.get("reason", "")
    verb = request.POST.get("verb", "")
    if verb in ("start", "stop", "restart"):
        attempt(
            request,
            lambda: actions.power(user, environment, OperationKind(verb), reason),
            _("Under way."),
        )
    elif verb in ("move", "movability"):
        _move(request, environment, verb, reason)
    elif verb == "disruption":
        _disruption(request, environment, reason)
    elif verb == "remove":
        if request.POST.get("confirm") != environment.name:
            messages.error(
                request, _("Nothing was removed: type the environment's name to confirm.")
            )
        else:
            attempt(
                request,
                lambda: actions.remove_environment(user, environment, reason),
                _("It is being removed."),
            )
    elif verb == "extend":
        text = request.POST.get("days", "")
        days = int(text) if text.isdecimal() else 0
        attempt(
            request,
            lambda: actions.extend_lease(user, environment, days),
            _("The lease was extended."),
        )
    return redirect("portal:environment", name)
