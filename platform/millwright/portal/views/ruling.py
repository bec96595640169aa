"""Placement rules: the list, the form whose conflicts are found while it is filled in, removal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from millwright.accounts.permissions import may, sees_everything
from millwright.balancing import reporting, ruling
from millwright.balancing.models import PlacementRule
from millwright.environments.models import Machine
from millwright.inventory.models import Host

from .base import Rows, attempt

#: Machines and hosts that a search offers; more are found by more of their name.
OFFERED = 20


class Rules(Rows):
    """All rules for those who read the plant; else those about a machine of one's own projects."""

    rows = PlacementRule.objects.with_names()
    template_name = "portal/rules.html"
    paginate_by = 25

    def get_queryset(self) -> Any:
        rows, asked = super().get_queryset(), self.request.GET
        if text := asked.get("q", "").strip():
            found = (
                Q(name__icontains=text)
                | Q(purpose__icontains=text)
                | Q(hosts__name__icontains=text)
                | Q(machines__environment__name__icontains=text)
            )
            rows = rows.filter(pk__in=PlacementRule.objects.filter(found).values("pk"))
        if asked.get("kind", "") in dict(PlacementRule.KINDS):
            rows = rows.filter(kind=asked["kind"])
        if asked.get("force", "") in ("on", "off"):
            rows = rows.filter(enabled=asked["force"] == "on")
        elif asked.get("force", "") == "broken":
            rows = rows.filter(pk__in=ruling.broken_now(rows.filter(enabled=True)))
        return rows.order_by("name")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        context = super().get_context_data(**kwargs)
        user, asked = self.request.user, self.request.GET
        shown = list(context["object_list"])
        own = None
        if not sees_everything(user):
            own = set(user.memberships.values_list("project_id", flat=True))
        broken = ruling.broken_now(shown)
        # Why names other projects' machines.
        told = reporting.broken_rules(reporting.last()) if own is None else {}
        rows = []
        for row in shown:
            everything = list(row.machines.all())
            seen = [m for m in everything if own is None or m.environment.project_id in own]
            rows.append(
                {
                    "rule": row,
                    "machines": seen,
                    "others": len(everything) - len(seen),
                    "hosts": row.hosts.all(),
                    "broken": row.pk in broken,
                    "told": told.get(row.name) if row.pk in broken else None,
                }
            )
        return {
            **context,
            "rows": rows,
            "kinds": PlacementRule.KINDS,
            "kind": asked.get("kind", ""),
            "force": asked.get("force", ""),
            "text": asked.get("q", ""),
            "filtered": any(asked.get(name) for name in ("q", "kind", "force")),
            "can_change": may(user, "pool"),
        }


def _keeper(request: HttpRequest) -> None:
    if not may(request.user, "pool"):
        raise PermissionDenied(_("Rules are written by those who keep the pool."))


def _draft(given: Any) -> tuple[ruling.Draft, dict[str, list[str]]]:
    """What the form says, and what of it is no number."""
    errors: dict[str, list[str]] = {}

    def number(name: str, empty: float | None) -> float | None:
        text = given.get(name, "").strip().replace(",", ".")
        if not text:
            return empty
        try:
            return float(text)
        except ValueError:
            errors[name] = [_("%(value)r is not a number") % {"value": text}]
            return empty

    kind = given.get("kind", "apart")
    about_hosts = kind in ruling.HOST_KINDS
    hard = given.get("hard", "1") == "1"
    weight = 1.0 if hard else number("weight", 1.0)
    minimum = number("minimum", None) if kind == "spread" else None
    if minimum is not None and minimum != int(minimum):
        errors["minimum"] = [_("a whole number")]
    draft = ruling.Draft(
        name=given.get("name", "").strip(),
        kind=kind,
        machines=tuple(given.getlist("machine")),
        hosts=tuple(given.getlist("host")) if about_hosts else (),
        hard=hard,
        weight=1.0 if weight is None else weight,
        minimum=None if minimum is None else int(minimum),
        enabled=given.get("enabled", "") == "1",
        purpose=given.get("purpose", ""),
    )
    return draft, errors


def machine_choices(draft: ruling.Draft, find: str) -> dict[str, Any]:
    """Machines to tick: those that are ticked first, then what the search finds."""
    rows = Machine.objects.present().select_related("environment", "host")
    chosen, unknown = ruling.machines_called(draft.machines)
    words = find.replace("/", " ").split()
    for word in words:
        rows = rows.filter(Q(environment__name__icontains=word) | Q(name__icontains=word))
    rest = rows.exclude(pk__in=[row.pk for row in chosen]).order_by("environment__name", "name")
    offered = list(rest[: OFFERED + 1])
    return {
        "chosen": chosen,
        "unknown": unknown,
        "offered": offered[:OFFERED],
        "more": len(offered) > OFFERED,
        "find": find,
    }


def _choices(draft: ruling.Draft, find: str, find_host: str) -> dict[str, Any]:
    """Ticked machines and hosts first, then what the searches find."""
    hosts = Host.objects.order_by("name")
    if find_host.strip():
        hosts = hosts.filter(name__icontains=find_host.strip())
    others = list(hosts.exclude(name__in=draft.hosts)[: OFFERED + 1])
    present = set(Host.objects.filter(name__in=draft.hosts).values_list("name", flat=True))
    return {
        **machine_choices(draft, find),
        "chosen_hosts": [(name, name in present) for name in draft.hosts],
        "offered_hosts": others[:OFFERED],
        "more_hosts": len(others) > OFFERED,
        "find_host": find_host,
    }


@login_required
def edit(request: HttpRequest, name: str = "") -> HttpResponse:
    """Write a rule, or change the one of this name."""
    _keeper(request)
    row = get_object_or_404(PlacementRule.objects.with_names(), name=name) if name else None
    draft = ruling.draft_of(row) if row is not None else ruling.Draft()
    errors: dict[str, list[str]] = {}
    status = 200
    if request.method == "POST":
        draft, errors = _draft(request.POST)
        if request.POST.get("verb") == "save" and not errors:
            reason = request.POST.get("reason", "")[:300]
            try:
                made = ruling.save_rule(request.user, draft, row, reason)
            except ValidationError as error:
                errors = error.message_dict
            else:
                text = _("The next round keeps it.") if made.enabled else _("Kept, not in force.")
                messages.success(request, f"{made.name}: {text}")
                return redirect("portal:rules")
        status = 422 if errors else 200
    elif request.GET.get("machine"):
        draft = ruling.Draft(machines=tuple(request.GET.getlist("machine")))
    asked = bool(draft.machines)
    context = {
        "row": row,
        "draft": draft,
        "kinds": PlacementRule.KINDS,
        "errors": errors,
        "verdict": ruling.check(draft, row) if asked else None,
        **_choices(draft, request.POST.get("find", ""), request.POST.get("find_host", "")),
    }
    return render(request, "portal/rule_form.html", context, status=status)


@login_required
@require_POST
def check(request: HttpRequest) -> HttpResponse:
    """What stands against the form as it is now; asked while it is filled in."""
    _keeper(request)
    number = request.POST.get("current", "")
    row = PlacementRule.objects.filter(pk=int(number) if number.isdecimal() else 0).first()
    draft, errors = _draft(request.POST)
    verdict = ruling.check(draft, row)
    told = {**verdict.errors, **errors}
    if not draft.name:
        told.pop("name", None)
    context = {
        "verdict": replace(verdict, errors=told),
        "draft": draft,
        "errors": {},
        "typing": True,
    }
    return render(request, "portal/parts/rule_verdict.html", context)


@login_required
@require_POST
def choices(request: HttpRequest) -> HttpResponse:
    """Machines, or hosts with `part=hosts`, to tick: those ticked, then what the search finds."""
    _keeper(request)
    draft, _errors = _draft(request.POST)
    part = "hosts" if request.GET.get("part") == "hosts" else "machines"
    context = _choices(draft, request.POST.get("find", ""), request.POST.get("find_host", ""))
    return render(request, f"portal/parts/rule_{part}.html", {**context, "errors": {}})


@login_required
@require_POST
def act(request: HttpRequest, name: str) -> HttpResponse:
    """Put it in force, or out of it."""
    _keeper(request)
    row = get_object_or_404(PlacementRule, name=name)
    wanted = request.POST.get("verb", "")
    if wanted in ("enable", "disable"):
        attempt(
            request,
            lambda: ruling.set_enabled(request.user, row, wanted == "enable"),
            _("In force from the next round on.") if wanted == "enable" else _("Out of force."),
        )
    return redirect("portal:rules")


@login_required
def remove(request: HttpRequest, name: str) -> HttpResponse:
    """Shows what the rule says, and removes it when that is confirmed."""
    _keeper(request)
    row = get_object_or_404(PlacementRule.objects.with_names(), name=name)
    if request.method == "POST":
        reason = request.POST.get("reason", "")[:300]
        attempt(request, lambda: ruling.remove_rule(request.user, row, reason), _("Removed."))
        return redirect("portal:rules")
    return render(request, "portal/rule_remove.html", {"row": row})
