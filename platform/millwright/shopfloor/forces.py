"""The force list: variables that are held at a value against the program, and ending that."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import F
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.core.lifecycle import MachineObserved
from millwright.desk import DeskError, ask
from millwright.environments.models import Machine
from millwright.environments.sizes import takes_programs
from millwright.settings import get_settings

#: What a controller holds at most, and the longest name that is passed on.
MOST, MOST_NAME = 256, 200


@dataclass(frozen=True, slots=True)
class Forced:
    """A forced variable. `at` and `by` where the controller knows them."""

    path: str
    value: Any
    at: dt.datetime | None = None
    by: str = ""


def to_ask(machine_id: str) -> Machine:
    """The machine, for the one who holds its host's certificate.

    Raises:
        ValidationError: there is none of that id, it is no controller, or it does not run.
    """
    machine = Machine.objects.with_names().filter(pk=machine_id).first()
    if machine is None:
        raise ValidationError(_("no such machine"))
    _answers(machine)
    return machine


def forced(actor: Any, machine: Machine) -> list[Forced]:
    """What is forced now, asked of the controller itself; the note at the machine follows.

    Raises:
        ValidationError: it is no controller, or it does not run.
        DeskError: the controller does not answer.
    """
    require(actor, "operate", machine.environment.project)
    _answers(machine)
    answer = ask(get_settings().desk_socket, "forces", machine=str(machine.pk))
    return _noted(machine, answer["rows"])


def unforce(
    actor: Any, machine: Machine, paths: list[str] | None, reason: str = ""
) -> list[Forced]:
    """End forces, all of them where `paths` is None; returns what is left.

    Not one transaction: what was told to a controller cannot be rolled back, so the entry must stand.

    Raises:
        ValidationError: no controller that runs, or no names of variables.
        DeskError: the controller does not answer, or refuses; nothing of it is known to have happened.
    """
    project = machine.environment.project
    require(actor, "operate", project)
    _answers(machine)
    if len(reason) > 500:
        raise ValidationError({"reason": _("at most 500 characters")})
    if paths is not None:
        if not 1 <= len(paths) <= MOST:
            raise ValidationError(
                {
                    "paths": _("%(n)s variables: expected 1 to %(most)s")
                    % {"n": len(paths), "most": MOST}
                }
            )
        if any(not path or len(path) > MOST_NAME or not path.isprintable() for path in paths):
            raise ValidationError(
                {
                    "paths": _("names of variables have 1 to %(most)s characters")
                    % {"most": MOST_NAME}
                }
            )
    about = {"project": project, "reason": reason, "paths": "all" if paths is None else paths}
    record(actor, "force.end", machine, **about)
    try:
        answer = ask(get_settings().desk_socket, "unforce", machine=str(machine.pk), paths=paths)
    except DeskError as error:
        record(actor, "force.failed", machine, error=str(error), **about)
        raise
    return _noted(machine, answer["rows"])


def _answers(machine: Machine) -> None:
    if not takes_programs(machine.template_version.spec):
        raise ValidationError({"machine": _("%(machine)s is no controller") % {"machine": machine}})
    if machine.observed != MachineObserved.RUNNING or machine.host_id is None:
        raise ValidationError(
            {
                "machine": _(
                    "%(machine)s is %(state)s: only a running controller says what is forced"
                )
                % {"machine": machine, "state": machine.observed}
            }
        )


def _noted(machine: Machine, rows: list[dict[str, Any]]) -> list[Forced]:
    """The rows as objects; marks on other pages follow at once, without waiting for the next look."""
    found = [
        Forced(
            path=str(row["path"]),
            value=row["value"],
            at=parse_datetime(row["at"]) if row.get("at") else None,
            by=str(row.get("by", "")),
        )
        for row in rows
    ]
    if len(found) != machine.forced:
        since = (F("forced_since") if machine.forced else timezone.now()) if found else None
        Machine.objects.filter(pk=machine.pk).update(forced=len(found), forced_since=since)
    return found
