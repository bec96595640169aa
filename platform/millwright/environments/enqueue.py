"""The outbox: operations are rows, written in the transaction of the intent (docs/adr/0002)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from millwright.core.lifecycle import OperationKind

from .models import Environment, Machine, Operation


def lock_machine(machine_id: UUID) -> None:
    """Hold the machine's row to the transaction's end: two callers never both find it idle."""
    # Of itself alone and unsorted: the usual order joins the environment, whose row would be locked too.
    rows = Machine.objects.select_for_update(no_key=True, of=("self",)).order_by()
    list(rows.filter(pk=machine_id).values_list("pk"))


def enqueue(
    kind: OperationKind,
    *,
    actor: Any,
    reason: str,
    project: Any = None,
    environment: Environment | None = None,
    machine: Machine | None = None,
    exclusive: bool = True,
    **payload: Any,
) -> Operation:
    """Write an operation for the orchestrator.

    Raises:
        ValidationError: another operation of the same machine is still at work (`exclusive`).
    """
    if exclusive and machine is not None:
        lock_machine(machine.pk)
        busy = Operation.objects.live().filter(machine=machine).first()
        if busy is not None:
            raise ValidationError(
                {
                    "machine": _(
                        "%(machine)s is busy: %(kind)s is %(state)s since %(at)s. Wait for it or cancel it."
                    )
                    % {
                        "machine": machine,
                        "kind": busy.kind,
                        "state": busy.state,
                        "at": f"{busy.created_at:%F %T} UTC",
                    }
                }
            )
    return Operation.objects.create(
        kind=kind,
        project=project or (environment.project if environment else None),
        environment=environment,
        machine=machine,
        payload=payload,
        requested_by=actor if actor is not None and actor.pk else None,
        reason=reason[:300],
    )
