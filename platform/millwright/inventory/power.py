"""Hosts that sleep: who may say so, what stands in the way, and the order that the orchestrator carries out.

A host sleeps by its policy's word (`sleep`), only when nothing is on it, and by a durable operation. What the plant
decides by itself comes here too, without an actor.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.core.balancing import Said, say
from millwright.core.lifecycle import (
    OCCUPYING_ENVIRONMENT_STATES,
    HostAdministration,
    HostHealth,
    HostPower,
    OperationKind,
)

from .models import CpuClaim, DeviceClaim, Host

#: Seconds until a host is expected to answer after it was woken, where its policy does not say.
WAKE_S = 180
#: Names that a reason shows.
SHOWN = 5


def sleeps(host: Host) -> dict[str, Any]:
    """How it sleeps by its policy; empty: never."""
    told = host.policy.get("sleep") or {}
    return told if told.get("may", True) else {}


def wake_s(host: Host) -> int:
    """Seconds that it is expected to take from the order until it answers."""
    return int(sleeps(host).get("wake_s") or WAKE_S)


def taken_by(host: Host) -> list[str]:
    """Names of machines that are on it, hold something of it, or are on their way from or to it.

    Three queries; inside the transaction that holds the host's row nothing comes between.
    """
    from millwright.environments.models import Machine, Move

    states = [str(state) for state in OCCUPYING_ENVIRONMENT_STATES]
    moves = Move.objects.filter(state="prepared").filter(Q(source=host) | Q(destination=host))
    found = Machine.objects.filter(
        Q(host=host, environment__state__in=states)
        | Q(pk__in=CpuClaim.objects.filter(host=host).order_by().values("machine"))
        | Q(pk__in=DeviceClaim.objects.filter(host=host).order_by().values("machine"))
        | Q(pk__in=moves.order_by().values("machine"))
    )
    return [str(row) for row in found.select_related("environment").order_by("pk")]


def why_not_asleep(host: Host) -> Said | None:
    """What keeps this host from being put to sleep now, as code and facts (`.parts`); None: nothing.

    Whether somebody else's domain runs there only the host itself knows: the operation asks it.
    """
    from millwright.environments.models import Operation

    name = host.name
    if not host.policy.get("sleep"):
        return say("power.not_configured", host=name)
    if not sleeps(host):
        return say("power.may_not", host=name)
    if host.power != HostPower.AWAKE:
        return say("power.not_awake", host=name, state=str(host.power))
    if host.health != HostHealth.UP:
        return say("power.not_up", host=name, state=str(host.health))
    if host.administration == HostAdministration.DRAINING:
        return say("power.draining", host=name)
    live = Operation.objects.live().filter(host=host).first()
    if live is not None:
        return say("power.busy", host=name, kind=str(live.kind))
    if names := taken_by(host):
        return say("power.not_empty", host=name, names=names[:SHOWN], count=len(names))
    return None


@transaction.atomic
def ask_sleep(actor: Any, host: Host, *, reason: str, until: dt.datetime | None = None) -> Any:
    """Have a host put to sleep, until a time or until somebody wakes it; returns the operation.

    `actor` None: by itself.

    Raises:
        PermissionRefused: for those who keep the pool.
        ValidationError: it is not empty, does not sleep by its policy, does not answer, or is busy.
    """
    from millwright.environments.enqueue import enqueue

    if actor is not None:
        require(actor, "pool")
    host = Host.objects.select_for_update().get(pk=host.pk)
    if why := why_not_asleep(host):
        raise ValidationError({"host": _read(why)})
    operation = enqueue(
        OperationKind.SLEEP_HOST,
        actor=actor,
        reason=reason,
        host=host.name,
        until=until.isoformat() if until is not None else "",
    )
    operation.host = host
    operation.save(update_fields=("host",))
    record(
        actor,
        "host.sleep",
        host,
        until=until.isoformat() if until is not None else "",
        reason=reason,
    )
    return operation


@transaction.atomic
def ask_wake(actor: Any, host: Host, *, reason: str) -> Any:
    """Have a host woken; returns the operation, the one at work if there is one already.

    One that is falling asleep is woken as soon as it sleeps, or stays awake if it has not been told yet.

    Raises:
        PermissionRefused: for those who keep the pool.
        ValidationError: it is awake.
    """
    from millwright.environments.enqueue import enqueue
    from millwright.environments.models import Operation

    if actor is not None:
        require(actor, "pool")
    host = Host.objects.select_for_update().get(pk=host.pk)
    live = Operation.objects.live().filter(host=host)
    going = live.filter(kind=OperationKind.SLEEP_HOST)
    if host.power == HostPower.AWAKE and not going.exists():
        raise ValidationError({"host": _read(say("power.is_awake", host=host.name))})
    there = live.filter(kind=OperationKind.WAKE_HOST).first()
    if there is not None:
        return there
    going.update(cancel_requested=True)
    operation = enqueue(OperationKind.WAKE_HOST, actor=actor, reason=reason, host=host.name)
    operation.host = host
    operation.save(update_fields=("host",))
    record(actor, "host.wake", host, reason=reason)
    return operation


def _read(said: Said) -> str:
    """In the language of whoever asks."""
    from millwright.environments.reasons import said as read

    return read(said)
