"""News of what lasts: moves that wait for a word, drains that do not go on, rules that stay broken, room used up.

None of them is an event that somebody wrote down: they are so, for a while, and may come and go. A row for each
(`Standing`) is what was told already. It is told once it has lasted (`Term.lasting`), and again only after it has
been gone for some time (`Term.rest`), so that what comes and goes with every round fills nobody's inbox.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.urls import reverse

from millwright.balancing import waiting
from millwright.balancing.models import Recommendation
from millwright.core.balancing import Said, parts_of, say, together
from millwright.inventory.waking import not_waking

from .models import Notice, Standing

MINUTE = dt.timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Term:
    """How long something must last before it is told, and be gone before it is over."""

    lasting: dt.timedelta
    rest: dt.timedelta


#: By the first part of a key. A round comes every five minutes, a look at drains twice a minute.
TERMS: Mapping[str, Term] = {
    "wish": Term(0 * MINUTE, 60 * MINUTE),
    # Told as soon as it is known; over when a later move brought the machine somewhere, or after a day.
    "failed": Term(0 * MINUTE, 0 * MINUTE),
    "drain": Term(2 * MINUTE, 15 * MINUTE),
    # A host that is worked on does not answer for a while.
    "rolling": Term(15 * MINUTE, 15 * MINUTE),
    # Two rounds: the first may have had no hand free for it.
    "rule": Term(10 * MINUTE, 30 * MINUTE),
    # The operation that failed was patient already.
    "wake": Term(0 * MINUTE, 0 * MINUTE),
    "spare": Term(5 * MINUTE, 15 * MINUTE),
}
#: Names and reasons that a sentence holds; of more the number is told.
NAMED = 5


@dataclass(frozen=True, slots=True)
class Thing:
    """What stands: what a notice of it says."""

    kind: str
    facts: dict[str, Any]
    link: str
    subject: tuple[str, str]


@dataclass(frozen=True, slots=True)
class Look:
    """All of one family at this moment. `blind`: nobody knows, and what was told stays as it is.

    `settled`: keys that a person or a move has dealt with: gone at once. `together`: one notice for all that is new.
    `over`: what is told when one is over.
    """

    family: str
    things: Mapping[str, Thing] = field(default_factory=dict)
    blind: bool = False
    settled: frozenset[str] = frozenset()
    together: Callable[[Sequence[str]], Thing] | None = None
    over: Thing | None = None


def look(now: dt.datetime) -> list[Notice]:
    """What is to be told now, not saved yet; what stands is written down. A fixed number of queries where nothing
    changed. Wants a transaction in which the notices are published too."""
    rows: dict[str, dict[str, Standing]] = {family: {} for family in TERMS}
    for row in Standing.objects.all():
        rows[row.key.partition(":")[0]][row.key] = row
    notices: list[Notice] = []
    for found in (
        _wishes(rows["wish"]),
        _failures(now),
        *_drains(),
        _rules(now),
        _spare(now),
        _sleepers(),
    ):
        if not found.blind:
            notices += _appeared(found, rows[found.family], now)
            notices += _gone(found, rows[found.family], now)
    return notices


def _appeared(found: Look, rows: dict[str, Standing], now: dt.datetime) -> list[Notice]:
    lasting, fresh = TERMS[found.family].lasting, []
    for key in found.things:
        row = rows.get(key)
        if row is None:
            row = rows[key] = Standing.objects.create(key=key, since=now)
        elif row.gone_at is not None:
            row.gone_at = None
            row.save(update_fields=("gone_at",))
        if row.told_at is None and now - row.since >= lasting:
            row.told_at = now
            row.save(update_fields=("told_at",))
            fresh.append(row)
    if found.together is not None and fresh:
        thing = found.together([row.key for row in fresh])
        return [_notice(f"standing:{fresh[0].pk}", thing, now)]
    return [_notice(f"standing:{row.pk}", found.things[row.key], now) for row in fresh]


def _gone(found: Look, rows: dict[str, Standing], now: dt.datetime) -> list[Notice]:
    rest, notices = TERMS[found.family].rest, []
    for key, row in rows.items():
        if key in found.things:
            continue
        if row.gone_at is None and row.told_at is not None and key not in found.settled:
            row.gone_at = now
            row.save(update_fields=("gone_at",))
        if row.gone_at is None or key in found.settled or now - row.gone_at >= rest:
            if found.over is not None and row.told_at is not None:
                notices.append(_notice(f"standing:{row.pk}:over", found.over, now))
            row.delete()
    return notices


def _notice(source: str, thing: Thing, now: dt.datetime) -> Notice:
    return Notice(
        source=source,
        kind=thing.kind,
        at=now,
        subject_type=thing.subject[0],
        subject_id=thing.subject[1],
        facts=thing.facts,
        link=thing.link,
    )


def _listed(texts: Sequence[str]) -> str:
    """The first of them in one line, and how many more there are."""
    more = f"; … (+{len(texts) - NAMED})" if len(texts) > NAMED else ""
    return "; ".join(texts[:NAMED]) + more


def _way(row: Recommendation) -> str:
    return f"{row.machine}: {row.source} → {row.destination}"


def _wishes(rows: Mapping[str, Standing]) -> Look:
    """Recommended moves, by machine and way: what a round wants again under another number is the same."""
    waits = {_wish_key(row): row for row in waiting.wishes()}
    plans = {row.plan_id or f"alone {row.pk}" for row in waits.values()}

    def told(keys: Sequence[str]) -> Thing:
        fresh = [waits[key] for key in keys]
        facts = {
            "name": _listed([_way(row) for row in fresh]),
            "count": len({row.plan_id or f"alone {row.pk}" for row in fresh}),
            "waiting": len(plans),
            "moves": [
                {
                    "machine": str(row.machine),
                    "source": row.source.name,
                    "destination": row.destination.name,
                    "why": row.text,
                }
                for row in fresh
            ],
        }
        return Thing("balancer.waits", facts, reverse("portal:balancing"), ("balancer", "1"))

    things = dict.fromkeys(waits, Thing("balancer.waits", {}, "", ("balancer", "1")))
    left = [key for key, row in rows.items() if key not in waits and row.gone_at is None]
    return Look("wish", things, settled=_decided(left), together=told)


def _wish_key(row: Recommendation) -> str:
    return f"wish:{row.machine_id}:{row.source_id}:{row.destination_id}"


def _decided(keys: Sequence[str]) -> frozenset[str]:
    """Those whose newest row a person decided: what a later round wants is another question. One query if any."""
    if not keys:
        return frozenset()
    machines = {key.split(":")[1] for key in keys}
    rows = Recommendation.objects.filter(machine__in=machines, mode="recommend").order_by("pk")
    newest = {_wish_key(row): row.state for row in rows}
    return frozenset(key for key in keys if newest.get(key, "") not in ("open", "superseded"))


def _failures(now: dt.datetime) -> Look:
    """What a person approved is told each time; what rounds do by themselves once for a machine."""
    things = {}
    for row in reversed(waiting.standing_failures(now)):
        key = f"failed:{row.pk}" if row.decided_by_id else f"failed:machine:{row.machine_id}"
        things[key] = Thing(
            "move.failed",
            {
                "name": str(row.machine),
                "host": row.destination.name,
                "source": row.source.name,
                **_reason([Said(row.actual.get("error", ""), row.actual.get("parts", ()))]),
            },
            reverse("portal:operation", args=[row.operation_id])
            if row.operation_id
            else reverse("portal:balancing"),
            ("recommendation", str(row.pk)),
        )
    return Look("failed", things)


def _drains() -> tuple[Look, Look]:
    found: dict[str, dict[str, Thing]] = {"drain": {}, "rolling": {}}
    for row in waiting.drains():
        texts = [_blocker(entry) for entry in row.blockers]
        family = "rolling" if row.rolling else "drain"
        link = (
            reverse("portal:rolling_drain", args=[row.pk])
            if row.rolling
            else reverse("portal:host_drain", args=[row.host])
        )
        found[family][f"{family}:{row.pk}"] = Thing(
            "drain.waits",
            {"name": row.host, **_reason(texts), "blockers": list(row.blockers)},
            link,
            ("host", row.host),
        )
    return Look("drain", found["drain"]), Look("rolling", found["rolling"])


def _blocker(entry: Mapping[str, Any]) -> Said:
    """The reason, with the machine where it does not name it."""
    machine = entry["machine"]
    why = Said(entry["why"], entry.get("parts") or parts_of(entry["why"]))
    return why if machine in why else say("note.of", machine=machine, why=why)


def _reason(texts: Sequence[Said]) -> dict[str, Any]:
    """The first of them in one line, as text and as data, and how many more there are."""
    more = [f"… (+{len(texts) - NAMED})"] if len(texts) > NAMED else []
    # What has no parts is somebody's own words, and is said as they are.
    why = together([*(text if text.parts else str(text) for text in texts[:NAMED]), *more])
    return {"why": str(why), "why_parts": list(why.parts) if any(t.parts for t in texts) else []}


def _rules(now: dt.datetime) -> Look:
    broken = waiting.unmended(now)
    if broken is None:
        return Look("rule", blind=True)
    things = {
        f"rule:{row.rule}": Thing(
            "rule.broken",
            {"name": row.rule, **_reason([row.why or row.text]), "broken": str(row.text)},
            reverse("portal:rules"),
            ("placementrule", row.rule),
        )
        for row in broken
    }
    return Look("rule", things)


def _sleepers() -> Look:
    """Hosts that were to wake and have not; tried again meanwhile."""
    things = {
        f"wake:{row.host.pk}": Thing(
            "host.not_waking",
            {"name": row.host.name, "why": row.why, "tries": row.tries},
            reverse("portal:host", args=[row.host.name]),
            ("host", row.host.name),
        )
        for row in not_waking()
    }
    return Look("wake", things)


def _spare(now: dt.datetime) -> Look:
    room = waiting.spare(now)
    if room is None:
        return Look("spare", blind=True)
    facts = {"wanted": room.wanted, "kept": room.kept}
    link, subject = reverse("portal:capacity"), ("balancer", "1")
    if room.kept < room.wanted:
        names = ", ".join(room.hosts)
        told = {**facts, "name": names, "count": room.left, "hosts": list(room.hosts)}
        return Look("spare", {"spare:1": Thing("spare.gone", told, link, subject)})
    if not room.wanted:
        # Nobody wants it any more: nothing came back.
        return Look("spare", settled=frozenset({"spare:1"}))
    return Look("spare", over=Thing("spare.back", facts, link, subject))
