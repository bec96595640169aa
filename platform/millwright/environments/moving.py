"""Moving machines, and answering what an operation asks: permission, validation, change, audit."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from millwright.accounts.permissions import may, require
from millwright.audit.actions import record
from millwright.core.lifecycle import (
    HostPower,
    MachineObserved,
    Movability,
    OperationKind,
    OperationState,
)
from millwright.inventory.models import Host

from .enqueue import enqueue
from .models import Environment, Machine, Operation


def in_window(machine: Machine) -> bool:
    """Whether an approved maintenance window of the machine's environment is open now."""
    from millwright.core.sla.intervals import Interval
    from millwright.service_levels.measuring import windows_of

    now = timezone.now()
    around = Interval(now, now + dt.timedelta(seconds=1))
    return now in windows_of([machine.environment_id], around).get(machine.environment_id, ())


def _by_calendar(machine: Machine) -> tuple[Movability, bool]:
    """What may move it by the plant's calendar, and whether a window is open by it."""
    from millwright.balancing.hours import of_machine

    return of_machine(machine)


#: Seen so, no guest of a machine is left: what moves is its definition.
OFF = (MachineObserved.STOPPED, MachineObserved.CRASHED)

#: The most that a move may count against a machine, core-seconds: beyond all that balancing ever gains.
MOST_DISRUPTION = 1_000_000.0


def why_not_movable(machine: Machine, *, approved: bool) -> str:
    """Why this machine may not be moved now; "" if it may. `approved`: a person says so now."""
    if machine.host_id is None:
        return _("%(machine)s is on no host") % {"machine": machine}
    held, window = Movability(machine.movability), False
    if held == Movability.WINDOW:
        window = in_window(machine)
    asks = held == Movability.APPROVAL and not approved
    if held == Movability.NEVER or (held == Movability.WINDOW and not window) or asks:
        # Only where its own word forbids it: the others cost no question.
        held, opened = _by_calendar(machine)
        window = window or opened
    if held == Movability.NEVER:
        return _("%(machine)s is never moved, by its policy") % {"machine": machine}
    if held == Movability.WINDOW and not window:
        return _(
            "%(machine)s is moved only in an approved maintenance window, and none is open now"
        ) % {"machine": machine}
    if held == Movability.APPROVAL and not approved:
        return _("%(machine)s is moved only when a person approves it") % {"machine": machine}
    if machine.observed in OFF:
        if machine.disk_bytes and not machine.host.policy.get("shared_storage"):
            return _(
                "%(machine)s is off, and its disk lies on %(host)s alone: only while it runs is the disk copied"
            ) % {"machine": machine, "host": machine.host}
        return ""
    if machine.device_claims.exists():
        return _(
            "%(machine)s has a graphics card of its host: it cannot be moved while it runs"
        ) % {"machine": machine}
    if machine.observed not in (MachineObserved.RUNNING, MachineObserved.MIGRATING):
        return _("%(machine)s is %(state)s: only a machine that runs or is off is moved") % {
            "machine": machine,
            "state": machine.observed,
        }
    return ""


def held_by_hosts(machines: Any) -> dict[str, Machine]:
    """Those of a query set that their host may hold by a card or a disk, by name: why is asked of each. One query."""
    rows = machines.filter(Q(device_claims__isnull=False) | Q(observed__in=OFF, disk_bytes__gt=0))
    return {str(row): row for row in rows.distinct()}


@transaction.atomic
def move_machine(
    actor: Any,
    machine: Machine,
    destination: Host | None = None,
    reason: str = "",
    *,
    approved: bool = True,
    parent: Operation | None = None,
    **payload: Any,
) -> Operation:
    """Move a machine to a host, or to the best one (None): with its guest while it runs, without one while it is off.

    Raises:
        PermissionRefused: moving machines is for those who keep the pool.
        ValidationError: its policy or state forbids it, or it is busy.
    """
    if actor is not None:
        require(actor, "pool")
    if why := why_not_movable(machine, approved=approved):
        raise ValidationError({"machine": why})
    if destination is not None and destination.pk == machine.host_id:
        raise ValidationError(
            {
                "destination": _("%(machine)s is on %(host)s already")
                % {"machine": machine, "host": destination}
            }
        )
    if destination is not None and destination.power != HostPower.AWAKE:
        raise ValidationError(
            {
                "destination": _("%(host)s is not awake: wake it first, a move wakes no host")
                % {"host": destination}
            }
        )
    if destination is not None and not _sees_disk(destination, machine):
        raise ValidationError(
            {
                "destination": _(
                    "%(machine)s is off, and %(host)s does not see its disk: only hosts with the same shared storage do"
                )
                % {"machine": machine, "host": destination}
            }
        )
    operation = enqueue(
        OperationKind.MIGRATE,
        actor=actor,
        reason=reason or "machine.move",
        environment=machine.environment,
        machine=machine,
        **({"destination": destination.name} if destination is not None else {}),
        **payload,
    )
    if parent is not None:
        Operation.objects.filter(pk=operation.pk).update(parent=parent)
        operation.parent = parent
    record(
        actor,
        "machine.move",
        machine,
        project=machine.environment.project,
        source=str(machine.host),
        destination=str(destination or ""),
        reason=reason,
    )
    return operation


def _sees_disk(destination: Host, machine: Machine) -> bool:
    """Whether the host has what a machine takes along without a copy; one that runs takes a copy."""
    if machine.observed not in OFF or not machine.disk_bytes or machine.host is None:
        return True
    return machine.host.shares_storage_with(destination)


@transaction.atomic
def set_movability(actor: Any, machine: Machine, movability: str, reason: str = "") -> Machine:
    """Say what may move a machine. Its project's administrators and the pool's keepers may."""
    if not may(actor, "administer", machine.environment.project):
        require(actor, "pool")
    if movability not in set(Movability):
        raise ValidationError(
            {
                "movability": _("%(value)r: one of %(known)s")
                % {"value": movability, "known": ", ".join(Movability)}
            }
        )
    before = machine.movability
    machine.movability = movability
    machine.save(update_fields=("movability",))
    record(
        actor,
        "machine.movability",
        machine,
        project=machine.environment.project,
        before=before,
        after=movability,
        reason=reason,
    )
    return machine


@transaction.atomic
def set_disruption(
    actor: Any, environment: Environment, disruption: float | None, reason: str = ""
) -> Environment:
    """Say what users of an environment's machines suffer from a move, in core-seconds; None: as their templates say.

    Who may say what moves them may say this: its project's administrators and the pool's keepers.

    Raises:
        ValidationError: out of bounds.
    """
    if not may(actor, "administer", environment.project):
        require(actor, "pool")
    if disruption is not None and not 0 <= disruption <= MOST_DISRUPTION:
        raise ValidationError(
            {
                "disruption": _("%(value)s: 0 to %(most)s core-seconds, or empty")
                % {"value": disruption, "most": f"{MOST_DISRUPTION:.0f}"}
            }
        )
    before = environment.disruption
    environment.disruption = disruption
    environment.save(update_fields=("disruption",))
    record(
        actor,
        "environment.disruption",
        environment,
        project=environment.project,
        before=before,
        after=disruption,
        reason=reason,
    )
    return environment


@transaction.atomic
def answer_operation(actor: Any, operation: Operation, answer: str) -> Operation:
    """Answer what a waiting operation asks.

    Raises:
        ValidationError: nothing is asked, or this is none of the answers offered.
    """
    operation = Operation.objects.select_for_update(no_key=True, of=("self",)).get(pk=operation.pk)
    if operation.project is None or not may(actor, "operate", operation.project):
        require(actor, "pool")
    answers = (operation.question or {}).get("answers") or {}
    if operation.state != OperationState.WAITING or not answers:
        raise ValidationError({"answer": _("the operation asks nothing")})
    if answer not in answers:
        raise ValidationError(
            {
                "answer": _("%(value)r: one of %(known)s")
                % {"value": answer, "known": ", ".join(answers)}
            }
        )
    operation.answer = answer
    operation.save(update_fields=("answer",))
    record(
        actor,
        "operation.answer",
        operation,
        project=operation.project,
        question=operation.question["text"],
        answer=answer,
    )
    return operation
