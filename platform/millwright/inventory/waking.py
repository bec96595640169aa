"""Hosts that sleep, by the clock: woken in time, tried again where they did not wake, and nobody left half asleep."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Exists, OuterRef, Q, Subquery

from millwright.audit.actions import record
from millwright.core.lifecycle import (
    HostAdministration,
    HostHealth,
    HostPower,
    OperationKind,
    OperationState,
)

from .models import Host
from .power import ask_wake, change_power, on_request, wake_s

#: Pauses between tries to wake a host that does not wake: the first, doubled each time, and the longest.
PAUSE, PAUSE_MAX = dt.timedelta(minutes=2), dt.timedelta(hours=1)
#: A host that answers so long before it was to be woken was woken by its own alarm.
ALARM = dt.timedelta(minutes=5)

#: What became of a try after which requests leave a host asleep.
_NOT_WOKEN = {
    OperationState.FAILED: "did not wake",
    OperationState.CANCELLED: "was left so by a person",
}

_UNDER_WAY = {
    HostPower.FALLING_ASLEEP: (OperationKind.SLEEP_HOST, HostPower.AWAKE),
    HostPower.WAKING: (OperationKind.WAKE_HOST, HostPower.ASLEEP),
}


@dataclass(frozen=True, slots=True)
class NotWaking:
    """A host that was to be awake and is not. `since`: when it was first tried; `ended_at`: the last try."""

    host: Host
    tries: int
    since: dt.datetime
    ended_at: dt.datetime
    why: str


def not_waking() -> list[NotWaking]:
    """Hosts whose last try to be woken has failed, while another one may be under way. Two queries."""
    from millwright.environments.models import Operation

    hosts = {
        row.pk: row for row in Host.objects.filter(power__in=(HostPower.ASLEEP, HostPower.WAKING))
    }
    if not hosts:
        return []
    ended = Operation.objects.filter(
        kind__in=(OperationKind.SLEEP_HOST, OperationKind.WAKE_HOST), ended_at__isnull=False
    )
    tried = Q(kind=OperationKind.WAKE_HOST, state=OperationState.FAILED)
    # It fell asleep, woke, or a person ended a try: what was before that is over, and there is a lot of it.
    over = ended.exclude(tried).filter(host=OuterRef("host"), created_at__gt=OuterRef("created_at"))
    rows = ended.filter(tried, ~Exists(over), host__in=hosts).order_by("-created_at")
    failed: dict[int, list[tuple[dt.datetime, dt.datetime, str]]] = {}
    for host, created, at, error in rows.values_list("host_id", "created_at", "ended_at", "error"):
        failed.setdefault(host, []).append((created, at, error))
    return [
        NotWaking(hosts[key], len(tries), tries[-1][0], tries[0][1], tries[0][2])
        for key, tries in failed.items()
    ]


@dataclass(frozen=True, slots=True)
class Wakeable:
    """A host that is not awake and would be, if it were told to: seconds until it answers, whether it was told."""

    name: str
    wake_s: float
    watts: float
    begun: bool
    power: HostPower = HostPower.ASLEEP


def wakeable(*, asked: bool = True) -> list[Wakeable]:
    """Hosts that could take machines if they were awake, the first to wake first. Two queries.

    `asked`: only those that are woken for a machine that has room nowhere else, by their policies.
    """
    rows = [
        row
        for row in Host.objects.exclude(power=HostPower.AWAKE).filter(
            administration=HostAdministration.SCHEDULABLE, health=HostHealth.UP
        )
        if (on_request(row) if asked else (row.policy.get("sleep") or {}).get("by"))
    ]
    left = left_asleep(rows)
    found = [
        Wakeable(
            row.name,
            float(wake_s(row)),
            float(row.policy["sleep"].get("watts") or 0),
            row.power == HostPower.WAKING,
            HostPower(row.power),
        )
        for row in rows
        if row.pk not in left
    ]
    return sorted(found, key=lambda row: (not row.begun, row.watts, row.wake_s, row.name))


def left_asleep(hosts: Iterable[Host]) -> dict[int, str]:
    """By key those of these hosts that no request wakes now, and why: the last try failed, or a person ended it.

    At most one query, none where all are awake. So it stays until the host wakes or falls asleep anew, and while a
    person has it woken (after a person ended a try: anybody).
    """
    from millwright.environments.models import Operation

    keys = [host.pk for host in hosts if host.power != HostPower.AWAKE]
    if not keys:
        return {}
    over = (OperationState.SUCCEEDED, *_NOT_WOKEN)
    last = Operation.objects.filter(
        host=OuterRef("pk"),
        kind__in=(OperationKind.SLEEP_HOST, OperationKind.WAKE_HOST),
        state__in=over,
    ).order_by("-created_at")
    live = Operation.objects.live().filter(host=OuterRef("pk"), kind=OperationKind.WAKE_HOST)
    rows = Host.objects.filter(pk__in=keys).values_list(
        "pk",
        Subquery(last.values("kind")[:1]),
        Subquery(last.values("state")[:1]),
        Exists(live),
        Exists(live.filter(requested_by__isnull=False)),
    )
    return {
        pk: _NOT_WOKEN[OperationState(state)]
        for pk, kind, state, woken, by_person in rows
        if kind == OperationKind.WAKE_HOST
        and state in _NOT_WOKEN
        and not (by_person or (woken and state == OperationState.CANCELLED))
    }


def woken_by_itself(host: Host, now: dt.datetime) -> None:
    """A sleeping host answers and nobody here has woken it: it is awake. Its row is held."""
    due = host.power_until is not None and now >= host.power_until - ALARM - dt.timedelta(
        seconds=wake_s(host)
    )
    why = "its own alarm woke it" if due else "it answers, and nobody here has woken it"
    change_power(host, HostPower.AWAKE, why)
    record(None, "host.awake", host, reason=why)


def power_round(now: dt.datetime) -> int:
    """Wake those whose time has come, try again those that did not wake; returns how many were told to wake."""
    from millwright.environments.models import Operation

    _settle(now)
    failing = {row.host.pk: row for row in not_waking()}
    waking = set(
        Operation.objects.live()
        .filter(kind=OperationKind.WAKE_HOST)
        .values_list("host_id", flat=True)
    )
    woken = 0
    for host in Host.objects.filter(power=HostPower.ASLEEP).exclude(pk__in=waking):
        if row := failing.get(host.pk):
            pause = min(PAUSE * 2 ** min(row.tries - 1, 10), PAUSE_MAX)
            reason = "it did not wake: another try" if now >= row.ended_at + pause else ""
        else:
            due = host.power_until is not None and now >= host.power_until - dt.timedelta(
                seconds=wake_s(host)
            )
            reason = "it was to sleep until now" if due and not _left(host) else ""
        if reason:
            try:
                ask_wake(None, host, reason=reason)
            except ValidationError:
                # It woke meanwhile.
                continue
            woken += 1
    return woken


def _left(host: Host) -> bool:
    """Whether a person has ended the last try to wake it: then it sleeps until somebody says otherwise."""
    from millwright.environments.models import Operation

    last = host.operations.filter(
        kind__in=(OperationKind.SLEEP_HOST, OperationKind.WAKE_HOST)
    ).order_by("-created_at")
    row: Operation | None = last.first()
    return row is not None and (row.kind, row.state) == (
        OperationKind.WAKE_HOST,
        OperationState.CANCELLED,
    )


def _settle(now: dt.datetime) -> None:
    """What fell asleep or woke by an operation that is over is what it was before: the watcher sees what is."""
    from millwright.environments.models import Operation

    for power, (kind, before) in _UNDER_WAY.items():
        busy = Operation.objects.live().filter(kind=kind, host__isnull=False)
        left = Host.objects.filter(power=power).exclude(pk__in=busy.order_by().values("host"))
        for pk in left.values_list("pk", flat=True):
            with transaction.atomic():
                host = Host.objects.select_for_update().get(pk=pk)
                if host.power == power and not busy.filter(host=host).exists():
                    change_power(host, before, "its operation is over")
