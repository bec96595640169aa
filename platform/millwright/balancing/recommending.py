"""Balancing rounds: read the plant, ask the balancer, keep every move with its reason; move what may."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Prefetch
from django.utils import timezone
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.core.balancing import (
    BalanceState,
    Mode,
    Move,
    Plant,
    Round,
    Why,
    balance,
    order,
    parts_of,
    say,
)
from millwright.environments.models import Machine
from millwright.environments.moving import move_machine
from millwright.environments.reasons import said
from millwright.inventory.models import Host

from . import circling, reporting
from .filling import MOST_SPARE, HeatChange, heat_change
from .links import Links
from .measuring import waited_on
from .models import Balancer, Recommendation, ResourcePool
from .plant import machines_on_hosts, read_plant, with_disks
from .querysets import RecommendationQuerySet
from .wishes import Wishes, drop, rejected, undecided, wish

#: Seconds between two rounds.
EVERY_S = 300
#: Least and most of what rounds are told in numbers.
BOUNDS = {
    "level": (1, 5),
    "spare_hosts": (0, MOST_SPARE),
    "max_moves": (1, 50),
    "sustain_rounds": (1, 24),
    "cooldown_rounds": (0, 288),
    "link_moves": (0, 50),
}


def balancer() -> Balancer:
    """The one row, made at first use."""
    return Balancer.objects.get_or_create(pk=1)[0]


@transaction.atomic
def set_mode(
    actor: Any,
    mode: str,
    level: int | None = None,
    reason: str = "",
    *,
    spare_hosts: int | None = None,
    max_moves: int | None = None,
    sustain_rounds: int | None = None,
    cooldown_rounds: int | None = None,
    link_moves: int | None = None,
) -> Balancer:
    """Say what rounds do: nothing, note, recommend, move; and how finely (1 to 5).

    `spare_hosts`: hosts that may die at once with every protected machine restarted elsewhere; rounds and
    placements keep that room. `max_moves`: that a round decides; `sustain_rounds`: that an imbalance lasts before
    it is acted upon; `cooldown_rounds`: for which a machine that moved stays; `link_moves`: at once over the link
    between any two failure domains, by rounds and drains, 0 any number. What is None stays.

    Raises:
        PermissionRefused: balancing is for those who keep the pool.
        ValidationError: no such mode, or a number out of `BOUNDS`.
    """
    require(actor, "pool")
    if mode not in set(Mode):
        raise ValidationError(
            {"mode": _("%(value)r: one of %(known)s") % {"value": mode, "known": ", ".join(Mode)}}
        )
    row = balancer()
    given = {
        "level": level,
        "spare_hosts": spare_hosts,
        "max_moves": max_moves,
        "sustain_rounds": sustain_rounds,
        "cooldown_rounds": cooldown_rounds,
        "link_moves": link_moves,
    }
    wanted = {name: number for name, number in given.items() if number is not None}
    for name, number in wanted.items():
        low, high = BOUNDS[name]
        if not low <= number <= high:
            values = {"value": number, "low": low, "high": high}
            raise ValidationError({name: _("%(value)s: from %(low)s to %(high)s") % values})
    if spare_hosts is not None and spare_hosts != row.spare_hosts:
        _check_spare(spare_hosts)
    before = {"mode": row.mode} | {name: getattr(row, name) for name in BOUNDS}
    row.mode = mode
    for name, number in wanted.items():
        setattr(row, name, number)
    if mode == Mode.OFF:
        drop(say("note.off"), timezone.now())
    row.save(update_fields=("mode", *BOUNDS))
    now = {"mode": row.mode} | {name: getattr(row, name) for name in BOUNDS}
    changed = {name: value for name, value in before.items() if value != now[name]}
    record(actor, "balancer.mode", row, **now, before=changed, reason=reason)
    return row


def _check_spare(wanted: int) -> None:
    """Somebody must be left to start what dies."""
    hosts = Host.objects.count()
    if wanted and wanted >= hosts:
        text = _(
            "%(value)s: at most %(high)s: of the pool's %(hosts)s hosts one at least must be left "
            "to start the machines of the others"
        ) % {"value": wanted, "high": max(hosts - 1, 0), "hosts": hosts}
        raise ValidationError({"spare_hosts": text})


def balance_round(now: dt.datetime | None = None) -> int:
    """A round when one is due; returns how many moves it decided."""
    now = now or timezone.now()
    row = balancer()
    if row.mode == Mode.OFF and not anything_balances(row):
        # A pool's or a machine's own mode may have been the last.
        drop(say("note.off"), now)
        return 0
    if row.last_round is not None and now < row.last_round + dt.timedelta(seconds=EVERY_S):
        return 0
    modes = _modes()
    plant = with_disks(read_plant(now))
    plans = circling.under_way()
    settings = replace(
        plant.settings,
        mode=Mode(row.mode),
        level=row.level,
        # Between its steps a plan is on its way too.
        moves_running=plant.settings.moves_running + plans,
    )
    before = BalanceState.of(row.state) if row.state else None
    ruled = replace(plant, settings=settings)
    made = balance(ruled, before, rejected=rejected(ruled, now))
    ready = _ready(plant, [move for move in made.moves if not move.circle])
    hosts = {host.name: host for host in Host.objects.all()}
    # Noted now: once machines have moved nobody knows any more whose waiting it was.
    named = {hosts[name].pk for move in made.moves for name in (move.source, move.target)}
    waited = waited_on(named, now) if named else {}
    machines = {str(machine): machine for machine in machines_on_hosts()}
    with transaction.atomic():
        # Plans, their moves and the balancer's row are locked in this order wherever more than one of them is.
        wishes = Wishes(now, row.last_round)
        latest = Balancer.objects.select_for_update().get(pk=row.pk)
        if circling.under_way() != plans or _told(latest) != _told(row) or _modes() != modes:
            # A person approved one meanwhile, or said otherwise what may be moved: the next round decides by that.
            transaction.set_rollback(True)
            return 0
        rows = []
        if undecided(made.refused):
            wishes.carry_on(machines)
        else:
            rows = _kept(wishes, made, machines, hosts, waited)
            wishes.end(made.moves, made.refused, machines)
        reporting.note(ruled, made, moves=len(rows), level=row.level, mode=row.mode, now=now)
        waiting = {str(item.machine) for item in rows if _waits(item, ready)}
        told = row.state
        following = _without(asdict(made.state), told, waiting)
        row.state, row.last_round = _since(following, told, latest.state), now
        row.figures = {"before": asdict(made.before), "after": asdict(made.after)}
        row.save(update_fields=("state", "last_round", "figures"))
    for item in rows:
        if item.plan_id is not None:
            # Carried out as one, by `circling.plan_round`.
            continue
        if _waits(item, ready):
            # Nothing is decided while moves run; the round after them decides anew.
            item.state, item.ended_at = "superseded", now
            why = say("note.waits")
            item.actual = {"error": str(why), "parts": parts_of(why)}
            item.save(update_fields=("state", "actual", "ended_at"))
        elif item.mode == Mode.AUTOMATIC:
            _begin(None, item, approved=False)
    if refused := {str(item.machine) for item in rows if item.actual.get("error")} - waiting:
        # What was not moved does not rest.
        with transaction.atomic():
            kept = Balancer.objects.select_for_update().get(pk=row.pk)
            kept.state = _without(kept.state, told, refused)
            kept.save(update_fields=("state",))
    return len(rows)


def _told(row: Balancer) -> list[Any]:
    """What people have told rounds, of which a round that is being made knows what was read at its beginning."""
    return [row.mode, row.calendar, *(getattr(row, name) for name in BOUNDS)]


def _modes() -> list[Any]:
    """Modes of pools, and of machines that have their own: what may be moved by itself. Two queries."""
    pools = ResourcePool.objects.order_by("pk").values_list("pk", "parent_id", "balance_mode")
    own = machines_on_hosts().select_related(None).exclude(balance_mode="")
    return [*pools, *own.order_by("pk").values_list("pk", "balance_mode")]


def _kept(
    wishes: Wishes,
    made: Round,
    machines: Mapping[str, Machine],
    hosts: Mapping[str, Host],
    waited: Mapping[Any, float],
) -> list[Recommendation]:
    """The rows of a round's moves. What a person approved while the round was made is on its way already."""
    names = {move.vm for move in made.moves}
    begun = Recommendation.objects.filter(state="moving", machine__in=machines.values())
    gone = names - set(machines) | {
        str(row.machine) for row in begun.select_related("machine__environment")
    }
    halved = {move.circle for move in made.moves if move.circle and move.vm in gone}
    rows = []
    together: dict[int, list[Recommendation]] = defaultdict(list)
    for move in made.moves:
        if move.vm in gone or move.circle in halved:
            continue
        here, there = hosts[move.source], hosts[move.target]
        effect = asdict(move.effect) | {
            "net": move.effect.net,
            "waited": round(waited.get(here.pk, 0.0) + waited.get(there.pk, 0.0), 4),
        }
        wanted = wish(move, machines[move.vm], here, there, effect)
        if move.circle:
            together[move.circle].append(wanted)
        else:
            rows.append(wishes.keep(wanted))
    for circle in made.circles:
        if circle.number in together:
            rows += wishes.keep_together(circle, together[circle.number])
    return rows


def _ready(plant: Plant, moves: Sequence[Move]) -> set[str]:
    """Machines whose automatic move may start at once: there is room for it now, and a hand at both hosts."""
    automatic = [move for move in moves if move.mode is Mode.AUTOMATIC]
    if not automatic:
        return set()
    targets = {move.vm: move.target for move in automatic}
    legs = order(plant, automatic).legs
    # A drain's moves, and those of persons, may be on the same link.
    links = Links(plant)
    return {
        leg.vm
        for leg in legs
        if leg.start_s <= 0 and leg.target == targets[leg.vm] and links.take(leg.source, leg.target)
    }


def _waits(item: Recommendation, ready: set[str]) -> bool:
    by_itself = item.mode == Mode.AUTOMATIC and item.plan_id is None
    return by_itself and str(item.machine) not in ready


def _without(state: dict[str, Any], before: dict[str, Any], names: set[str]) -> dict[str, Any]:
    """What a round tells the next, where these machines were not moved after all."""
    for key in ("moved", "left"):
        for name in names:
            state[key].pop(name, None)
            if name in before.get(key, {}):
                state[key][name] = before[key][name]
    return state


def next_round() -> dt.datetime | None:
    """When the next round is due; nothing: none is made."""
    row = balancer()
    if row.mode == Mode.OFF and not anything_balances(row):
        return None
    return (
        timezone.now() if row.last_round is None else row.last_round + dt.timedelta(seconds=EVERY_S)
    )


def anything_balances(row: Balancer) -> bool:
    """Whether a pool, a machine or a line of the calendar has a mode of its own that is not off."""
    own = {"balance_mode__in": ("", Mode.OFF)}
    return (
        any(line.get("mode") not in (None, Mode.OFF) for line in row.calendar)
        or ResourcePool.objects.exclude(**own).exists()
        or machines_on_hosts().exclude(**own).exists()
    )


@transaction.atomic
def decide(
    actor: Any,
    row: Recommendation,
    *,
    approve: bool,
    reason: str = "",
    revision: int | None = None,
) -> Recommendation:
    """Approve a recommended move, which begins at once, or reject it; with all others of its plan.

    `revision`: that of the numbers which the person saw; nothing: he takes them as they are now.

    Raises:
        PermissionRefused: balancing is for those who keep the pool.
        ValidationError: it was decided already, has materially changed since the person saw it, or the machine
            may not move now; it waits on.
    """
    require(actor, "pool")

    def check(now: Recommendation) -> None:
        if revision is not None and now.revision != revision:
            raise ValidationError(
                {
                    "revision": _("it has changed since you looked; now: %(text)s")
                    % {"text": said(now.reason)}
                }
            )

    if row.plan_id is not None:
        decided = circling.decide(actor, row, approve=approve, reason=reason, check=check)
        if approve:
            _remember(decided.plan.moves.select_related("machine__environment", "source"))
        return decided
    row = Recommendation.objects.select_for_update(of=("self",)).get(pk=row.pk)
    if row.state != "open":
        raise ValidationError(
            {"state": _("it was decided already: %(state)s") % {"state": row.get_state_display()}}
        )
    if approve:
        check(row)
    if row.machine.host_id != row.source_id:
        raise ValidationError({"machine": _("the machine has moved meanwhile")})
    row.decided_by = actor
    verb = "approve" if approve else "reject"
    record(actor, f"recommendation.{verb}", row, machine=str(row.machine), reason=reason)
    if approve:
        begun = _begin(actor, row, approved=True)
        _remember([begun])
        return begun
    row.state, row.ended_at, row.note = "rejected", timezone.now(), reason[:300]
    row.note_parts = []
    row.save(update_fields=("state", "decided_by", "ended_at", "note", "note_parts"))
    return row


def _remember(rows: Iterable[Recommendation]) -> None:
    remember(
        [
            Move(str(row.machine), row.source.name, row.destination.name, Why(row.why), "", 0.0)
            for row in rows
        ]
    )


def remember(moves: Sequence[Move]) -> None:
    """Tell the next rounds that these machines move: they rest, and do not go back for balance so soon.

    Within a transaction, with the balancer's row as the last that is locked.
    """
    kept = Balancer.objects.select_for_update().get(pk=balancer().pk)
    state = BalanceState.of(kept.state) if kept.state else BalanceState()
    kept.state = asdict(state.record(tuple(moves)))
    kept.save(update_fields=("state",))


def _since(state: dict[str, Any], read: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """What a round tells the next, with the moves that were approved while it was made."""
    for key in ("moved", "left"):
        before = read.get(key, {})
        state[key] |= {
            name: value for name, value in now.get(key, {}).items() if before.get(name) != value
        }
    return state


def _begin(actor: Any, row: Recommendation, *, approved: bool) -> Recommendation:
    try:
        row.operation = move_machine(
            actor, row.machine, row.destination, row.text[:300], approved=approved
        )
        row.state = "moving"
    except ValidationError as error:
        if actor is not None:
            raise
        # Busy or forbidden at this moment: the next round asks anew.
        row.state, row.ended_at = "superseded", timezone.now()
        row.actual = {"error": "; ".join(error.messages)[:300]}
    row.save(update_fields=("state", "operation", "decided_by", "actual", "ended_at"))
    return row


def entries(*, whole: bool = True) -> RecommendationQuerySet:
    """Recommendations with what they name, newest first; a plan as its first move with `plan.moves` read along.

    `whole` False: each move of a plan for itself.
    """
    rows = Recommendation.objects.with_names()
    if not whole:
        return rows
    moves = Prefetch("plan__moves", Recommendation.objects.with_names().order_by("pk"))
    return rows.leading().prefetch_related(moves)


def before_after(row: Recommendation | None = None) -> list[HeatChange]:
    """The pool before and after one recommended move (with those of its plan), or all that wait for a person."""
    waiting = Recommendation.objects.filter(state="open").select_related(
        "machine__environment", "destination"
    )
    rows = list(waiting)
    if row is not None:
        whole = Recommendation.objects.filter(plan=row.plan_id or 0).select_related(
            "machine__environment", "destination"
        )
        rows = list(whole) or [row]
    return heat_change({str(each.machine): each.destination.name for each in rows})
