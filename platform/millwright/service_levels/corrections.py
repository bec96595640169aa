"""What people do with the ledger's rows: give a cause, split, merge, comment, acknowledge. Each is a new row."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.core.sla import COUNTED, Cause
from millwright.core.sla.causes import ORDERED

from .contracts import contract_of
from .measuring import mark_stale
from .models import Interval, Note, Supersession

#: Rows further apart are not one incident.
MOST_APART = dt.timedelta(hours=1)


def _current(rows: Sequence[Interval]) -> list[Interval]:
    """The rows, locked and still current, in order of time."""
    found = list(
        Interval.objects.select_for_update(of=("self",))
        .filter(pk__in=[row.pk for row in rows])
        .select_related("environment__project")
        .order_by("begin")
    )
    if Supersession.objects.filter(interval__in=found).exists():
        raise ValidationError({"interval": _("somebody corrected it meanwhile; look at it again")})
    return found


def counts(row: Interval, cause: str) -> bool:
    """Whether a row would use the budget with that cause."""
    if cause in ORDERED:
        return contract_of(row.environment, row.begin).planned_counts
    return cause in COUNTED


def _replace(
    olds: Sequence[Interval], actor: Any, verb: str, reason: str, news: Sequence[dict[str, Any]]
) -> list[Interval]:
    now = timezone.now()
    for old in olds:
        Supersession.objects.create(interval=old, verb=verb, actor=actor, at=now)
    first = olds[0]
    base = {
        "environment": first.environment,
        "machine_id": first.machine_id,
        "kind": first.kind,
        "why": first.why,
        "explained_by": first.explained_by,
        "host": first.host,
        "verb": verb,
        "reason": reason[:300],
        "written_by": actor,
        "written_at": now,
    }
    made = [Interval.objects.create(**{**base, **new}) for new in news]
    mark_stale([(first.environment_id, first.begin)])
    return made


@transaction.atomic
def classify_interval(actor: Any, row: Interval, cause: str, reason: str = "") -> Interval:
    """Give a row its cause. What takes it out of the budget is an approver's to say, with a reason.

    Raises:
        PermissionRefused: the person may not.
        ValidationError: cause, reason, or somebody was faster.
    """
    if cause not in set(Cause):
        raise ValidationError({"cause": _("%(value)r is no cause") % {"value": cause}})
    (row,) = _current([row])
    project = row.environment.project
    require(actor, "operate", project)
    reason = reason.strip()
    if counts(row, row.cause) and not counts(row, cause):
        require(actor, "decide", project)
        if not reason:
            raise ValidationError(
                {
                    "reason": _(
                        "it will not use the budget any more: say why; it stands in the report"
                    )
                }
            )
    if row.cause == cause and row.written_by_id is not None and not reason:
        return row
    (made,) = _replace(
        [row],
        actor,
        "classify",
        reason,
        [{"begin": row.begin, "end": row.end, "cause": cause, "incident": row.incident}],
    )
    record(
        actor,
        "ledger.classify",
        made,
        project=project,
        reason=reason,
        before=row.cause,
        after=cause,
        begin=row.begin.isoformat(),
    )
    return made


@transaction.atomic
def split_interval(
    actor: Any, row: Interval, at: dt.datetime, reason: str = ""
) -> tuple[Interval, Interval]:
    """Two rows for one, so that each part gets its own cause. Only what is over can be split."""
    (row,) = _current([row])
    require(actor, "operate", row.environment.project)
    if row.end is None:
        raise ValidationError({"interval": _("it is not over yet")})
    if not row.begin < at < row.end:
        raise ValidationError(
            {
                "at": _("%(at)s: must lie between %(begin)s and %(end)s")
                % {"at": f"{at:%F %T}", "begin": f"{row.begin:%F %T}", "end": f"{row.end:%F %T}"}
            }
        )
    one, two = _replace(
        [row],
        actor,
        "split",
        reason.strip(),
        [
            {"begin": row.begin, "end": at, "cause": row.cause, "incident": row.incident},
            {"begin": at, "end": row.end, "cause": row.cause},
        ],
    )
    record(
        actor,
        "ledger.split",
        one,
        project=row.environment.project,
        reason=reason,
        at=at.isoformat(),
    )
    return one, two


@transaction.atomic
def merge_intervals(actor: Any, rows: Sequence[Interval], reason: str = "") -> Interval:
    """One row for several of one machine, from the first begin to the last end; the time between counts too."""
    rows = _current(rows)
    if len(rows) < 2:
        raise ValidationError({"interval": _("choose at least two rows")})
    first = rows[0]
    require(actor, "operate", first.environment.project)
    if any(row.machine_id != first.machine_id or row.kind != first.kind for row in rows):
        raise ValidationError({"interval": _("only rows of one machine and one kind can be one")})
    ends = [row.end for row in rows]
    if any(end is None for end in ends):
        raise ValidationError({"interval": _("it is not over yet")})
    for before, after in pairwise(rows):
        if before.end is not None and after.begin - before.end > MOST_APART:
            raise ValidationError(
                {"interval": _("%(begin)s begins more than an hour later") % {"begin": after.begin}}
            )
    last = max(end for end in ends if end is not None)
    between = (
        Interval.objects.current()
        .filter(machine=first.machine_id, begin__lt=last, end__gt=first.begin)
        .exclude(pk__in=[row.pk for row in rows])
    )
    if between.exists():
        raise ValidationError({"interval": _("another row lies between them; choose it too")})
    causes = [row.cause for row in rows if row.cause != Cause.UNKNOWN]
    merged = causes[0] if causes and len(set(causes)) == 1 else str(Cause.UNKNOWN)
    if any(counts(row, row.cause) for row in rows) and not counts(first, merged):
        # The one that is counted must not go under in the others.
        merged = str(Cause.UNKNOWN)
    (made,) = _replace(
        rows,
        actor,
        "merge",
        reason.strip(),
        [{"begin": first.begin, "end": last, "cause": merged, "incident": first.incident}],
    )
    record(
        actor,
        "ledger.merge",
        made,
        project=first.environment.project,
        reason=reason,
        rows=len(rows),
    )
    return made


@transaction.atomic
def note_interval(actor: Any, row: Interval, text: str = "", *, acknowledge: bool = False) -> Note:
    """A comment on an incident, or the word that somebody has seen it; it stays through corrections."""
    require(actor, "operate", row.environment.project)
    text = text.strip()
    if not text and not acknowledge:
        raise ValidationError({"text": _("write a comment")})
    if len(text) > 4000:
        raise ValidationError(
            {"text": _("%(length)s characters: at most 4000") % {"length": len(text)}}
        )
    kind = "acknowledge" if acknowledge else "comment"
    if acknowledge:
        before = Note.objects.filter(incident=row.incident, kind=kind, actor=actor).first()
        if before is not None and not text:
            return before
    note = Note.objects.create(
        incident=row.incident, environment=row.environment, kind=kind, text=text, actor=actor
    )
    record(actor, f"ledger.{kind}", row, project=row.environment.project, reason=text[:300])
    return note
