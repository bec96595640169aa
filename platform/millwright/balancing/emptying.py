"""Emptying a host so that it can sleep: begun by a round or on a person's word, called off when it is needed after all.

It is a drain with a time until which the host sleeps. Each step looks at the host as it is and is one transaction, so
that it goes on after any interruption: machines move as in every drain; the host that is empty, still closed for what
is new, is told to sleep; once it sleeps it is open again, and takes machines when it wakes.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.core.balancing import MILD, Mode, Move, Plant, Said, Why, mode_of, parts_of, say
from millwright.core.lifecycle import (
    HostAdministration,
    HostHealth,
    HostPower,
    Movability,
    OperationState,
)
from millwright.environments.history import transition
from millwright.environments.models import Operation
from millwright.environments.moving import why_not_movable
from millwright.environments.reasons import said
from millwright.inventory.models import Host
from millwright.inventory.power import ask_sleep, why_not_asleep

from . import draining, recommending
from .models import Consolidating, HostDrain, HostRecovery, MovePlan, RollingDrain
from .plant import machines_on_hosts, read_plant, with_disks

#: It ends when nothing went on for so long, and what is left of the sleep is no shorter than this.
PATIENCE = dt.timedelta(minutes=30)
#: After one was called off: so long this host is left alone, and every host.
REST, SETTLE = dt.timedelta(hours=4), dt.timedelta(hours=1)
#: Earlier ones that are shown.
EARLIER = 10
#: What goes away by itself while others move.
_WAITS = {"note.link", "note.others", "note.arriving", "note.host_state"}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a host is. `moved` of `machines`; of earlier ones that began without a count both are None."""

    row: HostDrain
    machines: int | None
    moved: int | None


def current() -> HostDrain | None:
    """The one that is under way, if there is one. One query."""
    rows = HostDrain.objects.filter(state="active", sleep_until__isnull=False)
    return rows.select_related("host", "operation", "requested_by").first()


def progress(row: HostDrain) -> Progress:
    """How many of the machines that were on it have left. One query."""
    if row.machines is None:
        return Progress(row, None, None)
    left = machines_on_hosts().filter(host=row.host_id).count()
    return Progress(row, row.machines, max(row.machines - left, 0))


def earlier(count: int = EARLIER) -> list[HostDrain]:
    """Those that have ended, the newest first. One query."""
    rows = HostDrain.objects.exclude(state="active").filter(sleep_until__isnull=False)
    return list(rows.select_related("host", "requested_by").order_by("-ended_at", "-pk")[:count])


def plant_of(now: dt.datetime) -> Plant:
    """The plant with the mode and level of balancing, by which its machines move."""
    plant, told = with_disks(read_plant(now)), recommending.balancer()
    return replace(plant, settings=replace(plant.settings, mode=Mode(told.mode), level=told.level))


def full(now: dt.datetime) -> Said | None:
    """Why no host is emptied now, whichever it is. At most five queries."""
    if (why := _others()) is not None:
        return why
    return say("empty.settling") if _called_off(now - SETTLE).exists() else None


def resting(now: dt.datetime) -> dict[str, Said]:
    """By host why it is not emptied again so soon. One query."""
    hours = REST // dt.timedelta(hours=1)
    rows = _called_off(now - REST).select_related("host").order_by("ended_at")
    return {row.host.name: say("empty.called_off", hours=hours, why=row.remark) for row in rows}


def why_full(host: Host) -> Said | None:
    """What keeps it from being emptied, of which the balancer does not know: what is at work, does not run, or is tied."""
    machines = {row.pk: row for row in machines_on_hosts().filter(host=host).order_by("pk")}
    for operation in Operation.objects.live().filter(machine__in=machines).order_by("created_at"):
        name = str(machines[operation.machine_id])
        return say("empty.busy", machine=name, kind=str(operation.kind))
    for machine in machines.values():
        if why := why_not_movable(machine, approved=False):
            return say("note.of", machine=str(machine), why=why)
    return None


def begin(
    actor: Any,
    host: Host,
    why: Said,
    until: dt.datetime,
    now: dt.datetime,
    reason: str = "",
) -> HostDrain:
    """Empty a host, and let it sleep until a time. `actor` None: by itself.

    Raises:
        PermissionRefused: it is for those who keep the pool.
        Blocked: something cannot leave, each with its reason.
        ValidationError: hosts do not sleep by themselves any more, it does not take machines now, or others are at
            work.
    """
    if actor is not None:
        require(actor, "pool")
    plan = draining.preview(host)
    if plan.blockers:
        raise draining.Blocked(row.why for row in plan.blockers)
    with transaction.atomic():
        # Held while it begins: who says otherwise meanwhile ends what has begun, and no second one begins beside it.
        told = Consolidating.objects.select_for_update().get(pk=1)
        if told.mode not in (Mode.AUTOMATIC, *((Mode.RECOMMEND,) if actor is not None else ())):
            raise ValidationError({"mode": said(say("empty.mode", mode=told.mode))})
        host = Host.objects.select_for_update().get(pk=host.pk)
        stays = (host.health, host.administration, host.power)
        if stays != (HostHealth.UP, HostAdministration.SCHEDULABLE, HostPower.AWAKE):
            state = next(
                word
                for word, good in zip(stays, ("up", "schedulable", "awake"), strict=True)
                if word != good
            )
            why_not = say("at.host_state", host=host.name, state=str(state))
            raise ValidationError({"host": said(why_not)})
        if HostDrain.objects.filter(state="active", sleep_until__isnull=False).exists():
            raise ValidationError({"host": _("another host is being emptied for sleep")})
        if (others := _others()) is not None:
            raise ValidationError({"host": said(others)})
        transition(
            host,
            "host_administration",
            HostAdministration.DRAINING,
            field="administration",
            cause=str(why),
        )
        row = HostDrain.objects.create(
            host=host,
            requested_by=actor,
            reason=str(why)[:300],
            reason_parts=parts_of(why),
            sleep_until=until,
            machines=machines_on_hosts().filter(host=host).count(),
        )
        record(actor, "host.draining", host, reason=(reason or str(why))[:300])
        record(
            actor,
            "emptying.start",
            row,
            host=host.name,
            until=until.isoformat(),
            reason=(reason or str(why))[:300],
        )
    return row


def emptying_round(now: dt.datetime) -> int:
    """Carry the one under way a step on; returns how many moves were started."""
    row = current()
    if row is None:
        return 0
    if row.operation is not None and row.operation.state == OperationState.SUCCEEDED:
        return _sleeps(row.pk, now)
    if row.host.administration != HostAdministration.DRAINING:
        state = str(row.host.administration)
        return call_off(row.pk, say("empty.taken", state=state), now)
    if (why := _off(row, now)) is not None:
        return call_off(row.pk, why, now)
    if row.operation is not None:
        return _falls(row, row.operation, now)
    if not machines_on_hosts().filter(host=row.host).exists():
        _to_sleep(row, now)
        return _impatient(row, now)
    if row.host.health != HostHealth.UP:
        why = draining.not_answering(row.host)
        draining.keep_blockers(row, [draining.blocker("", why)], now)
        return _impatient(row, now)
    return _move(row, now)


@transaction.atomic
def call_off(pk: int, why: Said, now: dt.datetime, actor: Any = None) -> int:
    """End it before its end: the host takes machines again, unless a person has said otherwise of it meanwhile.

    What is on its way arrives. Returns 0, as no move was started.
    """
    row = HostDrain.objects.get(pk=pk)
    host = Host.objects.select_for_update().get(pk=row.host_id)
    row = HostDrain.objects.select_for_update().get(pk=pk)
    if row.state != "active":
        return 0
    _open(host, why)
    row.host = host
    row.note, row.note_parts = str(why)[:1000], parts_of(why)
    row.save(update_fields=("note", "note_parts"))
    draining.end(row, "cancelled", now)
    record(actor, "emptying.call_off", row, host=host.name, reason=str(why)[:300])
    draining.stay_awake(row, str(why)[:300])
    return 0


def needed(host: Host, machine: Any, now: dt.datetime) -> None:
    """A machine was placed on a host that is being emptied, for it has room nowhere else. The host's row is held."""
    row = current()
    if row is None or row.host_id != host.pk:
        return
    if row.operation is not None and row.operation.state == OperationState.SUCCEEDED:
        # It sleeps: that was done before it was needed.
        _sleeps(row.pk, now)
        return
    call_off(row.pk, say("empty.placed", machine=str(machine)), now)


# -- steps ---------------------------------------------------------------------


def _off(row: HostDrain, now: dt.datetime) -> Said | None:
    """Why it does not go on, of what is seen at once; what the forecast says is asked every five minutes."""
    mode = Consolidating.objects.values_list("mode", flat=True).get(pk=1)
    if mode not in (Mode.RECOMMEND, Mode.AUTOMATIC):
        return say("empty.mode", mode=mode)
    lost = machines_on_hosts().filter(host__health=HostHealth.DOWN).first()
    if lost is not None:
        return say("consolidate.lost", name=lost.host.name)
    if row.sleep_until is not None and row.sleep_until < now + PATIENCE:
        return say("empty.late")
    return _others()


def _others() -> Said | None:
    """That something else is at work for which hosts are wanted as they are. Four queries."""
    busy = (
        HostDrain.objects.filter(state="active", sleep_until=None).exists()
        or RollingDrain.objects.filter(state__in=RollingDrain.LIVE).exists()
        or HostRecovery.objects.filter(state="active").exists()
        or MovePlan.objects.filter(state="active").exists()
    )
    return say("empty.others") if busy else None


def _move(row: HostDrain, now: dt.datetime) -> int:
    left = {str(machine): machine for machine in machines_on_hosts().filter(host=row.host)}
    names = {machine.pk: name for name, machine in left.items()}
    for machine, why in draining.failed_moves(row, list(left.values())).items():
        return call_off(row.pk, say("empty.failed", machine=names[machine], why=why), now)
    plant = plant_of(now)
    least = Mode.AUTOMATIC if row.requested_by_id is None else Mode.RECOMMEND
    if (why := _held(plant, row.host.name, least)) is not None:
        return call_off(row.pk, why, now)
    started = draining.carry_on(row, left, now, _only(plant, row.host.name, least), begun=_remember)
    if row.state != "active":
        # A person took it in hand just now: unless that has said so, the drain has ended without a word.
        row.refresh_from_db(fields=("note",))
        if row.note:
            return 0
        state = Host.objects.values_list("administration", flat=True).get(pk=row.host_id)
        note = say("empty.taken", state=state)
        row.note, row.note_parts = str(note), parts_of(note)
        row.save(update_fields=("note", "note_parts"))
        record(None, "emptying.call_off", row, host=row.host.name, reason=row.note)
        return 0
    if started or draining.busy_machines(list(left.values())):
        return started
    return _impatient(row, now)


def _impatient(row: HostDrain, now: dt.datetime) -> int:
    """Call it off for what does not go away by itself, or has stood in the way for too long."""
    if row.state != "active" or not row.blockers:
        return 0
    for each in row.blockers:
        why = Said(each["why"], each["parts"])
        if each["machine"] and each["machine"] not in why:
            why = say("note.of", machine=each["machine"], why=why)
        codes = {part["code"] for part in each["parts"]}
        if not codes & _WAITS and each["machine"]:
            return call_off(row.pk, why, now)
        if row.waiting_since is not None and row.waiting_since <= now - PATIENCE:
            minutes = PATIENCE // dt.timedelta(minutes=1)
            return call_off(row.pk, say("empty.waited", minutes=minutes, why=why), now)
    return 0


def _to_sleep(row: HostDrain, now: dt.datetime) -> None:
    """The host is empty: it is told to sleep, still closed for what is new."""
    with transaction.atomic():
        # Placements and moves hold all hosts while they claim room: none comes between.
        if not draining.stands(row) or machines_on_hosts().filter(host=row.host).exists():
            return
        host = Host.objects.get(pk=row.host_id)
        if arriving := draining.coming(host):
            draining.keep_blockers(row, arriving, now)
            return
        if (why := why_not_asleep(host, drained=True)) is not None:
            draining.keep_blockers(row, [draining.blocker("", why)], now)
            return
        row.operation = ask_sleep(
            None, host, reason=row.reason, until=row.sleep_until, drained=True
        )
        row.save(update_fields=("operation",))
        draining.keep_blockers(row, [], now)


def _falls(row: HostDrain, operation: Operation, now: dt.datetime) -> int:
    if operation.state in (OperationState.FAILED, OperationState.CANCELLED):
        why = operation.error or str(operation.state)
        return call_off(row.pk, say("empty.not_asleep", why=why), now)
    return 0


@transaction.atomic
def _sleeps(pk: int, now: dt.datetime) -> int:
    """It sleeps: nothing is placed on it for that, and when it wakes it takes machines."""
    row = HostDrain.objects.get(pk=pk)
    host = Host.objects.select_for_update().get(pk=row.host_id)
    row = HostDrain.objects.select_for_update().get(pk=pk)
    if row.state != "active":
        return 0
    _open(host, row.reason)
    draining.end(row, "done", now)
    record(None, "emptying.done", row, host=host.name, reason=row.reason)
    return 0


def _open(host: Host, why: str) -> None:
    """It takes machines again, if it is closed for this alone. Its row is held."""
    if host.administration != HostAdministration.DRAINING:
        return
    transition(
        host,
        "host_administration",
        HostAdministration.SCHEDULABLE,
        field="administration",
        cause=str(why),
    )
    record(None, "host.schedulable", host, reason=str(why)[:300])


def _held(plant: Plant, host: str, least: Mode) -> Said | None:
    """A machine on it that does not move by itself, or not any more."""
    for vm in plant.vms:
        if vm.host != host:
            continue
        if vm.moves is not Movability.FREE:
            return say("consolidate.control", machine=vm.name)
        mode = mode_of(plant, vm)
        if MILD.index(mode) < MILD.index(least):
            return say("consolidate.mode", machine=vm.name, mode=str(mode))
    return None


def _only(plant: Plant, host: str, least: Mode) -> Plant:
    """The plant in which machines of other hosts make room only if they move by themselves."""
    return replace(
        plant,
        vms=tuple(
            replace(vm, movability=Movability.NEVER)
            if vm.host not in (None, host) and MILD.index(mode_of(plant, vm)) < MILD.index(least)
            else vm
            for vm in plant.vms
        ),
    )


def _remember(moves: Sequence[tuple[str, str, str]]) -> None:
    """Balancing rounds know of it: who has moved rests, and does not go back for balance so soon."""
    recommending.remember(
        [Move(name, source, target, Why.DRAIN, "", 0.0) for name, source, target in moves]
    )


def _called_off(since: dt.datetime) -> Any:
    return HostDrain.objects.filter(
        state="cancelled", sleep_until__isnull=False, ended_at__gt=since
    )
