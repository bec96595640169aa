"""Maintenance windows and contracts: what is agreed beforehand, and what it would have meant."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any

from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_POST

from millwright.accounts.permissions import PermissionRefused, may, projects_with
from millwright.core.sla.hours import DAYS
from millwright.environments.models import Environment
from millwright.service_levels import actions
from millwright.service_levels.choices import SCOPES, WINDOW_STATES, WindowState
from millwright.service_levels.contracts import contract_of
from millwright.service_levels.models import Contract, MaintenanceWindow
from millwright.service_levels.objectives import FIELDS

from .base import Rows, attempt, error_lines
from .environments import find
from .ledger import _moment

#: Fields of a contract as its form names them.
_WORDS = {
    "availability_ratio": gettext_lazy("Availability in percent"),
    "cycle_ratio": gettext_lazy("Scans in time in percent"),
    "cycle_streak": gettext_lazy("Late scans one after another, at most"),
    "provisioning_s": gettext_lazy("Provisioned within, in seconds"),
    "recovery_s": gettext_lazy("Back after a host's loss within, in seconds"),
    "device_link_ratio": gettext_lazy("Links to devices in percent of the minutes"),
    "run_queue_ratio": gettext_lazy("Control cores hardly wait in percent of the minutes"),
    "hours": gettext_lazy("Service hours"),
    "missing_grace_s": gettext_lazy("Missing data counts as down after, in seconds"),
    "small_stop_s": gettext_lazy("A small stop lasts at most, in seconds"),
    "lead_time_hours": gettext_lazy("Maintenance is asked for ahead, in hours"),
    "yearly_cap_hours": gettext_lazy("Maintenance in a year, at most hours"),
    "valid_from": gettext_lazy("Applies from"),
}
#: Environments that a form offers; more are named by hand.
MOST_OFFERED = 500


class Windows(Rows):
    """Maintenance windows, newest first; those that wait for a decision at first if there are any."""

    rows = MaintenanceWindow.objects.with_names()
    template_name = "portal/windows.html"

    def get_queryset(self) -> Any:
        rows = super().get_queryset()
        if text := self.request.GET.get("q", "").strip():
            rows = rows.filter(environment__name__icontains=text)
        state = self.request.GET.get("state", "")
        return rows.filter(state=state) if state in set(WindowState) else rows

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user = self.request.user
        return {
            **super().get_context_data(**kwargs),
            "states": WINDOW_STATES,
            "state": self.request.GET.get("state", ""),
            "text": self.request.GET.get("q", ""),
            "decidable": projects_with(user, "decide"),
            "operable": projects_with(user, "operate"),
            "now": timezone.now(),
        }


def _operated(user: Any) -> Any:
    """Environments for which the person may ask for maintenance."""
    rows = Environment.objects.for_user(user).present().order_by("name")
    mine = projects_with(user, "operate")
    return rows if mine is None else rows.filter(project__in=mine)


def _day(text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        return None


@login_required
def window_new(request: HttpRequest) -> HttpResponse:
    """Ask for a window; also for one that has been."""
    offered = _operated(request.user)
    if not offered.exists():
        raise PermissionDenied(_("Maintenance is asked for by those who operate an environment."))
    errors: list[str] = []
    given = request.POST if request.method == "POST" else request.GET
    if request.method == "POST":
        environment = find(request, given.get("environment", ""))
        begins, ends = _moment(given.get("begins_at", "")), _moment(given.get("ends_at", ""))
        days = given.get("every_days", "")
        if begins is None or ends is None:
            errors = [_("Say from when to when.")]
        else:
            try:
                actions.request_window(
                    request.user,
                    environment,
                    begins,
                    ends,
                    given.get("reason", ""),
                    every_days=int(days) if re.fullmatch(r"[0-9]{1,3}", days) else 0,
                    until=_day(given.get("until", "")),
                )
            except PermissionRefused as error:
                raise PermissionDenied(str(error)) from None
            except ValidationError as error:
                errors = error_lines(error)
            else:
                return redirect("portal:windows")
    context = {
        "offered": offered.values_list("name", flat=True)[:MOST_OFFERED],
        "given": given,
        "errors": errors,
        "lead": contract_of(find(request, given["environment"])).lead_time_hours
        if given.get("environment")
        else None,
    }
    return render(request, "portal/window_form.html", context, status=422 if errors else 200)


@login_required
@require_POST
def window_act(request: HttpRequest, pk: Any) -> HttpResponse:
    """Approve, reject, withdraw, close."""
    row = get_object_or_404(MaintenanceWindow.objects.with_names().for_user(request.user), pk=pk)
    user, verb = request.user, request.POST.get("verb", "")
    reason = request.POST.get("reason", "")
    if verb in ("approve", "reject"):
        attempt(
            request,
            lambda: actions.decide_window(user, row, verb == "approve", reason),
            _("Decided."),
        )
    elif verb == "withdraw":
        attempt(request, lambda: actions.withdraw_window(user, row), _("Withdrawn."))
    elif verb == "close":
        attempt(request, lambda: actions.close_window(user, row), _("Closed."))
    return redirect("portal:windows")


# --- contracts -------------------------------------------------------------------------------------


@login_required
def contracts(request: HttpRequest) -> HttpResponse:
    """What is promised to each class, and the environments with contracts of their own."""
    now = timezone.now()
    rows = Contract.objects.with_names().for_user(request.user)
    classes = []
    common = list(rows.filter(environment=None).order_by("valid_from", "pk"))
    for value, words in SCOPES:
        mine = [row for row in common if row.service_class == value]
        holds = [row for row in mine if row.valid_from <= now]
        classes.append(
            {
                "value": value,
                "words": words,
                "now": holds[-1] if holds else None,
                "to_come": [row for row in mine if row.valid_from > now],
                "before": holds[:-1][::-1],
            }
        )
    context = {
        "classes": classes,
        "own": rows.exclude(environment=None).order_by("-valid_from", "-pk")[:200],
        "can_administer": may(request.user, "administer"),
    }
    return render(request, "portal/contracts.html", context)


def _number(text: str, name: str, errors: dict[str, Any]) -> int | None:
    if not text.strip():
        return None
    if not re.fullmatch(r"[0-9]{1,9}", text.strip()):
        errors[name] = _("%(value)s: a whole number, not below 0") % {"value": text}
        return None
    return int(text)


def _share(text: str, name: str, errors: dict[str, Any]) -> float | None:
    """Percent, with a point or a comma, as a share."""
    text = text.strip().removesuffix("%").strip().replace(",", ".")
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,6})?", text):
        errors[name] = _("%(value)s: write percent, as 99.9") % {"value": text}
        return None
    return round(float(text) / 100, 8)


def _hours(given: Any, errors: dict[str, Any]) -> dict[str, Any]:
    """Shifts and holidays: one a line, `mon tue wed 06:00-22:00`, and days separated by spaces."""
    shifts = []
    for line in given.get("shifts", "").splitlines():
        words = line.replace(",", " ").lower().split()
        if not words:
            continue
        span = re.fullmatch(r"(\d\d:\d\d)\s*[-–]\s*(\d\d:\d\d)", words[-1])
        if span is None:
            errors["hours"] = _(
                "%(line)r: write a shift as days and hours, mon tue wed 06:00-22:00"
            ) % {"line": line}
            return {}
        days: list[str] = []
        for word in words[:-1]:
            first, _dash, last = word.partition("-")
            if first in DAYS and last in DAYS and DAYS.index(first) <= DAYS.index(last):
                days += DAYS[DAYS.index(first) : DAYS.index(last) + 1]
            else:
                days.append(word)
        shifts.append({"days": days, "from": span[1], "to": span[2]})
    found: dict[str, Any] = {}
    if shifts:
        found["shifts"] = shifts
    if holidays := given.get("holidays", "").replace(",", " ").split():
        found["holidays"] = holidays
    if zone := given.get("time_zone", "").strip():
        found["time_zone"] = zone
    return found


def _fields(given: Any) -> dict[str, Any]:
    """The form's fields as an action takes them.

    Raises:
        ValidationError: field by field.
    """
    errors: dict[str, Any] = {}
    fields: dict[str, Any] = {
        name: _number(given.get(name, ""), name, errors)
        for name in (
            "cycle_streak",
            "provisioning_s",
            "recovery_s",
            "missing_grace_s",
            "small_stop_s",
            "lead_time_hours",
            "yearly_cap_hours",
        )
    }
    fields |= {
        "availability_ratio": _share(given.get("availability", ""), "availability_ratio", errors),
        "cycle_ratio": _share(given.get("cycles", ""), "cycle_ratio", errors),
        "device_link_ratio": _share(given.get("device_links", ""), "device_link_ratio", errors),
        "run_queue_ratio": _share(given.get("core_waits", ""), "run_queue_ratio", errors),
        "planned_counts": given.get("planned_counts") == "1",
        "hours": _hours(given, errors),
        "note": given.get("note", "")[:200],
    }
    if errors:
        raise ValidationError(errors)
    return fields


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share * 100:.6f}".rstrip("0").rstrip(".")


def form_of(contract: Contract) -> dict[str, Any]:
    """A contract as the form shows it."""
    hours = contract.hours or {}
    return {
        "availability": _percent(contract.availability_ratio),
        "cycles": _percent(contract.cycle_ratio),
        "device_links": _percent(contract.device_link_ratio),
        "core_waits": _percent(contract.run_queue_ratio),
        "shifts": "\n".join(
            f"{' '.join(row.get('days') or DAYS)} {row.get('from', '00:00')}-{row.get('to', '24:00')}"
            for row in hours.get("shifts") or ()
        ),
        "holidays": " ".join(hours.get("holidays") or ()),
        "time_zone": hours.get("time_zone", ""),
        "planned_counts": "1" if contract.planned_counts else "",
        **{
            name: "" if getattr(contract, name) is None else getattr(contract, name)
            for name in FIELDS
            if name.endswith(("_s", "_hours", "_streak")) or name == "note"
        },
    }


@login_required
def contract_edit(request: HttpRequest) -> HttpResponse:
    """Another promise for a class or an environment from a time on; what it would have meant is shown first."""
    asked = request.GET
    environment = find(request, asked["environment"]) if asked.get("environment") else None
    service_class = asked.get("class", "") if environment is None else ""
    if not may(request.user, "administer", environment.project if environment else None):
        raise PermissionDenied(_("What is promised is changed by administrators."))
    if environment is None and service_class not in dict(SCOPES):
        return redirect("portal:contracts")
    newest = (
        contract_of(environment)
        if environment is not None
        else Contract.objects.filter(environment=None, service_class=service_class).last()
        or Contract(service_class=service_class)
    )
    errors: list[str] = []
    months: list[Any] = []
    given: Any = form_of(newest)
    scope: dict[str, Any] = {"environment": environment, "service_class": service_class}
    if request.method == "POST":
        given = request.POST
        try:
            fields = _fields(given)
            if "preview" in given:
                months = actions.preview_contract(request.user, **scope, **fields)
            else:
                begin = _moment(given.get("valid_from", "")) if given.get("valid_from") else None
                actions.write_contract(request.user, **scope, valid_from=begin, **fields)
                return redirect("portal:contracts")
        except PermissionRefused as error:
            raise PermissionDenied(str(error)) from None
        except ValidationError as error:
            errors = error_lines(error, _WORDS)
    context = {
        "environment": environment,
        "service_class": service_class,
        "words": dict(SCOPES).get(service_class, ""),
        "newest": newest,
        "given": given,
        "errors": errors,
        "months": months,
        "days": DAYS,
    }
    return render(request, "portal/contract_form.html", context, status=422 if errors else 200)
