"""Moves that only together lead anywhere: one plan, decided as one and carried out step by step.

A plan is a row. Each round looks where its machines are, orders what is left anew and begins what may begin
now, so that it goes on after any interruption; a step that failed is planned anew, over another third host
where it was to stand on one. Nothing else is decided by rounds meanwhile. What cannot go on for some time is
given up with its reason: every machine then stands where it may stand by every hard rule.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.core.balancing import (
    Circle,
    Leg,
    Mode,
    Move,
    Schedule,
    Why,
    mode_of,
    order,
    parts_of,
    say,
    together,
)
from millwright.core.lifecycle import OperationState
from millwright.environments.models import Machine, Operation
from millwright.environments.moving import move_machine, why_not_movable
from millwright.inventory.models import Host

from .arriving import MOVING
from .links import Links
from .models import Balancer, MovePlan, Recommendation
from .plant import machines_on_hosts, read_plant, with_disks

#: a machine's steps that may fail before the plan is given up
TRIES = 3
#: so long nothing of a plan could begin, and it is given up
PATIENCE = dt.timedelta(minutes=30)


def note_plan(circle: Circle, rows: Sequence[Recommendation], now: dt.datetime) -> MovePlan:
    """Keep a round's circle with its moves; an automatic one is begun by the next round of plans."""
    automatic = circle.mode is Mode.AUTOMATIC
    states = {Mode.SHADOW: "shadow", Mode.AUTOMATIC: "active"}
    plan = MovePlan.objects.create(
        text=str(circle.text),
        text_parts=parts_of(circle.text),
        seconds=circle.seconds,
        steps=[_step(leg) for leg in circle.legs],
        state=states.get(circle.mode, "open"),
        progress_at=now if automatic else None,
    )
    for row in rows:
        row.plan = plan
        row.state = "moving" if automatic else row.state
    Recommendation.objects.bulk_update(rows, ["plan", "state"])
    if automatic:
        record(None, "plan.start", plan, steps=_told(plan))
    return plan


def under_way() -> int:
    """How many plans are being carried out."""
    return MovePlan.objects.filter(state="active").count()


def renew(plan: MovePlan, circle: Circle) -> None:
    """A later round wants the same plan: its numbers and the order of its steps are those of now."""
    plan.text, plan.seconds = str(circle.text), circle.seconds
    plan.text_parts = parts_of(circle.text)
    plan.steps = [_step(leg) for leg in circle.legs]
    plan.save(update_fields=("text", "text_parts", "seconds", "steps"))


@transaction.atomic
def decide(
    actor: Any,
    row: Recommendation,
    *,
    approve: bool,
    reason: str = "",
    check: Callable[[Recommendation], None],
) -> Recommendation:
    """Approve the whole plan that a recommended move is part of, or reject it; one under way is stopped.

    `check`: raises where the move is not any more what the person saw.

    Raises:
        PermissionRefused: balancing is for those who keep the pool.
        ValidationError: it was decided already, or one of its machines may not move now; it waits on.
    """
    require(actor, "pool")
    plan = MovePlan.objects.select_for_update(of=("self",)).get(pk=row.plan_id)
    rows = list(plan.moves.select_related("machine__environment", "machine__host"))
    if plan.state == "active" and not approve:
        record(actor, "plan.stop", plan, reason=reason)
        _give_up(plan, say("note.stopped", person=str(actor)), timezone.now())
        return Recommendation.objects.get(pk=row.pk)
    if plan.state != "open":
        raise ValidationError(
            {"state": _("it was decided already: %(state)s") % {"state": plan.get_state_display()}}
        )
    if approve:
        check(next(each for each in rows if each.pk == row.pk))
        for each in rows:
            if each.machine.host_id != each.source_id:
                raise ValidationError({"machine": _("the machine has moved meanwhile")})
            if why := why_not_movable(each.machine, approved=True):
                raise ValidationError({"machine": why})
    plan.state = "active" if approve else "rejected"
    plan.approved, plan.decided_by = approve, actor
    plan.progress_at, plan.ended_at = timezone.now(), None if approve else timezone.now()
    plan.save()
    verb = "approve" if approve else "reject"
    record(actor, f"recommendation.{verb}", row, steps=_told(plan), reason=reason)
    ended = {} if approve else {"ended_at": timezone.now(), "note": reason[:300]}
    plan.moves.update(state="moving" if approve else "rejected", decided_by=actor, **ended)
    return Recommendation.objects.get(pk=row.pk)


def plan_round(now: dt.datetime | None = None) -> int:
    """Carry plans a step on; returns how many moves were begun."""
    now = now or timezone.now()
    active = MovePlan.objects.filter(state="active").order_by("pk").values_list("pk", flat=True)
    return sum(_carry_on(pk, now) for pk in list(active))


@transaction.atomic
def _carry_on(pk: int, now: dt.datetime) -> int:
    # Locked: neither a person's stop nor a second round comes between a step and its record.
    plan = MovePlan.objects.select_for_update(of=("self",)).get(pk=pk)
    if plan.state != "active":
        return 0
    if _look(plan, now):
        plan.save()
    if any(step["state"] == "running" for step in plan.steps):
        return 0
    machines = {str(machine): machine for machine in machines_on_hosts()}
    aims = _aims(plan, machines)
    if not aims:
        return _end(plan, now)
    failed = [step for step in plan.steps if step["state"] == "failed"]
    often = Counter(step["machine"] for step in failed)
    if failed and max(often.values()) >= TRIES:
        last = failed[-1]
        why = say("note.of", machine=last["machine"], why=last["error"])
        return _give_up(plan, why, now)
    if gone := sorted(set(aims) - set(machines)):
        return _give_up(plan, say("note.gone", names=gone), now)
    if others := _others():
        # The plant as it is read knows nothing of the room that moves on their way hold. One of them may wait for a
        # person's answer: this plan does not wait as long, since rounds decide nothing beside it.
        return _wait(plan, say("note.others", names=others), now)
    plant = with_disks(read_plant(now))
    told = Balancer.objects.filter(pk=1).values_list("mode", flat=True).first() or Mode.OFF
    by_mode = replace(plant, settings=replace(plant.settings, mode=Mode(told)))
    if not plan.approved and any(
        mode_of(by_mode, vm) is not Mode.AUTOMATIC for vm in plant.vms if vm.name in aims
    ):
        return _give_up(plan, say("note.not_automatic"), now)
    moves = [
        Move(name, machines[name].host.name, target, Why.ASKED, "", 0.0)
        for name, target in sorted(aims.items())
    ]
    avoid = {(step["machine"], step["target"]) for step in failed if step["aside"]}
    known = {host.name for host in plant.hosts}
    if plan.approved and not failed:
        # A person has seen who stands aside and where: nobody else does, and nowhere else.
        seen = {(step["machine"], step["target"]) for step in plan.steps if step["aside"]}
        avoid |= {(name, host) for name in aims for host in known} - seen
    # As few migrations as lead there: nobody goes aside for speed alone.
    ways = [each for each in avoid if each[1] in known]
    schedule = order(plant, moves, avoid=ways, eager=False)
    if schedule.dropped:
        return _wait(plan, together(each.text for each in schedule.dropped), now)
    return _begin(plan, schedule, machines, Links(plant), now)


def _others() -> list[str]:
    """Machines whose moves are on their way or ask a person something."""
    moving = Operation.objects.live().filter(kind__in=MOVING)
    rows = moving.select_related("machine__environment").order_by("created_at")
    return [str(row.machine) for row in rows]


def _look(plan: MovePlan, now: dt.datetime) -> bool:
    """Write down what became of the steps that ran; whether one ended."""
    running = [step for step in plan.steps if step["state"] == "running"]
    found = Operation.objects.in_bulk([step["operation"] for step in running])
    ended = False
    for step in running:
        operation = next((row for row in found.values() if str(row.pk) == step["operation"]), None)
        if operation is None or operation.state in (
            OperationState.FAILED,
            OperationState.CANCELLED,
        ):
            step["state"] = "failed"
            step["error"] = (operation.error if operation else "")[:300] or "the move failed"
        elif operation.state == OperationState.SUCCEEDED:
            step["state"] = "done"
        else:
            continue
        plan.progress_at, ended = now, True
    return ended


def _aims(plan: MovePlan, machines: dict[str, Machine]) -> dict[str, str]:
    """Machines that are not where the plan wants them, and where that is."""
    wanted = {
        str(row.machine): row.destination.name
        for row in plan.moves.select_related("machine__environment", "destination")
    }
    return {
        name: target
        for name, target in wanted.items()
        if name not in machines or machines[name].host.name != target
    }


def _begin(
    plan: MovePlan,
    schedule: Schedule,
    machines: dict[str, Machine],
    links: Links,
    now: dt.datetime,
) -> int:
    """Begin what may begin now; the rest is kept as the outlook."""
    hosts = {host.name: host for host in Host.objects.all()}
    steps = [step for step in plan.steps if step["state"] != "waiting"]
    started, notes = 0, []
    for leg in schedule.legs:
        step = _step(leg)
        steps.append(step)
        if leg.start_s > 0:
            continue
        if not links.take(leg.source, leg.target):
            notes.append(say("note.link", machine=leg.vm))
            continue
        try:
            operation = move_machine(
                None,
                machines[leg.vm],
                hosts[leg.target],
                plan.text[:300],
                approved=plan.approved,
            )
        except ValidationError as error:
            notes.extend(error.messages)
            continue
        step["operation"], step["state"] = str(operation.pk), "running"
        started += 1
    plan.steps = steps
    if not started:
        return _wait(plan, together(notes), now)
    plan.progress_at, plan.note, plan.note_parts = now, "", []
    plan.save()
    return started


def _wait(plan: MovePlan, note: str, now: dt.datetime) -> int:
    """Nothing can begin now, and why; after `PATIENCE` without a step that began or ended it is given up."""
    if now - (plan.progress_at or now) > PATIENCE:
        return _give_up(plan, note, now)
    plan.note, plan.note_parts = str(note)[:1000], parts_of(note)
    plan.save()
    return 0


def _end(plan: MovePlan, now: dt.datetime) -> int:
    plan.state, plan.ended_at, plan.note, plan.note_parts = "done", now, "", []
    plan.steps = [step for step in plan.steps if step["state"] != "waiting"]
    plan.save()
    _settle(plan, "superseded", "")
    record(None, "plan.end", plan, steps=_told(plan))
    return 0


def _give_up(plan: MovePlan, why: str, now: dt.datetime) -> int:
    plan.state, plan.ended_at = "given_up", now
    plan.note, plan.note_parts = str(why)[:1000], parts_of(why)
    plan.save()
    _settle(plan, "failed", why)
    record(None, "plan.give_up", plan, why=plan.note, steps=_told(plan))
    return 0


def _settle(plan: MovePlan, state: str, error: str) -> None:
    """Its moves by the step that brought the machine there; `state` for those that no step brought."""
    brought = {
        (step["machine"], step["target"]): step["operation"]
        for step in plan.steps
        if step["state"] in ("done", "running")
    }
    rows = list(plan.moves.select_related("machine__environment", "destination"))
    for row in rows:
        operation = brought.get((str(row.machine), row.destination.name))
        row.operation_id = operation
        if operation is None:
            row.state = state
            row.actual = {"error": str(error)[:300], "parts": parts_of(error)} if error else {}
            row.ended_at = plan.ended_at
    Recommendation.objects.bulk_update(rows, ["state", "operation", "actual", "ended_at"])


def _step(leg: Leg) -> dict[str, Any]:
    return {
        "machine": leg.vm,
        "source": leg.source,
        "target": leg.target,
        "aside": leg.detour,
        "operation": None,
        "state": "waiting",
        "error": "",
    }


def _told(plan: MovePlan) -> list[str]:
    """Its steps for the audit."""
    return [f"{step['machine']}: {step['source']} → {step['target']}" for step in plan.steps]
