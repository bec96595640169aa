"""Balancing rounds: read the plant, ask the balancer, keep every move with its reason; move what may."""

from __future__ import annotations

import datetime as dt
from dataclasses import asdict, replace
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.core.balancing import BalanceState, Mode, balance
from millwright.environments.moving import move_machine
from millwright.inventory.models import Host

from .filling import HeatChange, heat_change
from .measuring import waited_on
from .models import Balancer, Recommendation, ResourcePool
from .plant import machines_on_hosts, read_plant

#: Seconds between two rounds.
EVERY_S = 300


def balancer() -> Balancer:
    """The one row, made at first use."""
    return Balancer.objects.get_or_create(pk=1)[0]


@transaction.atomic
def set_mode(actor: Any, mode: str, level: int | None = None, reason: str = "") -> Balancer:
    """Say what rounds do: nothing, note, recommend, move; and how finely (1 to 5)."""
    require(actor, "pool")
    if mode not in set(Mode):
        raise ValidationError(
            {"mode": _("%(value)r: one of %(known)s") % {"value": mode, "known": ", ".join(Mode)}}
        )
    row = balancer()
    if level is not None and not 1 <= level <= 5:
        raise ValidationError({"level": _("%(value)s: from 1 to 5") % {"value": level}})
    row.mode, row.level = mode, level or row.level
    row.save(update_fields=("mode", "level"))
    if mode == Mode.OFF:
        Recommendation.objects.filter(state="open").update(state="superseded")
    record(actor, "balancer.mode", row, mode=mode, level=row.level, reason=reason)
    return row


def balance_round(now: dt.datetime | None = None) -> int:
    """A round when one is due; returns how many moves it decided."""
    now = now or timezone.now()
    row = balancer()
    if row.mode == Mode.OFF and not pools_balance():
        return 0
    if row.last_round is not None and now < row.last_round + dt.timedelta(seconds=EVERY_S):
        return 0
    plant = read_plant(now)
    settings = replace(plant.settings, mode=Mode(row.mode), level=row.level)
    before = BalanceState(**row.state) if row.state else None
    made = balance(replace(plant, settings=settings), before)
    hosts = {host.name: host for host in Host.objects.all()}
    # Noted now: once machines have moved nobody knows any more whose waiting it was.
    named = {hosts[name].pk for move in made.moves for name in (move.source, move.target)}
    waited = waited_on(named, now) if named else {}
    machines = {str(machine): machine for machine in machines_on_hosts()}
    with transaction.atomic():
        # What the last round wanted and this one does not say again is over.
        Recommendation.objects.filter(state="open").update(state="superseded")
        rows = [
            Recommendation.objects.create(
                machine=machines[move.vm],
                source=hosts[move.source],
                destination=hosts[move.target],
                why=str(move.why),
                text=move.text,
                seconds=move.seconds,
                effect=asdict(move.effect)
                | {"net": move.effect.net}
                | {
                    "waited": round(
                        sum(waited.get(hosts[name].pk, 0.0) for name in (move.source, move.target)),
                        4,
                    )
                },
                mode=str(move.mode),
                state="shadow" if move.mode is Mode.SHADOW else "open",
            )
            for move in made.moves
            if move.vm in machines
        ]
        row.state, row.last_round = asdict(made.state), now
        row.figures = {"before": asdict(made.before), "after": asdict(made.after)}
        row.save(update_fields=("state", "last_round", "figures"))
    for item in rows:
        if item.mode == Mode.AUTOMATIC:
            _begin(None, item, approved=False)
    return len(rows)


def pools_balance() -> bool:
    """Whether a resource pool has a mode of its own that is not off."""
    return ResourcePool.objects.exclude(balance_mode__in=("", Mode.OFF)).exists()


@transaction.atomic
def decide(actor: Any, row: Recommendation, *, approve: bool, reason: str = "") -> Recommendation:
    """Approve a recommended move, which begins at once, or reject it.

    Raises:
        PermissionRefused: balancing is for those who keep the pool.
        ValidationError: it was decided already, or the machine may not move now; it waits on.
    """
    require(actor, "pool")
    row = Recommendation.objects.select_for_update(of=("self",)).get(pk=row.pk)
    if row.state != "open":
        raise ValidationError(
            {"state": _("it was decided already: %(state)s") % {"state": row.state}}
        )
    if row.machine.host_id != row.source_id:
        raise ValidationError({"machine": _("the machine has moved meanwhile")})
    row.decided_by = actor
    verb = "approve" if approve else "reject"
    record(actor, f"recommendation.{verb}", row, machine=str(row.machine), reason=reason)
    if approve:
        return _begin(actor, row, approved=True)
    row.state = "rejected"
    row.save(update_fields=("state", "decided_by"))
    return row


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
        row.state, row.actual = "superseded", {"error": "; ".join(error.messages)[:300]}
    row.save(update_fields=("state", "operation", "decided_by", "actual"))
    return row


def newest(limit: int = 50) -> Any:
    """Recommendations, newest first, with what they name."""
    return Recommendation.objects.select_related(
        "machine__environment", "source", "destination", "operation", "decided_by"
    )[:limit]


def before_after(row: Recommendation | None = None) -> list[HeatChange]:
    """The pool before and after one recommended move, or all that wait for a person."""
    waiting = Recommendation.objects.filter(state="open").select_related(
        "machine__environment", "destination"
    )
    rows = [row] if row is not None else list(waiting)
    return heat_change({str(each.machine): each.destination.name for each in rows})
