"""Maintenance windows: asked for, decided by another, active by the clock, closed; lead time and yearly cap."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.core.sla import Interval as Span
from millwright.core.sla import Spans
from millwright.core.sla.hours import moment
from millwright.environments.models import Environment

from .choices import EXCLUDING, WINDOW_FOLLOWS, WindowState
from .contracts import contract_of, plant_zone
from .measuring import mark_stale, window_spans
from .models import MaintenanceWindow

#: A recurring window ends at the latest so long after its begin.
LONGEST_SERIES = dt.timedelta(days=731)
#: Nothing is agreed for longer ahead, nor so long afterwards.
FURTHEST = dt.timedelta(days=3653)
#: One occurrence lasts at most.
LONGEST = dt.timedelta(days=14)


def _locked(window: MaintenanceWindow) -> MaintenanceWindow:
    return MaintenanceWindow.objects.select_for_update(no_key=True).get(pk=window.pk)


def _step(window: MaintenanceWindow, wanted: WindowState) -> None:
    follows = WINDOW_FOLLOWS[WindowState(window.state)]
    if wanted not in follows:
        raise ValidationError(
            {
                "state": _("a window that is %(state)s cannot become %(wanted)s")
                % {"state": window.get_state_display(), "wanted": str(wanted)}
            }
        )
    window.state = str(wanted)


@transaction.atomic
def request_window(
    actor: Any,
    environment: Environment,
    begins_at: dt.datetime,
    ends_at: dt.datetime,
    reason: str,
    *,
    every_days: int = 0,
    until: dt.date | None = None,
) -> MaintenanceWindow:
    """Ask that a span of time, past or to come, be excluded.

    Raises:
        PermissionRefused: the person may not operate the environment.
        ValidationError: field by field.
    """
    require(actor, "operate", environment.project)
    now = timezone.now()
    errors: dict[str, Any] = {}
    if abs(begins_at - now) > FURTHEST:
        errors["begins_at"] = _("%(at)s: within ten years from now") % {"at": f"{begins_at:%F %R}"}
    elif ends_at <= begins_at:
        errors["ends_at"] = _("%(end)s: must lie after the begin") % {"end": f"{ends_at:%F %R}"}
    elif ends_at - begins_at > LONGEST:
        errors["ends_at"] = _("%(end)s: a window lasts at most %(days)s days") % {
            "end": f"{ends_at:%F %R}",
            "days": LONGEST.days,
        }
    if not reason.strip():
        errors["reason"] = _("say why; it stands in the report")
    if every_days and until is None:
        errors["until"] = _("a recurring window needs a last day")
    elif every_days and until is not None and "begins_at" not in errors:
        if not begins_at.date() <= until <= (begins_at + LONGEST_SERIES).date():
            errors["until"] = _("%(day)s: between its first day and two years later") % {
                "day": until
            }
        if dt.timedelta(days=every_days) < ends_at - begins_at:
            errors["every_days"] = _("%(days)s: it would overlap itself") % {"days": every_days}
    elif until is not None and not every_days:
        errors["until"] = _("only a recurring window has a last day")
    if errors:
        raise ValidationError(errors)
    lead = dt.timedelta(hours=contract_of(environment, begins_at).lead_time_hours)
    window = MaintenanceWindow.objects.create(
        environment=environment,
        begins_at=begins_at,
        ends_at=ends_at,
        every_days=every_days,
        until=until,
        reason=reason.strip(),
        requested_by=actor,
        requested_at=now,
        late=begins_at < now + lead,
        retroactive=begins_at < now,
    )
    record(
        actor,
        "window.request",
        window,
        project=environment.project,
        reason=window.reason,
        begins_at=begins_at.isoformat(),
        ends_at=ends_at.isoformat(),
        late=window.late,
        retroactive=window.retroactive,
    )
    return window


def excluded_in_year(
    environment: Any, year: int, *, without: MaintenanceWindow | None = None
) -> Spans:
    """Approved maintenance of an environment in a calendar year of the plant's zone."""
    zone = plant_zone()
    whole = Span(moment(zone, dt.date(year, 1, 1), 0), moment(zone, dt.date(year + 1, 1, 1), 0))
    found = Spans()
    rows = MaintenanceWindow.objects.filter(environment=environment, state__in=EXCLUDING)
    for row in rows.exclude(pk=without.pk) if without is not None else rows:
        found |= window_spans(row, zone)
    return found & Spans((whole,))


@transaction.atomic
def decide_window(
    actor: Any, window: MaintenanceWindow, approve: bool, reason: str = ""
) -> MaintenanceWindow:
    """Approve or reject; never one's own. What is late or already past needs a reason to be approved.

    Raises:
        ValidationError: its own requester, no reason, or more than the contract's hours in a year.
    """
    window = _locked(window)
    environment = window.environment
    require(actor, "decide", environment.project)
    if window.requested_by_id == actor.pk:
        raise ValidationError({"approved_by": _("another person decides on your own window")})
    _step(window, WindowState.APPROVED if approve else WindowState.REJECTED)
    reason = reason.strip()
    if not approve and not reason:
        raise ValidationError({"reason": _("say why it is rejected")})
    if approve:
        if window.late and not reason:
            raise ValidationError(
                {"reason": _("asked for later than the contract's lead time: say why it may be")}
            )
        _require_cap(window)
    window.approved_by, window.decided_at, window.decision_reason = actor, timezone.now(), reason
    window.save()
    record(
        actor,
        "window.approve" if approve else "window.reject",
        window,
        project=environment.project,
        reason=reason,
        retroactive=window.retroactive,
    )
    if approve:
        mark_stale([(environment.pk, window.begins_at)])
        _advance_one(window, timezone.now())
    return window


def _require_cap(window: MaintenanceWindow) -> None:
    zone = plant_zone()
    spans = window_spans(window, zone)
    for year in sorted({row.begin.astimezone(zone).year for row in spans.intervals}):
        at = moment(zone, dt.date(year, 1, 1), 0)
        cap = contract_of(window.environment, max(at, window.begins_at)).yearly_cap_hours
        whole = Span(at, moment(zone, dt.date(year + 1, 1, 1), 0))
        agreed = excluded_in_year(window.environment_id, year, without=window)
        total = (agreed | (spans & Spans((whole,)))).length
        if total > dt.timedelta(hours=cap):
            raise ValidationError(
                {
                    "ends_at": _(
                        "%(year)s: with this one %(total).1f h of maintenance; the contract allows %(cap)s h"
                    )
                    % {"year": year, "total": total / dt.timedelta(hours=1), "cap": cap}
                }
            )


@transaction.atomic
def withdraw_window(actor: Any, window: MaintenanceWindow) -> MaintenanceWindow:
    """Take back what has not begun."""
    window = _locked(window)
    require(actor, "operate", window.environment.project)
    _step(window, WindowState.WITHDRAWN)
    if window.decided_at is not None and window.begins_at <= timezone.now():
        raise ValidationError({"state": _("it has begun; close it instead")})
    window.save(update_fields=["state"])
    record(actor, "window.withdraw", window, project=window.environment.project)
    mark_stale([(window.environment_id, window.begins_at)])
    return window


@transaction.atomic
def close_window(actor: Any, window: MaintenanceWindow) -> MaintenanceWindow:
    """Say that it is done: nothing after this moment is excluded, and it does not recur."""
    window = _locked(window)
    require(actor, "operate", window.environment.project)
    _step(window, WindowState.CLOSED)
    now = timezone.now()
    if window.begins_at > now:
        raise ValidationError({"state": _("it has not begun; withdraw it instead")})
    window.closed_at = now
    window.save(update_fields=["state", "closed_at"])
    record(actor, "window.close", window, project=window.environment.project)
    mark_stale([(window.environment_id, window.begins_at)])
    return window


def _advance_one(window: MaintenanceWindow, now: dt.datetime) -> bool:
    spans = window_spans(window)
    if not spans or spans.intervals[-1].end <= now:
        wanted = WindowState.CLOSED
    else:
        wanted = WindowState.ACTIVE if now in spans else WindowState.APPROVED
    if window.state == wanted:
        return False
    MaintenanceWindow.objects.filter(pk=window.pk, state=window.state).update(state=str(wanted))
    window.state = str(wanted)
    return True


def advance(now: dt.datetime) -> int:
    """Approved windows become active, active ones closed or wait for their next time; returns how many changed."""
    changed = 0
    due = MaintenanceWindow.objects.filter(
        models.Q(state=WindowState.APPROVED, begins_at__lte=now)
        | models.Q(state=WindowState.ACTIVE)
    )
    for window in due[:1000]:
        changed += _advance_one(window, now)
    return changed
