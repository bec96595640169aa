"""News from what was written anyway: state transitions and the audit trail, both append-only, both durable; and from
what lasts (`standing`).

Reading them is the outbox pattern without a second write in every action: whatever was committed is
found, after a crash too, and a notice's unique source makes a second look harmless.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from typing import Any

from django.db import transaction
from django.db.models import Max, Q
from django.urls import reverse

from millwright.accounts.choices import Role
from millwright.accounts.models import Delegation, Membership, User
from millwright.audit.models import AuditEntry
from millwright.environments.models import Environment, Machine, Request, StateTransition

from . import standing
from .kinds import ACTIONS, KINDS, TRANSITIONS
from .models import Choice, Cursor, Delivery, Notice, Notification, Webhook

#: Transactions may commit in another order than their keys: so many are looked at again.
WINDOW = 200
#: Rows of one source in one round.
BATCH = 500
_DECIDERS = (Role.APPROVER, Role.ADMINISTRATOR)


def _fresh(source: str, rows: Any) -> tuple[Cursor, list[Any]]:
    """Rows that may be news, and the cursor, which is not saved yet."""
    newest = rows.model.objects.aggregate(newest=Max("pk"))["newest"] or 0
    cursor, _made = Cursor.objects.get_or_create(
        source=source, defaults={"first": newest, "last": newest}
    )
    floor = max(cursor.first, cursor.last - WINDOW)
    found = list(rows.filter(pk__gt=floor).order_by("pk")[:BATCH])
    cursor.last = max(cursor.last, found[-1].pk if len(found) == BATCH else newest)
    return cursor, found


def _known(sources: list[str]) -> set[str]:
    return set(Notice.objects.filter(source__in=sources).values_list("source", flat=True))


def _by_pk(model: Any, ids: set[str], *related: str) -> dict[str, Any]:
    if not ids:
        return {}
    return {str(row.pk): row for row in model.objects.filter(pk__in=ids).select_related(*related)}


def _transitions() -> tuple[Cursor, list[Notice]]:
    wanted = Q()
    for kind, aspect, before, after in TRANSITIONS:
        part = Q(subject_type=kind, aspect=aspect, after=after)
        wanted |= part & Q(before=before) if before else part
    cursor, rows = _fresh("transition", StateTransition.objects.filter(wanted))
    known = _known([f"transition:{row.pk}" for row in rows])
    rows = [row for row in rows if f"transition:{row.pk}" not in known]
    ids: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        ids[row.subject_type].add(row.subject_id)
    subjects = {
        "request": _by_pk(Request, ids["request"], "project", "requester"),
        "environment": _by_pk(Environment, ids["environment"], "project"),
    }
    made = []
    for row in rows:
        key = (row.subject_type, row.aspect, row.before, row.after)
        code = TRANSITIONS.get(key) or TRANSITIONS[(key[0], key[1], "", key[3])]
        subject = subjects.get(row.subject_type, {}).get(row.subject_id)
        if row.subject_type in subjects and subject is None:
            continue
        facts = {"name": row.subject_name, "why": row.cause}
        link = reverse("portal:host", args=[row.subject_name]) if row.subject_type == "host" else ""
        if row.subject_type == "request":
            facts["who"], facts["project"] = str(subject.requester), str(subject.project)
            facts["why"] = subject.decision_reason or (row.cause if row.after == "expired" else "")
            link = reverse("portal:request", args=[subject.pk])
        elif row.subject_type == "environment":
            facts["project"] = str(subject.project)
            link = reverse("portal:environment", args=[subject.name])
        notice = Notice(
            source=f"transition:{row.pk}",
            kind=code,
            at=row.at,
            subject_type=row.subject_type,
            subject_id=row.subject_id,
            project=subject.project if subject is not None else None,
            facts=facts,
            link=link,
        )
        made.append(notice)
    return cursor, made


def _audited() -> tuple[Cursor, list[Notice]]:
    cursor, rows = _fresh(
        "audit", AuditEntry.objects.filter(action__in=list(ACTIONS)).select_related("project")
    )
    known = _known([f"audit:{row.pk}" for row in rows])
    rows = [row for row in rows if f"audit:{row.pk}" not in known]
    machines = _by_pk(
        Machine, {row.object_id for row in rows if row.object_type == "machine"}, "environment"
    )
    made = []
    for row in rows:
        if row.details.get("in_turn"):
            # The next host follows by itself: its end is told with that of all of them.
            continue
        name, link = row.object_name, ""
        if row.object_type == "machine" and row.object_id in machines:
            name = machines[row.object_id].environment.name
        if row.object_type in ("machine", "environment"):
            link = reverse("portal:environment", args=[name])
        elif row.object_type == "user":
            link = reverse("portal:audit")
        elif row.object_type == "hostdrain":
            name = row.details["host"]
            link = reverse("portal:host", args=[name])
        elif row.object_type == "rollingdrain":
            link = reverse("portal:rolling_drain", args=[row.object_id])
        facts = {
            "name": name,
            "who": row.actor_name,
            "why": row.reason,
            "version": row.details.get("version", ""),
            "actor": str(row.actor_id or ""),
        }
        made.append(
            Notice(
                source=f"audit:{row.pk}",
                kind=ACTIONS[row.action],
                at=row.at,
                subject_type=row.object_type,
                subject_id=row.object_id,
                project=row.project,
                facts=facts,
                link=link,
            )
        )
    return cursor, made


def _leases(now: dt.datetime) -> list[Notice]:
    rows = list(
        Environment.objects.present()
        .filter(lease_ending=True, lease_until__gt=now)
        .select_related("project")[:BATCH]
    )
    # An extended lease that ends again is told again: its day is in the source.
    sources = {f"lease:{row.pk}:{row.lease_until:%Y%m%dT%H%M%S}": row for row in rows}
    known = _known(list(sources))
    return [
        Notice(
            source=source,
            kind="lease.ending",
            at=now,
            subject_type="environment",
            subject_id=str(row.pk),
            project=row.project,
            facts={
                "name": row.name,
                "project": str(row.project),
                "when": row.lease_until.isoformat(),
            },
            link=reverse("portal:environment", args=[row.name]),
        )
        for source, row in sources.items()
        if source not in known
    ]


class _Audience:
    """Who is concerned by the notices of a round; a few queries for all of them."""

    def __init__(self, notices: list[Notice]) -> None:
        people = User.objects.filter(is_active=True, is_service=False)
        self._plant = list(people.exclude(plant_role="").values_list("pk", "plant_role"))
        self._members: dict[int, list[tuple[Any, str]]] = defaultdict(list)
        projects = {notice.project_id for notice in notices if notice.project_id}
        for project, user, role in Membership.objects.filter(
            project__in=projects, user__is_active=True, user__is_service=False
        ).values_list("project_id", "user_id", "role"):
            self._members[project].append((user, role))
        self._takers: dict[Any, list[Any]] = defaultdict(list)
        for giver, taker in Delegation.objects.in_force().values_list("giver_id", "taker_id"):
            self._takers[giver].append(taker)

        def ids(kind: str) -> set[str]:
            return {row.subject_id for row in notices if row.subject_type == kind}

        self._requests = dict(
            Request.objects.filter(pk__in=ids("request")).values_list("pk", "requester_id")
        )
        self._owners = dict(
            Environment.objects.filter(pk__in=ids("environment")).values_list("pk", "owner_id")
        )
        self._requests = {str(key): value for key, value in self._requests.items()}
        self._owners = {str(key): value for key, value in self._owners.items()}

    def _with(self, project: Any, roles: tuple[str, ...]) -> set[Any]:
        found = {user for user, role in self._members[project] if role in roles}
        return found | {user for user, role in self._plant if role in roles}

    def of(self, notice: Notice) -> set[Any]:
        """Ids of people."""
        if notice.kind in ("request.submitted", "program.asked"):
            # Nobody decides his own.
            asker = self._requests.get(notice.subject_id) or notice.facts.get("actor")
            deciders = self._with(notice.project_id, _DECIDERS)
            deciders |= {taker for giver in deciders for taker in self._takers[giver]}
            return {user for user in deciders if str(user) != str(asker)}
        if notice.subject_type == "request":
            return {self._requests[notice.subject_id]}
        if notice.subject_type == "environment":
            found = {self._owners[notice.subject_id]}
            if KINDS[notice.kind].level == "danger":
                found |= {
                    user for user, role in self._members[notice.project_id] if role == Role.OPERATOR
                }
            return found
        return self._with(None, (Role.OPERATOR, Role.ADMINISTRATOR))


@transaction.atomic
def publish(notices: list[Notice], now: dt.datetime) -> None:
    """Write notices, everybody's copies, and what is to be delivered: one transaction."""
    if not notices:
        return
    Notice.objects.bulk_create(notices)
    audience = _Audience(notices)
    concerned = {notice.pk: audience.of(notice) for notice in notices}
    everybody = set().union(*concerned.values())
    choices = {(row.user_id, row.kind): row for row in Choice.objects.filter(user_id__in=everybody)}
    reachable = set(
        User.objects.filter(pk__in=everybody, is_active=True)
        .exclude(email="")
        .values_list("pk", flat=True)
    )
    hooks = list(Webhook.objects.filter(enabled=True))
    inbox, outbox = [], []
    for notice in notices:
        for user in concerned[notice.pk]:
            choice = choices.get((user, notice.kind))
            if choice is None or choice.inbox:
                inbox.append(Notification(notice=notice, user_id=user, at=notice.at))
            mailed = notice.words.mailed if choice is None else choice.mail
            if mailed and user in reachable:
                outbox.append(Delivery(notice=notice, user_id=user, created_at=now, next_at=now))
        for hook in hooks:
            if (not hook.kinds or notice.kind in hook.kinds) and hook.project_id in (
                None,
                notice.project_id,
            ):
                outbox.append(Delivery(notice=notice, webhook=hook, created_at=now, next_at=now))
    Notification.objects.bulk_create(inbox, batch_size=500)
    Delivery.objects.bulk_create(outbox, batch_size=500)


def gather(now: dt.datetime) -> int:
    """Look at every source once; returns how many notices were new."""
    total = 0
    for source in (_transitions, _audited):
        with transaction.atomic():
            cursor, notices = source()
            publish(notices, now)
            cursor.save()
        total += len(notices)
    for level in (_leases, standing.look):
        with transaction.atomic():
            notices = level(now)
            publish(notices, now)
        total += len(notices)
    return total
