"""Hosts that sleep: who may say so, what stands in the way, and the order that the orchestrator carries out.

A host sleeps by its policy's word (`sleep`), only when nothing is on it, and by a durable operation. What the plant
decides by itself comes here too, without an actor.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
import re
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

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
#: How a host is put to sleep, and how it is woken.
BY = ("suspend", "agent")
WAKE = ("magic_packet", "agent")
_KEYS = {"by", "wake", "mac", "address", "wake_s", "watts", "may", "on_request"}
#: least and greatest: seconds until it answers; watts that it takes awake and empty
_NUMBERS = {"wake_s": (10, 3600), "watts": (0, 100_000)}
_MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")
#: Names that a reason shows.
SHOWN = 5


def sleeps(host: Host) -> dict[str, Any]:
    """How it sleeps by its policy; empty: never."""
    told = host.policy.get("sleep") or {}
    return told if told.get("may", True) else {}


def wake_s(host: Host) -> int:
    """Seconds that it is expected to take from the order until it answers."""
    return int((host.policy.get("sleep") or {}).get("wake_s") or WAKE_S)


def on_request(host: Host) -> bool:
    """Whether it is woken for a machine that has room nowhere else."""
    told = host.policy.get("sleep") or {}
    return bool(told.get("by")) and bool(told.get("on_request", True))


def validate_sleep(policy: Mapping[str, Any]) -> None:
    """Raise `ValidationError` for a `sleep` of a host's policy that cannot be: field, value and what is wanted."""
    told = policy.get("sleep")
    if told is None or told == {}:
        return
    if not isinstance(told, dict):
        raise ValidationError({"policy.sleep": 'expected {"by": …, "wake": …}'})
    if unknown := set(told) - _KEYS:
        raise ValidationError(
            {
                "policy.sleep": f"unknown: {', '.join(sorted(unknown))}; there are: {', '.join(sorted(_KEYS))}"
            }
        )
    for key, ways in (("by", BY), ("wake", WAKE)):
        if told.get(key) not in ways:
            raise ValidationError(
                {f"policy.sleep.{key}": f"{told.get(key)!r:.80}: one of {', '.join(ways)}"}
            )
    if "agent" in (told["by"], told["wake"]) and not policy.get("fence"):
        raise ValidationError(
            {"policy.sleep": "an agent is wanted, and the policy has no fence agent (policy.fence)"}
        )
    mac = told.get("mac", "")
    named = isinstance(mac, str) and bool(_MAC.fullmatch(mac))
    if (mac or told["wake"] == "magic_packet") and not named:
        raise ValidationError(
            {"policy.sleep.mac": f"{mac!r:.80}: expected an address like 52:54:00:12:34:56"}
        )
    if "address" in told:
        try:
            ipaddress.IPv4Address(told["address"])
        except ValueError:
            raise ValidationError(
                {"policy.sleep.address": f"{told['address']!r:.80}: expected an IPv4 address"}
            ) from None
    for key in ("may", "on_request"):
        if not isinstance(told.get(key, True), bool):
            raise ValidationError({f"policy.sleep.{key}": f"{told[key]!r:.80}: true or false"})
    for key, (low, high) in _NUMBERS.items():
        value = told.get(key, low)
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not whole or not low <= value <= high:
            raise ValidationError(
                {f"policy.sleep.{key}": f"{value!r:.80}: a whole number from {low} to {high}"}
            )


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
    rows = found.select_related("environment")
    return [str(row) for row in rows.order_by("environment__name", "name", "pk")]


def why_not_asleep(host: Host, *, but: UUID | None = None, drained: bool = False) -> Said | None:
    """What keeps this host from being put to sleep now, as code and facts (`.parts`); None: nothing.

    `but`: an operation that does not count as work at the host. `drained`: it was emptied for it, and takes nothing
    new until it sleeps; without that it is a person's, or a drain's for maintenance. Whether somebody else's domain runs there only the host itself knows: the operation asks it.
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
    draining = host.administration == HostAdministration.DRAINING
    if drained and not draining:
        return say("empty.taken", state=str(host.administration))
    if draining and not drained:
        return say("power.draining", host=name)
    # What clears a returned host of copies names it by its payload.
    about = Operation.objects.live().filter(
        Q(host=host) | Q(payload__host=host.name) | Q(payload__destination=host.name)
    )
    live = about.exclude(pk=but).first() if but is not None else about.first()
    if live is not None:
        return say("power.busy", host=name, kind=str(live.kind))
    if names := taken_by(host):
        return say("power.not_empty", host=name, names=names[:SHOWN], count=len(names))
    return None


def may_change(actor: Any) -> None:
    """Raise `PermissionRefused` for who may not put hosts to sleep or wake them; `actor` None: by itself."""
    if actor is not None:
        require(actor, "pool")


@transaction.atomic
def ask_sleep(
    actor: Any,
    host: Host,
    *,
    reason: str,
    until: dt.datetime | None = None,
    drained: bool = False,
) -> Any:
    """Have a host put to sleep, until a time or until somebody wakes it; returns the operation.

    `actor` None: by itself. `drained`: it was emptied for it, and is still closed for what is new.

    Raises:
        PermissionRefused: for those who keep the pool.
        ValidationError: it is not empty, does not sleep by its policy, does not answer, or is busy; a time that is over.
    """
    from millwright.environments.enqueue import enqueue

    may_change(actor)
    if until is not None and until <= timezone.now():
        raise ValidationError({"until": _("a time that is still to come is wanted")})
    host = Host.objects.select_for_update().get(pk=host.pk)
    if why := why_not_asleep(host, drained=drained):
        raise ValidationError({"host": _read(why)})
    operation = enqueue(
        OperationKind.SLEEP_HOST,
        actor=actor,
        reason=reason,
        host=host.name,
        until=until.isoformat() if until is not None else "",
        **({"drained": True} if drained else {}),
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

    may_change(actor)
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


def change_power(host: Host, power: HostPower, why: str, operation: Any = None) -> bool:
    """Record it on a host whose row is held; returns whether anything changed."""
    from millwright.environments.history import transition

    now = timezone.now()
    also: dict[str, Any] = {"power_reason": why[:300]}
    if host.power != power:
        also["power_since"] = now
        if host.power == HostPower.ASLEEP:
            also["asleep_s"] = asleep_s(host, now)
    if power is HostPower.AWAKE:
        # It was silent by intent: that counts for nothing when it is asked next.
        also |= {"power_until": None, "last_seen": now}
    return transition(
        host, "host_power", power, field="power", cause=why, operation=operation, **also
    )


def asleep_s(host: Host, now: dt.datetime) -> float:
    """Seconds that it has been asleep in all."""
    slept = host.power == HostPower.ASLEEP and host.power_since is not None
    return host.asleep_s + (max(0.0, (now - host.power_since).total_seconds()) if slept else 0.0)


def _read(said: Said) -> str:
    """In the language of whoever asks."""
    from millwright.environments.reasons import said as read

    return read(said)
