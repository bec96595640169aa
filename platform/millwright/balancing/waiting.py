"""What the balancer waits for and could not do, for letters, metrics and pages: each a fixed number of queries."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from django.db.models import Exists, OuterRef, Q

from millwright.core.balancing import Said

from . import pictures, reporting
from .filling import Spare
from .models import Balancer, HostDrain, Picture, Recommendation, RollingDrain
from .querysets import RecommendationQuerySet

#: A move that failed longer ago is history.
LATELY = dt.timedelta(days=1)
#: Of so many failed moves each is told.
MOST = 200


@dataclass(frozen=True, slots=True)
class Waiting:
    """A drain that does not go on. `rolling`: the rolling drain that has come to this host, if it is that which waits.

    `blockers`: what stands in the way, each with "machine" ("": the whole drain), "why" and that as data ("parts").
    """

    pk: int
    host: str
    since: dt.datetime
    blockers: tuple[dict[str, Any], ...]
    rolling: bool


@dataclass(frozen=True, slots=True)
class Unkept:
    """A hard rule that does not hold and that nothing mends by itself, with the reason."""

    rule: str
    text: Said
    why: Said
    since: dt.datetime


def wishes() -> RecommendationQuerySet:
    """Moves that wait for a person, the oldest first; a plan as all its moves. One query."""
    rows = Recommendation.objects.filter(state="open", mode="recommend").with_names()
    return rows.order_by("created_at", "pk")


def failures(now: dt.datetime) -> RecommendationQuerySet:
    """Moves that rounds decided and that have failed lately, the newest first; of a plan the first that has failed."""
    rows = Recommendation.objects.filter(state="failed", ended_at__gt=now - LATELY)
    # What is left of a plan that a person has stopped did not fail.
    code = "actual__parts__0__code"
    rows = rows.filter(Q(**{f"{code}__isnull": True}) | ~Q(**{code: "note.stopped"}))
    # Not the plan's first move: that may have been made before another one failed.
    before = Recommendation.objects.filter(
        plan=OuterRef("plan"), state="failed", pk__lt=OuterRef("pk")
    )
    return rows.filter(Q(plan=None) | ~Exists(before)).order_by("-ended_at", "-pk")


def standing_failures(now: dt.datetime) -> list[Recommendation]:
    """Of `failures` those whose machine no later move has brought anywhere. One query."""
    later = Recommendation.objects.filter(
        machine=OuterRef("machine"), state="moved", pk__gt=OuterRef("pk")
    )
    return list(failures(now).filter(~Exists(later)).with_names()[:MOST])


def drains() -> list[Waiting]:
    """Drains under way that do not go on, the longest first. Two queries.

    Those that a person has paused are none, and neither are those for sleep: they are called off by themselves.
    """
    found = []
    rolling = list(RollingDrain.objects.filter(state__in=RollingDrain.LIVE))
    paused = {row.drain_id for row in rolling if row.state == "paused"}
    rows = HostDrain.objects.filter(state="active", waiting_since__isnull=False, sleep_until=None)
    for drain in rows.select_related("host"):
        if drain.pk not in paused:
            since = drain.waiting_since or drain.created_at
            found.append(Waiting(drain.pk, drain.host.name, since, tuple(drain.blockers), False))
    told = {row.host for row in found}
    for row in rolling:
        at = next((each for each in row.progress if each["state"] not in ("done", "skipped")), None)
        if row.state != "active" or not row.note or at is None or at["host"] in told:
            continue
        why = ({"machine": "", "why": row.note, "parts": row.note_parts},)
        found.append(Waiting(row.pk, at["host"], row.waiting_since or row.created_at, why, True))
    return sorted(found, key=lambda row: (row.since, row.host))


def unmended(now: dt.datetime) -> list[Unkept] | None:
    """Hard rules that do not hold and are not being mended, by the newest round; None: no round says. One query."""
    row = reporting.last()
    if row is None or row.at < now - reporting.STALE:
        return None
    return [
        Unkept(
            name,
            Said(entry["text"], entry.get("parts", ())),
            Said(entry["why"], entry.get("why_parts", ())),
            _moment(entry.get("since")) or row.at,
        )
        for name, entry in reporting.broken_rules(row).items()
        if not entry["mending"]
    ]


def spare(now: dt.datetime) -> Spare | None:
    """Room for lost hosts that is wanted and that is there, as it was counted last; None where nobody knows.

    With nothing wanted both are 0. Two queries.
    """
    wanted = Balancer.objects.values_list("spare_hosts", flat=True).first() or 0
    if not wanted:
        return Spare(0, 0, 0, (), complete=True)
    rows = Picture.objects.filter(name=pictures.SPARE, as_of__gt=now - pictures.STALE)
    body: dict[str, Any] | None = rows.values_list("body", flat=True).first()
    if body is None or body["wanted"] != wanted:
        return None
    return Spare(**body | {"hosts": tuple(body["hosts"])})


def _moment(text: str | None) -> dt.datetime | None:
    return dt.datetime.fromisoformat(text) if text else None
