"""Hosts drained one after another, each worked on and taken back before the next: for upgrades.

A rolling drain is a row. Each round looks at its host as it is and does the next thing, so that it goes
on after any interruption. What cannot go on waits with its reason for a person; nothing is skipped
unasked, and never are two of its hosts away at once.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from millwright.accounts.permissions import PermissionRefused, require
from millwright.audit.actions import record
from millwright.core.balancing import Said, parts_of, rolling_drain, say, together
from millwright.core.lifecycle import (
    HostAdministration,
    HostHealth,
    HostPower,
    LifecycleError,
    OperationState,
)
from millwright.environments.models import Operation
from millwright.environments.moving import held_by_hosts, why_not_movable
from millwright.inventory.actions import administer_host
from millwright.inventory.models import Host
from millwright.inventory.power import ask_wake, wake_s
from millwright.inventory.waking import not_waking

from . import draining
from .models import HostDrain, RollingDrain
from .plant import machines_on_hosts, not_emptied, read_plant, with_disks

#: Bounds: hosts of one rolling drain, and minutes of work on each.
MOST_HOSTS, MOST_MINUTES = 200, 7 * 24 * 60


@dataclass(frozen=True, slots=True)
class HostPlan:
    """One host of the plan: how many machines move, for how long, and what cannot leave and why."""

    host: str
    moves: int
    seconds: float
    approval: bool
    blockers: tuple[str, ...]
    #: it sleeps, and is woken first
    asleep: bool = False


@dataclass(frozen=True, slots=True)
class RollingPlan:
    """All hosts in their order. `seconds`: with the work, of those that can be drained."""

    hosts: tuple[HostPlan, ...]
    seconds: float

    @property
    def blocked(self) -> bool:
        return any(row.blockers for row in self.hosts)

    @property
    def asks(self) -> bool:
        """Whether machines move that move only by a person's word."""
        return any(row.approval for row in self.hosts)


def preview(names: Sequence[str], work_minutes: int = 0) -> RollingPlan:
    """What would happen, host by host, each starting where the one before left the machines.

    Raises:
        ValidationError: hosts or minutes are out of bounds, or a host is unknown or named twice.
    """
    hosts = _hosts(names, work_minutes)
    names = [host.name for host in hosts]
    answer = rolling_drain(with_disks(not_emptied(read_plant())), work_minutes * 60.0, names)
    held = held_by_hosts(machines_on_hosts().filter(host__in=hosts))
    told = {row.hosts[0]: row for row in answer.drains}
    rows = []
    for host in hosts:
        row = told[host.name]
        if away := draining.not_answering(host):
            # Once, not for each of its machines.
            rows.append(HostPlan(host.name, 0, 0.0, False, (away,)))
            continue
        if host.power != HostPower.AWAKE:
            rows.append(HostPlan(host.name, 0, float(wake_s(host)), False, (), asleep=True))
            continue
        rows.append(
            HostPlan(
                host.name,
                len(row.moves),
                row.seconds,
                any(move.approval for move in row.moves),
                tuple(
                    # What holds it here, where the planner knows only that it does not move.
                    (refusal.vm in held and why_not_movable(held[refusal.vm], approved=True))
                    or refusal.text
                    for refusal in row.blockers
                ),
            )
        )
    # The planner leaves out hosts that sleep: awake they are empty, and are worked on as the others are.
    woken = sum(row.seconds + work_minutes * 60.0 for row in rows if row.asleep)
    return RollingPlan(tuple(rows), answer.seconds + woken)


@transaction.atomic
def start(
    actor: Any,
    names: Sequence[str],
    *,
    work_minutes: int | None = None,
    approve: bool = False,
    reason: str = "",
) -> RollingDrain:
    """Begin. `work_minutes`: how long each host is worked on; None: until a person says that it is done.

    Raises:
        PermissionRefused: draining is for those who keep the pool.
        ValidationError: as `preview`; one is under way already; machines want a person's word.
    """
    require(actor, "pool")
    if RollingDrain.objects.filter(state__in=RollingDrain.LIVE).exists():
        raise ValidationError({"hosts": _("a rolling drain is under way already")})
    plan = preview(names, work_minutes or 0)
    if plan.asks and not approve:
        raise ValidationError(
            {"approve": _("some machines are moved only when a person approves it")}
        )
    row = RollingDrain.objects.create(
        hosts=[each.host for each in plan.hosts],
        work_minutes=work_minutes,
        approved=approve,
        reason=reason[:300],
        requested_by=actor,
        progress=[{"host": each.host, "state": "waiting"} for each in plan.hosts],
    )
    record(actor, "rolling.start", row, hosts=row.hosts, reason=reason)
    return row


@transaction.atomic
def pause(actor: Any, row: RollingDrain, reason: str = "") -> RollingDrain:
    """Start nothing more: moves that run end, the host that is worked on stays in maintenance."""
    row = _live(actor, row, ("active",))
    row.state, row.note, row.note_parts = "paused", "", []
    row.save(update_fields=("state", "note", "note_parts"))
    record(actor, "rolling.pause", row, reason=reason)
    return row


@transaction.atomic
def resume(actor: Any, row: RollingDrain, reason: str = "") -> RollingDrain:
    """Go on where it was paused, from now on in the name of who says so."""
    row = _live(actor, row, ("paused",))
    row.state, row.note, row.note_parts, row.requested_by = "active", "", [], actor
    row.save(update_fields=("state", "note", "note_parts", "requested_by"))
    record(actor, "rolling.resume", row, reason=reason)
    return row


@transaction.atomic
def work_done(actor: Any, row: RollingDrain, reason: str = "") -> RollingDrain:
    """The work on the host in maintenance is done: it takes machines again, the next one follows.

    Raises:
        PermissionRefused: draining is for those who keep the pool.
        ValidationError: no host is worked on now, or the host does not answer.
    """
    row = _live(actor, row, RollingDrain.LIVE)
    at = _now(row)
    if at is None or at["state"] != "work":
        raise ValidationError({"host": _("no host is worked on now")})
    host = Host.objects.get(name=at["host"])
    if host.health != HostHealth.UP:
        raise ValidationError({"host": _("%(host)s does not answer yet") % {"host": host.name}})
    record(actor, "rolling.work_done", row, host=host.name, reason=reason)
    _take_back(row, host, actor)
    row.save()
    return row


@transaction.atomic
def skip(actor: Any, row: RollingDrain, reason: str = "") -> RollingDrain:
    """Leave out the host that it is at: a drain of it ends, and it takes machines again."""
    row = _live(actor, row, RollingDrain.LIVE)
    at = _now(row)
    if at is None:
        raise ValidationError({"host": _("every host is through")})
    host = Host.objects.filter(name=at["host"]).first()
    if host is not None and at["state"] in ("draining", "work"):
        _uncordon(actor, host, reason)
    _set(row, at, "skipped")
    row.note, row.note_parts = "", []
    row.save()
    record(actor, "rolling.skip", row, host=at["host"], reason=reason)
    return row


@transaction.atomic
def stop(actor: Any, row: RollingDrain, reason: str = "") -> RollingDrain:
    """End it here: a host that is being drained takes machines again, one in maintenance stays in it."""
    row = _live(actor, row, RollingDrain.LIVE)
    at = _now(row)
    if at is not None and at["state"] == "draining":
        host = Host.objects.filter(name=at["host"]).first()
        if host is not None:
            _uncordon(actor, host, reason)
        _set(row, at, "waiting")
    row.state, row.ended_at, row.note = "stopped", timezone.now(), ""
    row.note_parts = []
    row.save()
    record(actor, "rolling.stop", row, reason=reason)
    return row


def rolling_round(now: dt.datetime | None = None) -> int:
    """Carry rolling drains a step on; returns how many hosts went on to something else."""
    now = now or timezone.now()
    active = RollingDrain.objects.filter(state="active").values_list("pk", flat=True)
    return sum(_step(pk, now) for pk in list(active))


@transaction.atomic
def _step(pk: int, now: dt.datetime) -> int:
    # Locked, so that a person's pause at the same moment is not written over.
    row = RollingDrain.objects.select_for_update().get(pk=pk)
    if row.state != "active":
        return 0
    at = _now(row)
    if at is None:
        row.state, row.ended_at, row.note, row.drain = "done", now, "", None
        row.note_parts = []
        row.save()
        record(None, "rolling.end", row)
        return 1
    host = Host.objects.filter(name=at["host"]).first()
    if host is None:
        return _wait(row, say("note.not_in_pool", host=at["host"]), now)
    if at["state"] == "waiting":
        return _begin(row, at, host, now)
    if at["state"] == "draining":
        return _draining(row, at, host, now)
    if row.work_minutes is None:
        return _wait(row, "", now)
    begun = dt.datetime.fromisoformat(at["since"])
    if now < begun + dt.timedelta(minutes=row.work_minutes):
        return _wait(row, "", now)
    if host.health != HostHealth.UP:
        return _wait(row, say("note.not_yet", host=host.name), now)
    try:
        _take_back(row, host, row.requested_by)
    except PermissionRefused:
        return _wait(row, _no_keeper(row), now)
    row.save()
    return 1


def _no_keeper(row: RollingDrain) -> Said:
    """It goes on in the name of who began it, or took it over."""
    return say("note.no_keeper", person=str(row.requested_by or "–"))


def _woken(row: RollingDrain, at: dict[str, Any], host: Host, now: dt.datetime) -> bool:
    """Whether it is awake; one that sleeps is woken, for a host that sleeps cannot be worked on."""
    if host.power == HostPower.AWAKE:
        return True
    told = Operation.objects.filter(pk=at["wake"]).first() if "wake" in at else None
    if told is not None and told.state == OperationState.CANCELLED:
        del at["wake"]
        _pause(row, say("note.wake_ended", host=host.name))
        return False
    why = next((each.why for each in not_waking() if each.host.pk == host.pk), None)
    if why is not None:
        # Tries that failed are made again by the clock.
        _wait(row, say("note.not_waking", host=host.name, why=why), now)
        return False
    if told is None or told.ended_at is not None:
        try:
            asked = ask_wake(row.requested_by, host, reason=row.reason or "rolling drain")
        except PermissionRefused:
            _wait(row, _no_keeper(row), now)
            return False
        except ValidationError:
            # It woke meanwhile: the next round sees it.
            return False
        at["wake"] = str(asked.pk)
        row.save(update_fields=("progress",))
    _wait(row, say("note.woken_first", host=host.name), now)
    return False


def _pause(row: RollingDrain, note: Said) -> None:
    """A person has undone what it did: it goes on when somebody says so."""
    row.state, row.drain, row.note, row.note_parts = "paused", None, str(note), parts_of(note)
    row.save()
    record(None, "rolling.pause", row, reason=row.note)


def _begin(row: RollingDrain, at: dict[str, Any], host: Host, now: dt.datetime) -> int:
    if not _woken(row, at, host, now):
        return 0
    if (done := _empty_already(row, at, host, now)) is not None:
        return done
    try:
        # One that is emptied only to sleep is taken over by `start`.
        there = HostDrain.objects.filter(host=host, state="active", sleep_until=None).first()
        drain = there or draining.start(
            row.requested_by, host, approve=row.approved, reason=row.reason or "rolling drain"
        )
    except draining.Blocked as error:
        return _wait(row, together(error.whys), now)
    except ValidationError as error:
        return _wait(row, together(error.messages), now)
    except PermissionRefused:
        return _wait(row, _no_keeper(row), now)
    except LifecycleError as error:
        return _wait(row, str(error), now)
    row.drain, row.note, row.note_parts = drain, "", []
    _set(row, at, "draining", now)
    row.save()
    return 1


def _empty_already(
    row: RollingDrain, at: dict[str, Any], host: Host, now: dt.datetime
) -> int | None:
    """Work begins on a host in maintenance if it is empty; None: it has machines, or is not in maintenance."""
    # Held: placements and moves hold all hosts while they claim room, so that none comes between.
    host = Host.objects.select_for_update().get(pk=host.pk)
    maintained = host.administration == HostAdministration.MAINTENANCE
    if not maintained or machines_on_hosts().filter(host=host).exists():
        return None
    if arriving := draining.coming(host):
        return _wait(row, together(_blocks(each) for each in arriving), now)
    _set(row, at, "work", now)
    row.note, row.note_parts = "", []
    row.save()
    return 1


def _draining(row: RollingDrain, at: dict[str, Any], host: Host, now: dt.datetime) -> int:
    drain = row.drain
    if host.administration == HostAdministration.MAINTENANCE:
        if (done := _empty_already(row, at, host, now)) is not None:
            return done
        # By somebody's hand, before it was empty: what is left leaves first.
        row.drain, row.note, row.note_parts = None, "", []
        _set(row, at, "waiting")
        row.save()
        return 1
    if drain is None or drain.state == "cancelled":
        _set(row, at, "waiting")
        _pause(row, say("note.taken_back", host=host.name))
        return 1
    return _wait(row, together(_blocks(each) for each in drain.blockers), now)


def _blocks(row: dict[str, Any]) -> Said:
    """What stands in a machine's way, with its name where the reason does not tell it."""
    why = Said(row["why"], row.get("parts") or parts_of(row["why"]))
    named = not row["machine"] or row["machine"] in why
    return why if named else say("note.of", machine=row["machine"], why=why)


def _take_back(row: RollingDrain, host: Host, actor: Any) -> None:
    at = _now(row)
    if host.administration != HostAdministration.SCHEDULABLE:
        _uncordon(actor, host, row.reason)
    if at is not None:
        _set(row, at, "done")
    row.drain, row.note, row.note_parts = None, "", []


def _uncordon(actor: Any, host: Host, reason: str) -> None:
    administer_host(actor, host, HostAdministration.SCHEDULABLE, reason or "rolling drain")


def _now(row: RollingDrain) -> dict[str, Any] | None:
    """The entry that is not through."""
    return next((at for at in row.progress if at["state"] not in ("done", "skipped")), None)


def _set(row: RollingDrain, at: dict[str, Any], state: str, now: dt.datetime | None = None) -> None:
    at["state"], at["since"] = state, (now or timezone.now()).isoformat()


def _wait(row: RollingDrain, note: str, now: dt.datetime) -> int:
    parts = parts_of(note)
    # What went on meanwhile has no note: it waits anew.
    since = ((row.waiting_since if row.note else None) or now) if note else None
    if (row.note, row.note_parts, row.waiting_since) != (str(note)[:1000], parts, since):
        row.note, row.note_parts, row.waiting_since = str(note)[:1000], parts, since
        row.save(update_fields=("note", "note_parts", "waiting_since"))
    return 0


def _live(actor: Any, row: RollingDrain, states: Sequence[str]) -> RollingDrain:
    require(actor, "pool")
    row = RollingDrain.objects.select_for_update().get(pk=row.pk)
    if row.state not in states:
        raise ValidationError({"state": _("it is %(state)s") % {"state": row.get_state_display()}})
    return row


def _hosts(names: Sequence[str], work_minutes: int) -> list[Host]:
    if not 1 <= len(names) <= MOST_HOSTS:
        raise ValidationError({"hosts": _("from 1 to %(most)s hosts") % {"most": MOST_HOSTS}})
    if not 0 <= work_minutes <= MOST_MINUTES:
        raise ValidationError(
            {"work_minutes": _("from 0 to %(most)s minutes") % {"most": MOST_MINUTES}}
        )
    known = {host.name: host for host in Host.objects.filter(name__in=names)}
    for name in names:
        if name not in known:
            raise ValidationError(
                {"hosts": _("no host of the pool is named %(name)r") % {"name": name}}
            )
    if len(set(names)) < len(names):
        raise ValidationError({"hosts": _("a host is named twice")})
    return [known[name] for name in names]
