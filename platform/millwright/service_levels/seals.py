"""Signing a month off: a hash chain over everything its figures come from, and what differs since."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Max, Q
from django.utils import timezone
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.core.sla import Interval as Span
from millwright.core.sla import Measured, month_period
from millwright.core.sla.seal import chain, first_changed, seal_digest
from millwright.environments.models import Environment

from .choices import EXCLUDING
from .contracts import plant_zone
from .measuring import measure_one
from .models import (
    Absence,
    Contract,
    CycleCount,
    Interval,
    MaintenanceWindow,
    QualityCount,
    Seal,
    ServiceSpan,
    Supersession,
)
from .words import code_of

#: Parts of the inputs, by the table they come from. Those with a key are only ever appended to.
APPENDED = {
    "contracts": Contract,
    "intervals": Interval,
    "corrections": Supersession,
    "absences": Absence,
    "cycles": CycleCount,
    "qualities": QualityCount,
}


def rows_of(environment: Environment, span: Span, part: str, last: int) -> Any:
    """The rows of one appended table that a month of an environment comes from, up to a key."""
    intervals = Interval.objects.filter(environment=environment).touching(span)
    if part == "contracts":
        return Contract.objects.filter(
            Q(environment=environment) | Q(environment=None), valid_from__lt=span.end, pk__lte=last
        ).order_by("pk").values_list(
            "pk", "environment", "service_class", "availability_ratio", "cycle_ratio", "hours",
            "missing_grace_s", "small_stop_s", "planned_counts", "valid_from", "created_by",
            "provisioning_s", "recovery_s", "device_link_ratio", "run_queue_ratio",
            "cycle_streak",
        )  # fmt: skip
    if part == "intervals":
        return intervals.filter(pk__lte=last).order_by("pk").values_list(
            "pk", "machine", "incident", "begin", "end", "kind", "cause", "why", "host", "verb",
            "reason", "written_at", "written_by", "explained_by",
        )  # fmt: skip
    if part == "corrections":
        return (
            Supersession.objects.filter(interval__in=intervals.values("pk"), pk__lte=last)
            .order_by("pk")
            .values_list("pk", "interval", "at", "verb", "actor")
        )
    if part == "absences":
        return (
            Absence.objects.filter(end__gt=span.begin, begin__lt=span.end, pk__lte=last)
            .order_by("pk")
            .values_list("pk", "begin", "end", "ordered")
        )
    if part == "qualities":
        return (
            QualityCount.objects.filter(
                environment=environment, end__gt=span.begin, begin__lt=span.end, pk__lte=last
            )
            .order_by("pk")
            .values_list("pk", "indicator", "begin", "end", "minutes", "good")
        )
    return (
        CycleCount.objects.filter(
            environment=environment, end__gt=span.begin, begin__lt=span.end, pk__lte=last
        )
        .order_by("pk")
        .values_list("pk", "machine", "begin", "end", "scans", "missed", "longest_streak")
    )


def input_rows(environment: Environment, span: Span, part: str, last: int) -> list[tuple[Any, ...]]:
    """The rows as they are hashed. What a contract does not promise is left out at its end: so seals of before
    there was such a promise hold."""
    rows = list(rows_of(environment, span, part, last))
    if part == "contracts":
        return [_promised(row) for row in rows]
    if part == "intervals":
        return [row[:-1] if row[-1] == _told(row) else row for row in rows]
    return rows


def _promised(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Without the fields at its end that came later and promise nothing, in the groups in which they came."""
    for size in (1, 2, 2):
        if any(value is not None for value in row[-size:]):
            return row
        row = row[:-size]
    return row


def _told(row: tuple[Any, ...]) -> str:
    """What explains a row of the ledger, by its words. A row whose code says the same is hashed without it, as
    before there was a code; any other code, and so every edit of one, shows."""
    kind, cause, why, host = row[5:9]
    return code_of(kind, cause, why, host)


def window_rows(environment: Environment, span: Span, until: dt.datetime) -> list[tuple[Any, ...]]:
    """Approved windows as they were at a moment: later closing does not reach back."""
    rows = MaintenanceWindow.objects.filter(
        environment=environment, begins_at__lt=span.end, decided_at__lte=until, state__in=EXCLUDING
    ).filter(Q(ends_at__gt=span.begin) | Q(every_days__gt=0))
    return [
        (
            row.pk,
            row.begins_at,
            row.ends_at,
            row.every_days,
            row.until,
            row.reason,
            row.requested_by_id,
            row.approved_by_id,
            row.decided_at,
            row.decision_reason,
            row.closed_at if row.closed_at is not None and row.closed_at <= until else None,
        )
        for row in rows.order_by("pk")
    ]


def service_rows(environment: Environment, at: dt.datetime) -> list[tuple[Any, ...]]:
    """When it was in service, as it was known at a moment."""
    rows = ServiceSpan.objects.filter(environment=environment).values_list("begin", "end")
    return [(begin, end if end is not None and end <= at else None) for begin, end in rows]


def inputs_of(
    environment: Environment, month: dt.date, at: dt.datetime, last: dict[str, int]
) -> dict[str, Any]:
    """Every part's count and digest, as of a moment."""
    span = month_period(plant_zone(), month)
    found = {
        part: {"last": newest, **chain(input_rows(environment, span, part, newest))}
        for part, newest in last.items()
    }
    found["windows"] = chain(window_rows(environment, span, at))
    found["service"] = chain(service_rows(environment, at))
    return found


def figures(measured: Measured) -> dict[str, Any]:
    """The result in a form that is the same each time: whole microseconds."""
    return {
        "eligible_us": measured.eligible // dt.timedelta(microseconds=1),
        "down_us": measured.down // dt.timedelta(microseconds=1),
        "missing_us": measured.missing // dt.timedelta(microseconds=1),
        "excluded_us": measured.excluded // dt.timedelta(microseconds=1),
        "budget_us": measured.budget // dt.timedelta(microseconds=1),
        "outages": measured.outages,
    }


def _digest(previous: str, environment: Environment, month: dt.date, inputs: dict[str, Any]) -> str:
    return seal_digest(previous, str(environment.pk), f"{month:%Y-%m}", inputs)


@transaction.atomic
def seal_month(actor: Any, environment: Environment, month: dt.date) -> Seal:
    """Sign a month off; again after corrections, with a further number.

    Raises:
        PermissionRefused: not an approver.
        ValidationError: the month is not over.
    """
    require(actor, "decide", environment.project)
    environment = Environment.objects.select_for_update(no_key=True).get(pk=environment.pk)
    month = month.replace(day=1)
    now = timezone.now()
    if month_period(plant_zone(), month).end > now:
        raise ValidationError(
            {"month": _("%(month)s is not over yet") % {"month": f"{month:%Y-%m}"}}
        )
    last = {
        part: model.objects.aggregate(last=Max("pk"))["last"] or 0
        for part, model in APPENDED.items()
    }
    inputs = {
        "at": now.isoformat(),
        **inputs_of(environment, month, now, last),
        "figures": figures(measure_one(environment.pk, month, now)),
    }
    before = Seal.objects.filter(environment=environment).order_by("-number").first()
    previous = before.digest if before is not None else ""
    seal = Seal.objects.create(
        environment=environment,
        month=month,
        number=before.number + 1 if before is not None else 1,
        made_at=now,
        made_by=actor,
        inputs=inputs,
        previous=previous,
        digest=_digest(previous, environment, month, inputs),
    )
    record(
        actor,
        "report.seal",
        seal,
        project=environment.project,
        month=f"{month:%Y-%m}",
        digest=seal.digest,
    )
    return seal


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a sealed month."""

    seal: Seal
    #: parts whose rows are not those that were sealed: somebody went past the ledger
    broken: tuple[str, ...]
    #: rows written since, through the ledger: part → number
    since: dict[str, int]
    #: figures that would be sealed now, where they differ: name → (sealed, now)
    changed: dict[str, tuple[int, int]]
    #: part → the first row that is not what was sealed, where the seal can tell: (number from 1, key)
    where: dict[str, tuple[int, str]]

    @property
    def intact(self) -> bool:
        return not self.broken


def _proof(part: dict[str, Any]) -> tuple[Any, ...]:
    """What proves a part; seals of earlier versions have no links."""
    return part.get("last"), part["count"], part["digest"]


def _where(
    environment: Environment, span: Span, part: str, sealed: dict[str, Any], at: dt.datetime
) -> tuple[int, str] | None:
    """The first row of a part that is not what was sealed."""
    if part == "windows":
        rows = window_rows(environment, span, at)
    elif part == "service":
        rows = service_rows(environment, at)
    else:
        rows = input_rows(environment, span, part, sealed[part]["last"])
    links = sealed[part].get("links")
    number = first_changed(links, chain(rows)["links"]) if links is not None else None
    if number is None:
        return None
    return number + 1, str(rows[number][0]) if number < len(rows) else "gone"


def verify_seal(seal: Seal) -> Verdict:
    """Hold a seal against what is there now."""
    environment, sealed = seal.environment, seal.inputs
    span = month_period(plant_zone(), seal.month)
    # A seal of before a part was kept says nothing of it.
    last = {part: sealed[part]["last"] for part in APPENDED if part in sealed}
    now = inputs_of(environment, seal.month, dt.datetime.fromisoformat(sealed["at"]), last)
    broken = [part for part in now if _proof(now[part]) != _proof(sealed[part])]
    at = dt.datetime.fromisoformat(sealed["at"])
    where = {part: _where(environment, span, part, sealed, at) for part in broken}
    before = Seal.objects.filter(environment=environment, number=seal.number - 1).first()
    if (before.digest if before is not None else "") != seal.previous:
        broken.append("previous")
    if _digest(seal.previous, environment, seal.month, sealed) != seal.digest:
        broken.append("seal")
    since = {}
    for part, newest in last.items():
        if newer := rows_of(environment, span, part, 2**62).filter(pk__gt=newest).count():
            since[part] = newer
    windows = len(window_rows(environment, span, timezone.now()))
    if windows > sealed["windows"]["count"]:
        since["windows"] = windows - sealed["windows"]["count"]
    figure = figures(measure_one(environment.pk, seal.month))
    changed = {
        name: (value, figure[name])
        for name, value in sealed["figures"].items()
        if figure[name] != value
    }
    told = {part: row for part, row in where.items() if row is not None}
    return Verdict(seal, tuple(broken), since, changed, told)


def verdicts_of(seals: Iterable[Seal]) -> list[Verdict]:
    """What became of each seal, the newest first; at most five of a month."""
    return [verify_seal(seal) for seal in sorted(seals, key=lambda row: -row.number)[:5]]
