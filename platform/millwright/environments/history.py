"""Changing a state: checked against the table, and written to the append-only history."""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.utils import timezone

from millwright.core.lifecycle import MachineObserved, check_transition

from .models import Environment, Machine, StateTransition

#: States from which a machine that runs again was started anew.
_OFF = (MachineObserved.STOPPED, MachineObserved.CRASHED, MachineObserved.ABSENT)


def transition(
    subject: Any,
    kind: str,
    wanted: str,
    *,
    field: str = "state",
    cause: str = "",
    operation: Any = None,
    at: dt.datetime | None = None,
    **also: Any,
) -> bool:
    """Set a state and write the transition; nothing happens if it is that state already.

    `at` is when it changed (None: now). `also` are further fields to set in the same write. Returns whether
    the state changed.

    Raises:
        LifecycleError: `wanted` may not follow.
    """
    before = getattr(subject, field)
    if before == wanted:
        if also:
            type(subject).objects.filter(pk=subject.pk).update(**also)
        return False
    check_transition(kind, before, wanted)
    now = at or timezone.now()
    for name, value in also.items():
        setattr(subject, name, value)
    setattr(subject, field, wanted)
    fields = [field, *also]
    if hasattr(subject, "state_since") and field == "state":
        subject.state_since = now
        fields.append("state_since")
    subject.save(update_fields=fields)
    StateTransition.objects.create(
        at=now,
        subject_type=subject._meta.model_name,
        subject_id=str(subject.pk),
        subject_name=str(subject)[:120],
        aspect=field,
        before=before,
        after=wanted,
        cause=cause[:300],
        operation=getattr(operation, "pk", operation),
    )
    return True


def environment_transition(
    environment: Environment, wanted: str, *, reason: str = "", operation: Any = None
) -> bool:
    """Set an environment's state with its reason."""
    return transition(
        environment, "environment", wanted, cause=reason, operation=operation, state_reason=reason
    )


def machine_observed(
    machine: Machine,
    wanted: str,
    *,
    cause: str = "",
    operation: Any = None,
    at: dt.datetime | None = None,
) -> bool:
    """Record what was seen of a machine, as of `at` (None: now)."""
    before = machine.observed
    changed = transition(
        machine,
        "machine",
        wanted,
        field="observed",
        cause=cause,
        operation=operation,
        at=at,
        observed_at=at or timezone.now(),
    )
    if changed and wanted == MachineObserved.RUNNING and before in _OFF and machine.started_cpu_id:
        # Started anew, perhaps elsewhere: it has the CPU of where it is now.
        machine.started_cpu = None
        machine.save(update_fields=("started_cpu",))
    return changed
