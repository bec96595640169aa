"""What one round wants and the next wants again: the same row, with its number and its age.

A round says anew what it would move. Where that is what an earlier one said (the same machine from the same
host to the same host in the same mode, or the same plan of moves that belong together) the row is kept and its
numbers are renewed; what is no longer wanted is superseded with the reason.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db.models import Q

from millwright.core.balancing import (
    Circle,
    Code,
    Move,
    Plant,
    Refusal,
    Said,
    loads,
    memory_loads,
    parts_of,
    say,
    together,
)
from millwright.environments.models import Machine
from millwright.inventory.models import Host

from . import circling
from .models import MovePlan, Recommendation

#: A ratio of a host that changed by more since a person could have seen it makes another thing of the wish.
MATERIAL = 0.1
#: So long a person's "no" to a move holds while the hosts stand as they did.
REJECTED_HOLDS = dt.timedelta(days=1)
#: Ratios that a person judges by.
_SEEN = tuple(
    f"{of}{side}_{when}"
    for of in ("", "memory_")
    for side in ("source", "target")
    for when in ("before", "after")
)

Key = tuple[Any, Any, Any, str]


class Wishes:
    """What is wanted so far. Made in the round's transaction: it locks plans first, then moves."""

    def __init__(self, now: dt.datetime, last: dt.datetime | None) -> None:
        self._now = now
        wanted = Q(state="open")
        if last is not None:
            lately = Recommendation.objects.filter(wanted_at=last).exclude(plan=None)
            wanted |= Q(state="shadow", pk__in=lately.values("plan"))
        plans = MovePlan.objects.filter(wanted).order_by("pk")
        self._plans = {row.pk: row for row in plans.select_for_update(of=("self",))}
        wanted = Q(state="open") | Q(plan__in=list(self._plans))
        if last is not None:
            # An automatic move that could not begin just then is "superseded", and wanted all the same.
            could_not = Q(state="superseded", mode="automatic")
            alone = Q(wanted_at=last, plan=None)
            wanted |= alone & (Q(state="shadow") | could_not)
        rows = Recommendation.objects.filter(wanted).select_for_update(of=("self",))
        self._left = {
            row.pk: row
            for row in rows.select_related("machine__environment", "source", "destination")
        }
        self._alone: dict[Key, Recommendation] = {}
        self._together: dict[Any, list[Recommendation]] = defaultdict(list)
        # The newest of a key comes last: it is the one that is kept.
        for row in sorted(self._left.values(), key=lambda row: row.pk):
            if row.plan_id is None:
                self._alone[_key(row)] = row
            else:
                self._together[row.plan_id].append(row)

    def keep(self, wanted: Recommendation) -> Recommendation:
        """The row of this wish: the one that there is, renewed, or this one, saved."""
        row = self._alone.get(_key(wanted))
        if row is None:
            return self._made(wanted)
        del self._left[row.pk], self._alone[_key(wanted)]
        if row.state == "superseded":
            row.state, row.note, row.ended_at, row.actual = "open", "", None, {}
            row.note_parts = []
        self._renew(row, wanted, changed=_changed(row, wanted))
        return row

    def keep_together(
        self, circle: Circle, wanted: Sequence[Recommendation]
    ) -> list[Recommendation]:
        """The same of a plan: it is the same one when each of its moves is, and who stands aside where."""
        by_key = {_key(row): row for row in wanted}
        for number, rows in self._together.items():
            plan = self._plans[number]
            if {_key(row) for row in rows} != set(by_key) or _aside(plan) != _aside_of(circle):
                continue
            pairs = [(row, by_key[_key(row)]) for row in rows]
            changed = any(_changed(*pair) for pair in pairs)
            for row, new in pairs:
                del self._left[row.pk]
                self._renew(row, new, changed=changed)
            del self._plans[number], self._together[number]
            circling.renew(plan, circle)
            return rows
        rows = [self._made(row) for row in wanted]
        circling.note_plan(circle, rows, self._now)
        return rows

    def carry_on(self, machines: Mapping[str, Machine]) -> None:
        """Nothing was decided in this round: what was wanted is wanted on, where its machine still is."""
        gone = self._gone(machines)
        broken = {row.plan_id for row in self._left.values() if row.pk in gone}
        on = [
            pk
            for pk, row in self._left.items()
            if pk not in gone and (row.plan_id is None or row.plan_id not in broken)
        ]
        Recommendation.objects.filter(pk__in=on).update(wanted_at=self._now)
        for pk in on:
            self._plans.pop(self._left.pop(pk).plan_id, None)
        other = say("note.plan_gone")
        self._end({row.pk: gone.get(row.pk, other) for row in self._left.values()})

    def end(
        self, moves: Iterable[Move], refused: Sequence[Refusal], machines: Mapping[str, Machine]
    ) -> None:
        """What is left is no longer wanted; each with the reason."""
        elsewhere = {move.vm: move for move in moves}
        own = {refusal.vm: refusal.text for refusal in refused if refusal.vm}
        of_round = together(refusal.text for refusal in refused if not refusal.vm)
        reasons: dict[Any, str] = dict(self._gone(machines))
        for row in self._left.values():
            name = str(row.machine)
            move = elsewhere.get(name)
            if row.pk in reasons:
                continue
            if move is not None and move.target != row.destination.name:
                text = say("note.later_host", host=move.target)
            elif move is not None and str(move.mode) != row.mode:
                text = say("note.mode", mode=str(move.mode))
            elif move is not None:
                text = say("note.other_moves")
            else:
                text = own.get(name) or of_round or say("note.over")
            reasons[row.pk] = text
        self._end(reasons)

    def _made(self, row: Recommendation) -> Recommendation:
        row.created_at = row.wanted_at = self._now
        row.seen = row.effect
        row.save()
        return row

    def _renew(self, row: Recommendation, new: Recommendation, *, changed: bool) -> None:
        row.wanted_at = self._now
        if not row.seen:
            # A row from before: what it said then is what was seen.
            row.seen = row.effect
        if changed and row.state == "open":
            row.revision, row.seen = row.revision + 1, new.effect
        row.why, row.text, row.seconds, row.effect = new.why, new.text, new.seconds, new.effect
        row.text_parts = new.text_parts
        row.save()

    def _gone(self, machines: Mapping[str, Machine]) -> dict[Any, Said]:
        """Moves that cannot be made any more since their machine is not there."""
        found: dict[Any, Said] = {}
        for row in self._left.values():
            machine = machines.get(str(row.machine))
            if machine is None:
                found[row.pk] = say("note.no_host")
            elif machine.host_id != row.source_id:
                found[row.pk] = say("note.on_host", host=str(machine.host))
        return found

    def _end(self, reasons: Mapping[Any, str]) -> None:
        ended, told = [], defaultdict(list)
        for row in self._left.values():
            why = reasons.get(row.pk, "")
            if row.plan_id is not None and why:
                told[row.plan_id].append(say("note.of", machine=str(row.machine), why=why))
            if row.state not in ("open", "shadow"):
                continue
            # What was only noted stays so: how it would have gone is told of it.
            row.state = "superseded" if row.state == "open" else row.state
            row.note, row.ended_at = str(why)[:300], self._now
            row.note_parts = parts_of(why)
            ended.append(row)
        Recommendation.objects.bulk_update(ended, ["state", "note", "note_parts", "ended_at"])
        for plan in self._plans.values():
            if plan.state == "open":
                plan.state = "superseded"
            if plan.state in ("shadow", "superseded"):
                note = together(told[plan.pk])
                plan.note, plan.note_parts = str(note)[:1000], parts_of(note)
                plan.ended_at = self._now
                plan.save(update_fields=("state", "note", "note_parts", "ended_at"))
        self._left, self._plans = {}, {}


def rejected(plant: Plant, now: dt.datetime) -> set[tuple[str, str]]:
    """Machines and the hosts to which a person did not let them go, lately. One query.

    A "no" ends with its day, once its machine is elsewhere, or once one of the two hosts carries so much more or
    less that it would be another question.
    """
    rows = list(
        Recommendation.objects.filter(state="rejected", ended_at__gt=now - REJECTED_HOLDS)
        .select_related("machine__environment", "source", "destination")
        .order_by("pk")
    )
    if not rows:
        return set()
    where = {vm.name: vm.host for vm in plant.vms}
    ratios = {"": loads(plant), "memory_": memory_loads(plant)}

    def stands(row: Recommendation) -> bool:
        seen = row.seen or row.effect
        return where.get(str(row.machine)) == row.source.name and all(
            abs(found.get(host.name, 0.0) - (seen.get(f"{of}{side}_before") or 0.0)) <= MATERIAL
            for of, found in ratios.items()
            for side, host in (("source", row.source), ("target", row.destination))
        )

    return {(str(row.machine), row.destination.name) for row in rows if stands(row)}


def drop(why: str, now: dt.datetime) -> None:
    """Nothing that waits for a person is wanted any more, for one reason."""
    plans = MovePlan.objects.filter(state="open")
    ended = {"note": str(why)[:300], "note_parts": parts_of(why), "ended_at": now}
    plans.update(state="superseded", **ended)
    rows = Recommendation.objects.filter(state="open")
    rows.update(state="superseded", **ended)


def undecided(refused: Iterable[Refusal]) -> bool:
    """Whether the round decided nothing at all, since moves are on their way."""
    return any(Code.MOVES_RUNNING in refusal.codes for refusal in refused)


def wish(
    move: Move, machine: Machine, source: Host, destination: Host, effect: dict[str, Any]
) -> Recommendation:
    """A move that a round decided, not saved yet."""
    return Recommendation(
        machine=machine,
        source=source,
        destination=destination,
        why=str(move.why),
        text=str(move.text),
        text_parts=parts_of(move.text),
        seconds=move.seconds,
        effect=effect,
        mode=str(move.mode),
        state="shadow" if move.mode == "shadow" else "open",
    )


def _key(row: Recommendation) -> Key:
    return row.machine_id, row.source_id, row.destination_id, row.mode


def _changed(row: Recommendation, new: Recommendation) -> bool:
    """Whether a person who saw the one would be surprised by the other."""
    if row.why != new.why:
        return True
    seen = row.seen or row.effect
    return any(
        abs((new.effect.get(key) or 0.0) - (seen.get(key) or 0.0)) > MATERIAL for key in _SEEN
    )


def _aside(plan: MovePlan) -> set[tuple[str, str]]:
    return {(step["machine"], step["target"]) for step in plan.steps if step["aside"]}


def _aside_of(circle: Circle) -> set[tuple[str, str]]:
    return {(leg.vm, leg.target) for leg in circle.legs if leg.detour}
