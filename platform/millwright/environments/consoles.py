"""Consoles and screens of machines: a ticket that opens one once, who is there, and the trail of both ends.

The ticket is a secret of half a minute: it travels in an answer's body and in the first message of the
WebSocket, never in an address. Its SHA-256 is kept; beside it only the answer that the API keeps for an
`Idempotency-Key`, which is worth nothing once it was used.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import secrets
from typing import Any

from django.contrib.sessions.models import Session
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from millwright.accounts.models import ApiToken
from millwright.accounts.permissions import may, require
from millwright.audit.actions import record
from millwright.core.lifecycle import MachineObserved

from .models import ConsoleVisit, Machine
from .sizes import has_screen

#: A ticket is used at once or not at all.
TICKET_S = 30
#: Consoles that one person may have open, tickets under way included.
MOST_EACH = 4
#: A visit that its web process has not confirmed for so long ended with that process.
LOST_AFTER_S = 120
#: Where the portal's WebSocket is.
PATH = "/consoles/live/"
#: Why a visit ended; pages have words for each.
ENDS = ("left", "idle", "forbidden", "lost", "refused")


@transaction.atomic
def ask(
    actor: Any,
    machine: Machine,
    *,
    kind: str = "serial",
    session_key: str = "",
    token: ApiToken | None = None,
) -> tuple[ConsoleVisit, str]:
    """A ticket for the machine's serial console or screen; returns the visit and the secret, told only here.

    Raises:
        PermissionRefused: consoles are for those who operate the project.
        ValidationError: the machine does not run or has no screen, or the person has too many consoles.
    """
    require(actor, "operate", machine.environment.project)
    if kind == "screen" and not has_screen(machine.template_version.spec):
        raise ValidationError(
            {
                "machine": _("%(machine)s has no screen: its template asks for none")
                % {"machine": machine}
            }
        )
    _runs(machine)
    now = timezone.now()
    under_way = ConsoleVisit.objects.filter(user=actor, closed_at=None, opened_at__isnull=False)
    waiting = ConsoleVisit.objects.filter(user=actor, opened_at=None, expires_at__gt=now)
    if under_way.count() + waiting.count() >= MOST_EACH:
        raise ValidationError(
            {"machine": _("you have %(n)s consoles open; close one first") % {"n": MOST_EACH}}
        )
    secret = secrets.token_urlsafe(32)
    visit = ConsoleVisit.objects.create(
        machine=machine,
        user=actor,
        kind=kind,
        ticket_sha256=_digest(secret),
        session_key=session_key or "",
        token=token,
        asked_at=now,
        expires_at=now + dt.timedelta(seconds=TICKET_S),
    )
    record(
        actor,
        "console.ask",
        machine,
        project=machine.environment.project,
        visit=str(visit.pk),
        kind=kind,
    )
    return visit, secret


@transaction.atomic
def open_visit(secret: str) -> ConsoleVisit | None:
    """Use the ticket up; None where it is unknown, used, too old, or no longer anybody's right."""
    now = timezone.now()
    digest = _digest(secret)
    # One statement decides between two who bring the same ticket.
    used = ConsoleVisit.objects.filter(
        ticket_sha256=digest, opened_at=None, closed_at=None, expires_at__gt=now
    ).update(opened_at=now, seen_at=now)
    if not used:
        return None
    visit = _with_names().get(ticket_sha256=digest)
    if not _allowed(visit):
        ConsoleVisit.objects.filter(pk=visit.pk).update(closed_at=now, end="forbidden")
        return None
    record(
        visit.user,
        "console.open",
        visit.machine,
        project=visit.machine.environment.project,
        visit=str(visit.pk),
        kind=visit.kind,
    )
    return visit


@transaction.atomic
def close_visit(visit_id: Any, end: str, **details: Any) -> bool:
    """Note that the person left, and why; False where that was noted already."""
    if end not in ENDS:
        raise ValueError(f"{end!r} is no end of a visit")
    now = timezone.now()
    if not ConsoleVisit.objects.filter(pk=visit_id, closed_at=None).update(closed_at=now, end=end):
        return False
    visit = _with_names().get(pk=visit_id)
    opened = visit.opened_at or now
    record(
        visit.user,
        "console.failed" if end == "refused" else "console.close",
        visit.machine,
        project=visit.machine.environment.project,
        visit=str(visit.pk),
        kind=visit.kind,
        end=end,
        seconds=round((now - opened).total_seconds()),
        **details,
    )
    return True


def still_allowed(visit_id: Any) -> bool:
    """Whether the person may stay: right, account, browser or token as when he came. Marks him as seen."""
    visit = _with_names().filter(pk=visit_id, closed_at=None).first()
    if visit is None or not _allowed(visit):
        return False
    ConsoleVisit.objects.filter(pk=visit_id).update(seen_at=timezone.now())
    return True


def to_connect(visit_id: Any) -> ConsoleVisit:
    """An open visit with its machine, for the one who holds the hosts' certificates.

    Raises:
        ValidationError: no such visit is open, or the machine does not run.
    """
    visit = _with_names().filter(pk=visit_id, closed_at=None, opened_at__isnull=False).first()
    if visit is None:
        raise ValidationError(_("no such visit is open"))
    _runs(visit.machine)
    return visit


def sweep() -> int:
    """Close the visits of web processes that died, and forget tickets that nobody used."""
    now = timezone.now()
    gone = ConsoleVisit.objects.filter(
        closed_at=None, seen_at__lt=now - dt.timedelta(seconds=LOST_AFTER_S)
    )
    closed = sum(close_visit(pk, "lost") for pk in list(gone.values_list("pk", flat=True)[:100]))
    ConsoleVisit.objects.filter(
        opened_at=None, expires_at__lt=now - dt.timedelta(seconds=LOST_AFTER_S)
    ).delete()
    return closed


def _runs(machine: Machine) -> None:
    if machine.observed != MachineObserved.RUNNING or machine.host_id is None:
        raise ValidationError(
            {
                "machine": _("%(machine)s is %(state)s: only a running machine has a console")
                % {"machine": machine, "state": machine.observed}
            }
        )


def _allowed(visit: ConsoleVisit) -> bool:
    if not may(visit.user, "operate", visit.machine.environment.project):
        return False
    if visit.token_id is not None:
        return ApiToken.objects.usable().filter(pk=visit.token_id).exists()
    sessions = Session.objects.filter(expire_date__gt=timezone.now())
    return bool(visit.session_key) and sessions.filter(session_key=visit.session_key).exists()


def _with_names() -> Any:
    return ConsoleVisit.objects.select_related(
        "user", "machine__environment__project", "machine__host"
    )


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
