"""Emptying a host: what would happen and what stands in the way, told beforehand; then done by rounds.

A drain is a row. Each round looks at the host as it is and starts the next moves, so that it goes on
after any interruption, and plans anew when a move failed.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.core.balancing import Limits, Move, Plant, order, parts_of, say, together
from millwright.core.balancing import drain as plan_drain
from millwright.core.lifecycle import HostAdministration, HostHealth, HostPower, OperationState
from millwright.environments.history import transition
from millwright.environments.models import Machine, Operation
from millwright.environments.moving import held_by_hosts, move_machine, why_not_movable
from millwright.environments.reasons import said
from millwright.inventory.actions import administer_host
from millwright.inventory.models import Host
from millwright.inventory.power import ask_wake

from .arriving import Way, holding, on_their_way, settled
from .if_woken import would_leave
from .links import Links
from .models import HostDrain, RollingDrain
from .plant import machines_on_hosts, not_emptied, read_plant, with_disks

#: Migrations that leave one host at once.
AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class PlannedMove:
    """Where one machine would go. `approval`: only by a person's word. `seconds`: expected."""

    machine: str
    destination: str
    text: str
    seconds: float
    approval: bool


@dataclass(frozen=True, slots=True)
class Blocker:
    """What stands in the way of a machine, or (no machine) of the whole drain."""

    machine: str
    why: str


@dataclass(frozen=True, slots=True)
class DrainPlan:
    """Possible only when nothing blocks. `seconds`: expected for all moves."""

    moves: tuple[PlannedMove, ...]
    blockers: tuple[Blocker, ...]
    seconds: float

    @property
    def asks(self) -> bool:
        """Whether a person's word is wanted for a machine."""
        return any(move.approval for move in self.moves)


def preview(host: Host) -> DrainPlan:
    """Where everything would go, and what cannot leave and why. Changes nothing.

    A host that is being emptied to sleep counts as room: the next round calls that off, before it carries drains on.
    """
    return _planned(host, with_disks(not_emptied(read_plant())), _leaving(host))[0]


def _leaving(host: Host) -> list[Way]:
    """What is on its way, but to this host: that leaves it again once it is there."""
    return [way for way in on_their_way() if way.target != host.name]


def _planned(host: Host, plant: Plant, ways: Sequence[Way]) -> tuple[DrainPlan, tuple[Move, ...]]:
    """The plan as people read it, and its moves as the balancer orders them. What is on its way has arrived."""
    if why := not_answering(host):
        # Nothing can be asked to leave: a suspect host comes back or is down soon, a down one is recovered.
        return DrainPlan((), (Blocker("", why),), 0.0), ()
    if host.power != HostPower.AWAKE:
        # Nobody runs there and nobody comes, what waits for it goes elsewhere: it is empty already, and sleeps on.
        return DrainPlan((), (), 0.0), ()
    answer = plan_drain(holding(plant, ways, host.name), [host.name])
    if answer.blockers and ways:
        # Perhaps there is room once the others are where they go.
        later = plan_drain(settled(plant, ways), [host.name])
        answer = min(answer, later, key=lambda each: len(each.blockers))
    blockers = {refusal.vm: refusal.text for refusal in answer.blockers}
    blockers |= would_leave(blockers, holding(plant, ways, host.name), host.name)
    here = machines_on_hosts().filter(host=host)
    held = held_by_hosts(here)
    for machine in here:
        # Of one that a disk or a card holds here the planner knows only that it does not move.
        known = str(machine) in blockers and str(machine) not in held
        if not known and (why := why_not_movable(machine, approved=True)):
            blockers[str(machine)] = why
    moves = tuple(
        PlannedMove(move.vm, move.target, move.text, move.seconds, move.approval)
        for move in answer.moves
        if move.vm not in blockers
    )
    rows = tuple(Blocker(name, why) for name, why in sorted(blockers.items()))
    return DrainPlan(moves, rows, answer.seconds), answer.moves


def not_answering(host: Host) -> str:
    """Why nothing leaves a host that does not answer; "" if it does."""
    if host.health == HostHealth.UP:
        return ""
    return say("note.host_state", host=str(host), state=str(host.health))


class Blocked(ValidationError):
    """Something cannot leave; `whys`: each reason as it is kept, to be said to later readers."""

    def __init__(self, whys: Iterable[str]) -> None:
        self.whys = tuple(whys)
        super().__init__({"host": [said(why) for why in self.whys]})


@transaction.atomic
def start(actor: Any, host: Host, *, approve: bool = False, reason: str = "") -> HostDrain:
    """Empty a host: it takes nothing new, its machines move, then it is in maintenance.

    Raises:
        PermissionRefused: draining is for those who keep the pool.
        Blocked: something cannot leave, each with its reason.
        ValidationError: a machine wants a person's word that was not given, or it is drained already.
    """
    require(actor, "pool")
    host = Host.objects.select_for_update().get(pk=host.pk)
    there = HostDrain.objects.select_for_update().filter(host=host, state="active").first()
    if there is not None and there.sleep_until is None:
        raise ValidationError({"host": _("%(host)s is being drained already") % {"host": host}})
    plan = preview(host)
    if plan.blockers:
        raise Blocked(row.why for row in plan.blockers)
    if plan.asks and not approve:
        names = ", ".join(move.machine for move in plan.moves if move.approval)
        raise ValidationError(
            {"approve": _("%(names)s: moved only when a person approves it") % {"names": names}}
        )
    if host.administration != HostAdministration.DRAINING:
        administer_host(actor, host, HostAdministration.DRAINING, reason)
    if there is not None:
        # It was emptied to sleep: a person's word comes first, and what has moved so far is of use to it.
        _give_way(actor, there)
    row = HostDrain.objects.create(
        host=host, requested_by=actor, reason=reason[:300], approved=approve
    )
    record(actor, "drain.start", row, host=host.name, approved=approve, reason=reason)
    return row


def _give_way(actor: Any, row: HostDrain) -> None:
    """End an emptying for sleep in favour of a person's drain; a host on its way to sleep is woken."""
    why = say("empty.drained")
    row.note, row.note_parts = str(why), parts_of(why)
    row.save(update_fields=("note", "note_parts"))
    end(row, "cancelled", timezone.now())
    record(actor, "emptying.call_off", row, host=row.host.name, reason=row.note)
    stay_awake(row, row.note)


def stay_awake(row: HostDrain, reason: str) -> None:
    """Wake a host that has been told to sleep once it was empty, or is being told."""
    if row.operation_id is not None:
        with contextlib.suppress(ValidationError):
            # It is awake, and nothing is on its way to change that.
            ask_wake(None, row.host, reason=reason)


def drain_round(now: dt.datetime | None = None) -> int:
    """Carry every active drain for maintenance a step on; returns how many moves were started."""
    paused = RollingDrain.objects.filter(state="paused").exclude(drain=None)
    active = HostDrain.objects.filter(state="active", sleep_until=None)
    active = active.exclude(pk__in=paused.values("drain"))
    return sum(_step(pk, now or timezone.now()) for pk in list(active.values_list("pk", flat=True)))


def _step(pk: int, now: dt.datetime) -> int:
    row = HostDrain.objects.select_related("host", "requested_by").get(pk=pk)
    if row.state != "active":
        return 0
    if row.host.administration != HostAdministration.DRAINING:
        return end(row, "cancelled", now)
    left = {str(machine): machine for machine in machines_on_hosts().filter(host=row.host)}
    if not left:
        return _empty(row, now)
    if row.host.health != HostHealth.UP:
        return keep_blockers(row, [blocker("", not_answering(row.host))], now)
    return carry_on(row, left, now)


def stands(row: HostDrain) -> bool:
    """Hold the host, and say whether it is still to be emptied by this: a person may have said otherwise meanwhile."""
    host = Host.objects.select_for_update().get(pk=row.host_id)
    active = HostDrain.objects.filter(pk=row.pk, state="active").exists()
    return active and host.administration == HostAdministration.DRAINING


def _empty(row: HostDrain, now: dt.datetime) -> int:
    """Nothing stands on the host any more: it is in maintenance, once nothing is on its way there either."""
    with transaction.atomic():
        # Placements and moves hold all hosts while they claim room: none comes between.
        if not stands(row):
            return end(row, "cancelled", now)
        if machines_on_hosts().filter(host=row.host).exists():
            return 0
        host = Host.objects.get(pk=row.host_id)
        if arriving := coming(host):
            return keep_blockers(row, arriving, now)
        transition(
            host,
            "host_administration",
            HostAdministration.MAINTENANCE,
            field="administration",
            cause=row.reason or "drained",
        )
        record(None, "host.maintenance", host, reason=row.reason or "drained")
        # Of hosts in turn that are worked on by the clock the next one follows without anybody.
        in_turn = RollingDrain.objects.filter(
            state__in=RollingDrain.LIVE, drain=row, work_minutes__isnull=False
        ).exists()
        record(None, "drain.done", row, host=host.name, in_turn=in_turn, reason=row.reason)
        return end(row, "done", now)


def coming(host: Host) -> list[dict[str, Any]]:
    """Machines that hold room on the host and are not there yet; what is only told to go there finds it closed."""
    ways = [way for way in on_their_way() if way.claimed and way.target == host.name]
    return [
        blocker(way.machine, say("note.arriving", machine=way.machine, host=host.name))
        for way in ways
    ]


def carry_on(
    row: HostDrain,
    left: dict[str, Machine],
    now: dt.datetime,
    plant: Plant | None = None,
    begun: Callable[[Sequence[tuple[str, str, str]]], None] | None = None,
) -> int:
    """Start what may start now, and name what stands in the way of the rest; returns how many moves were started.

    `plant`: as it was read just now. `begun`: told machine, source and target of each move, in the same transaction.
    """
    host, plant, ways = row.host, with_disks(plant or read_plant(now)), _leaving(row.host)
    plan, ordered = _planned(host, plant, ways)
    # What makes room elsewhere goes first; what waits for that is not begun yet.
    going = left | _elsewhere({move.machine for move in plan.moves} - set(left))
    busy = set(busy_machines(list(going.values())))
    failed = failed_moves(row, list(going.values()))
    may = {name for name, machine in going.items() if machine.pk not in failed}
    moves = [each for each in ordered if each.vm in may & {move.machine for move in plan.moves}]
    schedule = order(holding(plant, ways, host.name), moves, Limits(per_host=AT_ONCE))
    ready = {leg.vm: leg.target for leg in schedule.legs if leg.start_s <= 0}
    blockers = [blocker(item.machine, item.why) for item in plan.blockers]
    free, links = AT_ONCE - len(busy), Links(plant)
    started: list[tuple[str, str, str]] = []
    held = [
        # There is room for it once others are where they go, and one of them may wait for a person's answer.
        blocker(refusal.vm, say("note.others", names=[way.machine for way in ways]))
        for refusal in schedule.dropped
        if ways
    ]
    # Of a large plant the plan takes seconds: only what follows is held together.
    with transaction.atomic():
        if not stands(row):
            return end(row, "cancelled", now)
        for move in plan.moves:
            machine = going.get(move.machine)
            if machine is None or machine.pk in busy:
                continue
            if machine.pk in failed:
                blockers.append(blocker(move.machine, failed[machine.pk]))
            elif len(started) < free and move.machine in ready:
                source = machine.host.name
                if not links.take(source, ready[move.machine]):
                    # Others' moves are on the link.
                    held.append(blocker(move.machine, say("note.link", machine=move.machine)))
                    continue
                try:
                    move_machine(
                        None,
                        machine,
                        Host.objects.get(name=ready[move.machine]),
                        row.reason or f"{host} is drained",
                        approved=row.approved,
                    )
                    started.append((move.machine, source, ready[move.machine]))
                except ValidationError as error:
                    blockers.append(blocker(move.machine, together(error.messages)))
        if not (started or busy):
            blockers += held
        busy_names = {name for name, machine in going.items() if machine.pk in busy}
        keep_blockers(row, [item for item in blockers if item["machine"] not in busy_names], now)
        if begun is not None and started:
            begun(started)
    return len(started)


def _elsewhere(names: set[str]) -> dict[str, Machine]:
    """Machines of other hosts by their names."""
    if not names:
        return {}
    environments = {name.partition("/")[0] for name in names}
    rows = machines_on_hosts().filter(environment__name__in=environments)
    return {str(machine): machine for machine in rows if str(machine) in names}


def busy_machines(machines: list[Machine]) -> list[Any]:
    """Those for which an operation is at work or waits."""
    live = Operation.objects.live().filter(machine__in=machines)
    return list(live.values_list("machine_id", flat=True))


def failed_moves(row: HostDrain, machines: list[Machine]) -> dict[Any, str]:
    """Moves of this drain that failed last, and why: a person looks before they are tried again."""
    newest: dict[Any, Operation] = {}
    tried = Operation.objects.filter(
        machine__in=machines, kind="migrate", created_at__gte=row.created_at
    )
    for operation in tried.order_by("created_at"):
        newest[operation.machine_id] = operation
    return {
        machine: operation.error or str(operation.state)
        for machine, operation in newest.items()
        if operation.state in (OperationState.FAILED, OperationState.CANCELLED)
    }


def end(row: HostDrain, state: str, now: dt.datetime) -> int:
    row.state, row.ended_at, row.blockers, row.waiting_since = state, now, [], None
    row.save(update_fields=("state", "ended_at", "blockers", "waiting_since"))
    return 0


def blocker(machine: str, why: str) -> dict[str, Any]:
    return {"machine": machine, "why": str(why), "parts": parts_of(why)}


def keep_blockers(row: HostDrain, blockers: list[dict[str, Any]], now: dt.datetime) -> int:
    since = (row.waiting_since or now) if blockers else None
    if (row.blockers, row.waiting_since) != (blockers, since):
        row.blockers, row.waiting_since = blockers, since
        row.save(update_fields=("blockers", "waiting_since"))
    return 0
