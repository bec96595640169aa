"""What rounds say of themselves: why nothing was done, what is broken, and what shadow would have brought."""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from django.db.models import Count
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from millwright.core.balancing import (
    LEVELS,
    Code,
    Mode,
    Plant,
    Round,
    RuleKind,
    Said,
    Violation,
    Why,
    after,
    loads,
    memory_loads,
    parts_of,
    say,
    together,
)

from .models import BalanceRound, MovePlan, Recommendation
from .wishes import undecided

#: refusals and violations that a round keeps in full
MOST = 200
#: rounds are kept for so long, and wishes that came to nothing
ROUNDS_KEPT, WISHES_KEPT = dt.timedelta(days=14), dt.timedelta(days=90)
#: a round stands for the time until the next one
MINUTES = 5
#: what an older round said tells nothing of now
STALE = dt.timedelta(minutes=6 * MINUTES)
#: what shadow is judged by
JUDGED = dt.timedelta(days=7)

#: Reasons of a round, for people, the weightiest first.
TITLES = {
    Code.MOVES_RUNNING: gettext_lazy("Moves are under way: the first round after them decides"),
    Code.SPARE: gettext_lazy("No room to spare for lost hosts"),
    Code.NO_HOST: gettext_lazy("Machines that ought to move, and no host takes them"),
    Code.NEVER_MOVES: gettext_lazy("Machines that ought to move, and are never moved"),
    Code.REJECTED: gettext_lazy("Moves that a person said no to"),
    Code.MODE_OFF: gettext_lazy("Machines that ought to move, and whose balancing is off"),
    Code.WINDOW_CLOSED: gettext_lazy("Machines that wait for their window"),
    Code.NOT_SUSTAINED: gettext_lazy("It has not lasted long enough yet"),
    Code.NO_GAIN: gettext_lazy("No move that is allowed is worth its cost and risk"),
    Code.LIMIT: gettext_lazy("Enough moves for one round"),
    Code.COOLDOWN: gettext_lazy("Machines that rest after a move"),
}


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something was not done: a title, how many of it, and the first of them in the round's words."""

    code: str
    title: str
    count: int
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ShadowSum:
    """What shadow would have done: for all (`pool` empty) or the machines of a pool. Minutes of hosts.

    `above`: above the threshold as it was; `foreseen`: with the moves, as they were foreseen.
    """

    pool: str
    moves: int
    above_minutes: int
    foreseen_minutes: int


def note(
    plant: Plant, made: Round, *, moves: int, level: int, mode: str, now: dt.datetime
) -> BalanceRound:
    """Keep what a round said; of the one before only its numbers."""
    known = _known(now)
    BalanceRound.objects.exclude(refused=[], violations=[]).update(refused=[], violations=[])
    refused = [
        {
            "machine": refusal.vm,
            "code": str(refusal.codes[0]) if refusal.codes else "",
            "text": str(refusal.text),
            "parts": parts_of(refusal.text),
        }
        for refusal in made.refused
    ]
    broken = [
        {
            "kind": entry.kind,
            "subject": entry.subject,
            "text": str(entry.text),
            "parts": parts_of(entry.text),
            **_judged(known.get((str(entry.kind), entry.subject)), plant, made, entry, now),
        }
        for entry in made.violations[:MOST]
    ]
    return BalanceRound.objects.update_or_create(
        at=now,
        defaults={
            "mode": mode,
            "level": level,
            "moves": moves,
            "figures": {"before": asdict(made.before), "after": asdict(made.after)},
            # What concerns the whole round comes first.
            "refused": sorted(refused, key=lambda row: row["machine"] != "")[:MOST],
            "counts": dict(Counter(row["code"] for row in refused)),
            "violations": broken,
            "broken": len(made.violations),
            "shadow": _in_shadow(plant, made, level),
        },
    )[0]


def last() -> BalanceRound | None:
    """The newest round."""
    return BalanceRound.objects.first()


def reasons(row: BalanceRound | None, *, texts: int = 20) -> list[Reason]:
    """Why it did nothing, or nothing more, by kind."""
    if row is None:
        return []
    found: dict[str, list[str]] = defaultdict(list)
    for refusal in row.refused:
        found[refusal["code"]].append(Said(refusal["text"], refusal.get("parts", ())))
    known = [str(code) for code in TITLES]
    order = sorted(row.counts, key=lambda code: known.index(code) if code in known else len(known))
    return [
        Reason(
            code,
            str(TITLES[Code(code)]) if code in known else _("Other reasons"),
            row.counts[code],
            tuple(found[code][:texts]),
        )
        for code in order
    ]


def broken_rules(row: BalanceRound | None) -> dict[str, dict[str, Any]]:
    """Hard rules that did not hold in the round, by name, each with why it is not mended."""
    kinds = set(RuleKind)
    return {
        entry["subject"]: entry
        for entry in (row.violations if row is not None else [])
        if entry["kind"] in kinds
    }


def shadow_sums(now: dt.datetime, over: dt.timedelta = JUDGED) -> list[ShadowSum]:
    """What shadow would have done lately: for all first, then by resource pool. Two queries."""
    since = now - over
    above: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    rounds = BalanceRound.objects.filter(at__gt=since).exclude(shadow={})
    for told in rounds.values_list("shadow", flat=True):
        for pool, hosts in told.items():
            above[pool][0] += hosts["above"] * MINUTES
            above[pool][1] += hosts["foreseen"] * MINUTES
    wished = Recommendation.objects.filter(mode="shadow", wanted_at__gt=since)
    moves: Counter[str] = Counter()
    for row in wished.order_by().values("machine__pool__name").annotate(count=Count("pk")):
        moves[""] += row["count"]
        if row["machine__pool__name"]:
            moves[row["machine__pool__name"]] += row["count"]
    return [
        ShadowSum(pool, moves[pool], *above[pool]) for pool in sorted(above.keys() | moves.keys())
    ]


def forget(now: dt.datetime) -> int:
    """Old rounds go, and wishes that came to nothing; what was moved, failed or rejected stays."""
    gone = BalanceRound.objects.filter(at__lt=now - ROUNDS_KEPT).delete()[0]
    cut = now - WISHES_KEPT
    nothing = ("superseded", "shadow")
    plans = MovePlan.objects.filter(state__in=nothing, created_at__lt=cut)
    # Of a plan that was carried out the moves that no step brought belong to its story.
    rows = Recommendation.objects.filter(state__in=nothing, created_at__lt=cut)
    rows = rows.filter(plan=None) | rows.filter(plan__in=plans)
    rows = rows.exclude(wanted_at__gte=cut)
    gone += Recommendation.objects.filter(pk__in=list(rows.values_list("pk", flat=True))).delete()[
        0
    ]
    return int(gone + plans.filter(moves=None).delete()[0])


def _known(now: dt.datetime) -> dict[tuple[str, str], dict[str, Any]]:
    """What the round before found broken, by kind and subject."""
    before = BalanceRound.objects.filter(at__lt=now, at__gte=now - STALE).first()
    rows = before.violations if before is not None else []
    return {(entry["kind"], entry["subject"]): entry for entry in rows}


def _judged(
    before: dict[str, Any] | None, plant: Plant, made: Round, entry: Violation, now: dt.datetime
) -> dict[str, Any]:
    """Why it is not mended and since when it does not hold, with what the round before said of it."""
    since = {"since": (before or {}).get("since") or now.isoformat()}
    if before is not None and before["mending"] and undecided(made.refused):
        # What was decided is under way: this round only waits for it.
        told = {"why": before["why"], "why_parts": before.get("why_parts", [])}
        return {**told, "mending": True, **since}
    return {**_not_mended(plant, made, entry), **since}


def _not_mended(plant: Plant, made: Round, entry: Violation) -> dict[str, Any]:
    """Why what is broken is not mended in this round, or by which move it is."""
    names = _concerned(plant, entry)
    would = [
        move
        for move in made.moves
        if move.vm in names and move.why not in (Why.CONTENTION, Why.MEMORY, Why.EVEN)
    ]
    for mode, code in (
        (Mode.AUTOMATIC, "note.mended"),
        (Mode.RECOMMEND, "note.for_person"),
        (Mode.SHADOW, "note.in_shadow"),
    ):
        if found := [f"{m.vm}: {m.source} → {m.target}" for m in would if m.mode is mode]:
            why = say(code, names=found[:5])
            break
    else:
        mode = Mode.OFF
        own = [refusal.text for refusal in made.refused if refusal.vm in names]
        of_round = [refusal.text for refusal in made.refused if not refusal.vm]
        why = together((own or of_round)[:5])
    return {"why": str(why), "why_parts": parts_of(why), "mending": mode is Mode.AUTOMATIC}


def _concerned(plant: Plant, entry: Violation) -> set[str]:
    """Machines that what is broken is about: a rule's, a host's, or the machine itself."""
    if entry.kind in set(RuleKind):
        return {name for rule in plant.rules if rule.name == entry.subject for name in rule.vms}
    on_it = {vm.name for vm in plant.vms if vm.host == entry.subject}
    return on_it or {entry.subject}


def _in_shadow(plant: Plant, made: Round, level: int) -> dict[str, dict[str, int]]:
    """Hosts above the threshold now, and how many would be with the moves that shadow notes."""
    told = [
        plant.settings.mode,
        *(pool.mode for pool in plant.pools),
        *(vm.mode for vm in plant.vms),
    ]
    if Mode.SHADOW not in told or plant.settings.moves_running:
        return {}
    moves = [move for move in made.moves if move.mode is Mode.SHADOW]
    now = _above(plant, level)
    foreseen = _above(after(plant, moves), level) if moves else now
    found = {"": {"above": len(now), "foreseen": len(foreseen)}}
    pools = {vm.name: vm.pool for vm in plant.vms}
    touched: dict[str, set[str]] = defaultdict(set)
    for move in moves:
        if pools.get(move.vm):
            touched[pools[move.vm]] |= {move.source, move.target}
    for pool, hosts in touched.items():
        found[pool] = {"above": len(now & hosts), "foreseen": len(foreseen & hosts)}
    return found


def _above(plant: Plant, number: int) -> set[str]:
    level = LEVELS[number]
    pairs: Iterable[tuple[dict[str, float], float]] = ((loads(plant), level.threshold),)
    if level.memory:
        pairs = (*pairs, (memory_loads(plant), level.memory_threshold))
    return {name for ratios, most in pairs for name, ratio in ratios.items() if ratio > most}
