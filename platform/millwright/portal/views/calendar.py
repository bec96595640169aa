"""The calendar of balancing: its lines in order, what holds now and next, and the form of a line."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.dates import WEEKDAYS
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from millwright.accounts.permissions import may
from millwright.audit.models import AuditEntry
from millwright.balancing import hours, lines
from millwright.balancing.models import Balancer, ResourcePool
from millwright.balancing.recommending import balancer
from millwright.balancing.ruling import Draft as RuleDraft
from millwright.portal.words import MOVABILITY
from millwright.settings import get_settings

from .base import attempt
from .ruling import machine_choices

_TEXTS = ("start", "end", "since", "until", "shares", "reservation", "limit", "priority")


def _keeper(request: HttpRequest) -> None:
    if not may(request.user, "pool"):
        raise PermissionDenied(_("The calendar is for those who keep the pool."))


def shown() -> list[dict[str, Any]]:
    """The lines in their order, in the reader's words."""
    return [{"line": line, "what": ", ".join(_said(line.what))} for line in hours.told()]


def _said(what: Any) -> list[str]:
    words = {
        "shares": _("shares %(value)s"),
        "reservation": _("reserved CPUs %(value)s"),
        "limit": _("CPU limit %(value)s"),
        "priority": _("priority %(value)s"),
        "movability": "%(value)s",
        "mode": _("balancing: %(value)s"),
    }
    moved = {
        "never": _("is not moved"),
        "window": _("moves in a maintenance window only"),
        "approval": _("moves only when a person says so"),
        "free": _("the balancer may move it"),
    }
    tables = {"movability": moved, "mode": dict(Balancer.MODES)}
    return [
        words[name] % {"value": tables[name][value] if name in tables else f"{value:.10g}"}
        if name in words
        else _("a planned window: machines that wait for one may move")
        for name, value in what.items()
    ]


@login_required
def calendar(request: HttpRequest) -> HttpResponse:
    """All lines, what holds now and next, and how it was before the last change."""
    _keeper(request)
    row, rows = balancer(), shown()
    now = timezone.now()
    coming = sorted(
        (
            each["line"]
            for each in rows
            if each["line"].changes is not None and not each["line"].now
        ),
        key=lambda line: line.changes,
    )
    context = {
        "rows": rows,
        "now": hours.moment_words(now),
        "holding": [_turn(each["line"]) for each in rows if each["line"].now],
        "next": [_turn(line) for line in coming if line.changes == coming[0].changes],
        "mark": lines.mark(row.calendar),
        "zone": get_settings().time_zone,
        "before": row.calendar_before,
        "last": AuditEntry.objects.filter(action="balancer.calendar").order_by("pk").last(),
    }
    return render(request, "portal/calendar.html", context)


def _turn(line: hours.Line) -> tuple[str, str]:
    """A line and when it begins or ends, in words."""
    return line.name, hours.moment_words(line.changes) if line.changes else ""


def _draft(given: Any) -> lines.Draft:
    return lines.Draft(
        name=given.get("name", "").strip(),
        pools=tuple(given.getlist("pool")),
        vms=tuple(given.getlist("machine")),
        days=tuple(int(day) for day in given.getlist("day") if day.isdecimal() and len(day) == 1),
        **{name: given.get(name, "").strip() for name in (*_TEXTS, "movability", "mode")},
        window=given.get("window", "") == "1",
    )


def _choices(draft: lines.Draft, find: str) -> dict[str, Any]:
    pools = list(ResourcePool.objects.values_list("name", flat=True))
    gone = [name for name in draft.pools if name not in pools]
    return {
        **machine_choices(RuleDraft(machines=draft.vms), find),
        "pools": [(name, name in draft.pools) for name in pools],
        "gone_pools": gone,
    }


#: What the empty page offers to begin with: computing has the night.
EXAMPLE = lines.Draft(name="night", start="22:00", end="06:00", shares="9000")


@login_required
def line(request: HttpRequest) -> HttpResponse:
    """Write a line, or change the one that `line` names."""
    _keeper(request)
    old = request.GET.get("line", "")
    kept = next((each for each in hours.kept() if each["name"] == old), None)
    gone = bool(old) and kept is None
    if gone and request.method != "POST":
        raise Http404
    draft = lines.draft_of(kept) if kept else lines.Draft()
    if kept is None and request.GET.get("example") == "night":
        draft = EXAMPLE
    errors: dict[str, list[str]] = {}
    if request.method == "POST":
        draft = _draft(request.POST)
        if gone:
            # What was typed is kept; whoever saves it after this notice writes a new line.
            errors, old = {"calendar": lines.gone(old)}, ""
        elif request.POST.get("verb") == "save":
            reason, was = request.POST.get("reason", "")[:300], request.POST.get("was", "")
            try:
                lines.save_line(request.user, draft, old, reason, was)
            except ValidationError as error:
                errors = _by_field(error)
            else:
                text = _("%(name)s: the next round goes by it.") % {"name": draft.name}
                messages.success(request, text)
                return redirect("portal:calendar")
    context = {
        "old": old,
        "was": request.POST.get("was", "") or (lines.mark([kept]) if kept else ""),
        "draft": draft,
        "errors": errors,
        "verdict": lines.check(draft, old) if draft.name else None,
        "days": [(day, words, day in draft.days) for day, words in WEEKDAYS.items()],
        "numbers": _number_fields(draft, errors),
        "movabilities": MOVABILITY,
        "modes": Balancer.MODES,
        "zone": get_settings().time_zone,
        **_choices(draft, request.POST.get("find", "")),
    }
    return render(request, "portal/calendar_line.html", context, status=422 if errors else 200)


#: Fields beside which the form shows what is wrong.
_FIELDS = {*_TEXTS, "name", "pools", "vms", "whom", "days", "movability", "mode"}


def _by_field(error: ValidationError) -> dict[str, list[str]]:
    """What is wrong by the form's fields; what is of another line or no field of the form: of the calendar."""
    found: dict[str, list[str]] = {}
    for name, texts in error.message_dict.items():
        if name in _FIELDS or name == "calendar":
            found.setdefault(name, []).extend(texts)
        else:
            found.setdefault("calendar", []).extend(f"{name}: {text}" for text in texts)
    return found


def _number_fields(draft: lines.Draft, errors: dict[str, list[str]]) -> list[dict[str, Any]]:
    labels = {
        "shares": (_("shares"), _("of CPUs where they are scarce; 1000 is ordinary")),
        "priority": (
            _("priority"),
            _("the higher starts first when a host is lost; 0 is ordinary"),
        ),
        "reservation": (_("reserved CPUs"), ""),
        "limit": (_("CPU limit"), ""),
    }
    return [
        {
            "name": name,
            "label": label,
            "hint": hint,
            "value": getattr(draft, name),
            "errors": errors.get(name, ()),
            "whole": name in ("shares", "priority"),
        }
        for name, (label, hint) in labels.items()
    ]


@login_required
@require_POST
def check(request: HttpRequest) -> HttpResponse:
    """What stands against the form as it is now; asked while it is filled in."""
    _keeper(request)
    draft = _draft(request.POST)
    # What is not written yet is not wrong yet.
    draft = replace(draft, name=draft.name or _("this line"))
    verdict = lines.check(draft, request.POST.get("old", ""))
    unwritten = set() if draft.pools or draft.vms else {"whom"}
    told = {name: texts for name, texts in verdict.errors.items() if name not in unwritten}
    verdict = replace(verdict, errors=told)
    return render(
        request, "portal/parts/calendar_verdict.html", {"verdict": verdict, "typing": True}
    )


@login_required
@require_POST
def choices(request: HttpRequest) -> HttpResponse:
    """Machines to tick: those ticked, then what the search finds."""
    _keeper(request)
    context = _choices(_draft(request.POST), request.POST.get("find", ""))
    return render(request, "portal/parts/rule_machines.html", {**context, "errors": {}})


@login_required
@require_POST
def act(request: HttpRequest) -> HttpResponse:
    """Put a line a place up or down, or put the calendar back as it was."""
    _keeper(request)
    verb, was = request.POST.get("verb", ""), request.POST.get("mark", "")
    name, user = request.POST.get("line", ""), request.user
    if verb in ("up", "down"):
        attempt(request, lambda: lines.move_line(user, name, -1 if verb == "up" else 1, was))
    elif verb == "undo":
        reason = request.POST.get("reason", "")[:300]
        attempt(
            request,
            lambda: lines.put_back(user, reason, was),
            _("The calendar is as it was before."),
        )
    return redirect("portal:calendar")


@login_required
def remove(request: HttpRequest) -> HttpResponse:
    """Shows what the line says, and removes it when that is confirmed."""
    _keeper(request)
    name = request.GET.get("line", "")
    if request.method == "POST":
        reason = request.POST.get("reason", "")[:300]
        attempt(request, lambda: lines.remove_line(request.user, name, reason), _("Removed."))
        return redirect("portal:calendar")
    found = next((each for each in shown() if each["line"].name == name), None)
    if found is None:
        raise Http404
    return render(request, "portal/calendar_remove.html", found)
