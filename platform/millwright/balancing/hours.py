"""The plant's calendar: what is promised, movable and balanced by shift or until a date, over what people set.

Its lines are those of a snapshot's `calendar`, in the plant's own time; later ones lie on top. They are read
wherever the plant is, so that rounds, drains, recoveries and what hosts give follow them.
"""

from __future__ import annotations

import datetime as dt
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.dates import WEEKDAYS_ABBR
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.core.balancing import Entry, Plant, Pool, SnapshotError, Vm, at, read_plant
from millwright.core.balancing.bounds import BOUNDS as MODEL
from millwright.core.balancing.calendar import YEARS, bounds, holds, moment, next_change
from millwright.core.lifecycle import Movability
from millwright.environments.models import Machine
from millwright.settings import get_settings

from .models import Balancer, ResourcePool

#: Lines that a calendar has at most, and what people may set, as for machines and pools.
MOST_LINES = 200
BOUNDS = {name: MODEL[name] for name in ("shares", "priority")} | {"reservation": (0, 1e6)}
BOUNDS["limit"] = BOUNDS["reservation"]


#: What a line may say of those whom it is for.
SAID = ("shares", "reservation", "limit", "priority", "movability", "mode", "window")


@dataclass(frozen=True, slots=True)
class Line:
    """One line as people read it, whether it holds now, and until or from when."""

    name: str
    whom: str
    when: str
    #: what it says, by the names of `SAID`
    what: Mapping[str, Any]
    now: bool
    #: in the plant's own time; nothing: it holds for ever, or never again
    changes: dt.datetime | None = None
    #: names of machines and pools that are no longer there
    gone: tuple[str, ...] = ()


def kept() -> list[dict[str, Any]]:
    """The lines as they were given. One query."""
    row = Balancer.objects.filter(pk=1).values_list("calendar", flat=True).first()
    return list(row or [])


@transaction.atomic
def set_calendar(actor: Any, lines: object, reason: str = "") -> list[dict[str, Any]]:
    """Take these lines in place of those there were; they hold from the next round on.

    Raises:
        PermissionRefused: the calendar is for those who keep the pool.
        ValidationError: a line is wrong (field, value and rule), or names nobody's machine or pool.
    """
    require(actor, "pool")
    return keep(actor, locked(), lines, reason)


def locked() -> Balancer:
    """The row that keeps the calendar, locked until the transaction ends."""
    return Balancer.objects.select_for_update().get_or_create(pk=1)[0]


def keep(
    actor: Any, row: Balancer, lines: object, reason: str, tolerated: Sequence[dict[str, Any]] = ()
) -> list[dict[str, Any]]:
    """Check these lines, put them in place of the row's and keep what was before, for "as it was".

    `tolerated`: lines that were kept once: what they name may have gone since, and rules may be newer.

    Raises ValidationError.
    """
    checked(lines, tolerated)
    before, after = list(row.calendar), typing.cast("list[dict[str, Any]]", lines)
    row.calendar, row.calendar_before = after, before
    row.save(update_fields=("calendar", "calendar_before"))
    names = [line["name"] for line in after]
    told = {"changed": [line for line in after if line not in before]}
    told["before"] = [line for line in before if line not in after]
    record(actor, "balancer.calendar", row, lines=names, reason=reason[:300], **told)
    return after


def checked(lines: object, tolerated: Sequence[dict[str, Any]] = ()) -> tuple[Entry, ...]:
    """The lines as the balancer reads them. Two queries.

    A line that is one of `tolerated` as it is, is not judged anew: it would keep all others from being changed.

    Raises ValidationError with field, value and rule.
    """
    if not isinstance(lines, list) or len(lines) > MOST_LINES:
        text = _("a list of at most %(high)s lines is wanted")
        raise ValidationError({"calendar": text % {"high": MOST_LINES}})
    vms, pools = known_names()
    for line in tolerated:
        vms, pools = vms | set(line.get("vms", ())), pools | set(line.get("pools", ()))
    try:
        entries = _entries(lines, sorted(vms), sorted(pools))
    except SnapshotError as error:
        raise ValidationError({"calendar": str(error)}) from None
    for number, entry in enumerate(entries):
        if lines[number] in tolerated:
            continue
        for name, text in faults(entry):
            raise ValidationError({f"calendar[{number}].{name}": text})
    return entries


def faults(entry: Entry) -> Iterator[tuple[str, str]]:
    """What the plant does not take of a line that a snapshot may have: field and rule."""
    if entry.labels:
        yield "labels", _("machines of the plant have no labels: name pools or machines")
    for name, (low, high) in BOUNDS.items():
        value = getattr(entry, name)
        if value is not None and not low <= value <= high:
            text = _("%(value)s: from %(low)s to %(high)s")
            yield name, text % {"value": value, "low": low, "high": f"{high:g}"}
    if None not in (entry.limit, entry.reservation) and entry.limit < entry.reservation:  # type: ignore[operator]  # neither is None
        text = _("%(value)s: not below what is reserved, %(least)s")
        yield "limit", text % {"value": f"{entry.limit:g}", "least": f"{entry.reservation:g}"}
    for name in ("since", "until"):
        value = getattr(entry, name)
        if value and moment(value).year not in YEARS:
            text = _("%(value)s: a year from %(low)s to %(high)s")
            yield name, text % {"value": value, "low": YEARS.start, "high": YEARS.stop - 1}


def known_names() -> tuple[set[str], set[str]]:
    """Machines that have a place, as "environment/machine", and pools. Two queries."""
    rows = Machine.objects.filter(host__isnull=False).values_list("environment__name", "name")
    pools = set(ResourcePool.objects.values_list("name", flat=True))
    return {f"{environment}/{name}" for environment, name in rows}, pools


def laid(plant: Plant, lines: Sequence[dict[str, Any]], now: dt.datetime) -> Plant:
    """The plant as these lines have it at this moment."""
    if not lines:
        return plant
    return at(replace(plant, calendar=known(lines)), own_time(now))


def of_machine(machine: Machine, now: dt.datetime | None = None) -> tuple[Movability, bool]:
    """What may move a machine by the calendar, and whether a line opens a window for it now."""
    lines = kept()
    movability = Movability(machine.movability)
    if not lines:
        return movability, False
    rows = {pool.pk: pool for pool in ResourcePool.objects.all()}
    pools = tuple(
        Pool(row.name, parent=rows[row.parent_id].name if row.parent_id else "")
        for row in rows.values()
    )
    pool = rows[machine.pool_id].name if machine.pool_id else ""
    vm = Vm(str(machine), 1, 1, pool=pool, movability=movability)
    found = laid(Plant((), (vm,), pools), lines, now or timezone.now()).vms[0]
    return found.moves, found.window_open


def told(now: dt.datetime | None = None) -> list[Line]:
    """The lines for a page, in their order."""
    at, lines = own_time(now or timezone.now()), kept()
    if not lines:
        return []
    vms, pools = known_names()
    return [_line(entry, at, vms, pools) for entry in known(lines)]


def _line(entry: Entry, now: dt.datetime, vms: set[str], pools: set[str]) -> Line:
    days = _days(entry.days)
    hours = f"{entry.start or '00:00'}–{entry.end or '24:00'}" if entry.start or entry.end else ""
    gone = [name for name in entry.pools if name not in pools]
    gone += [name for name in entry.vms if name not in vms]
    return Line(
        entry.name,
        ", ".join((*entry.pools, *entry.vms, *sorted(entry.labels))),
        " ".join(part for part in (days, hours, _span(entry, now)) if part),
        {name: value for name in SAID if (value := getattr(entry, name)) not in (None, False)},
        holds(entry, now),
        next_change(entry, now),
        tuple(gone),
    )


def _days(days: Sequence[int]) -> str:
    """Days for people; three and more in a row as "Mon–Wed"."""
    runs: list[list[int]] = []
    for day in sorted(set(days)):
        if runs and runs[-1][-1] == day - 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    words = []
    for run in runs:
        names = [str(WEEKDAYS_ABBR[day]) for day in run]
        words += [f"{names[0]}–{names[-1]}"] if len(run) > 2 else names
    return ", ".join(words)


def _span(entry: Entry, now: dt.datetime) -> str:
    """From when and until when, in the plant's own time."""
    since, until = (
        "" if at is None else moment_words(at) for at in bounds(entry.since, entry.until, now)
    )
    if since and until:
        return f"{since} – {until}"
    if until:
        return _("until %(moment)s") % {"moment": until}
    return _("from %(moment)s") % {"moment": since} if since else ""


def moment_words(at: dt.datetime) -> str:
    """A moment in the plant's own time for people: weekday, date and time, as shifts are written."""
    at = own_time(at)
    return f"{WEEKDAYS_ABBR[at.weekday()]} {date_format(at, 'SHORT_DATE_FORMAT')} {at:%H:%M}"


def own_time(now: dt.datetime) -> dt.datetime:
    """The moment in the plant's own time."""
    return now.astimezone(get_settings().plant_zone)


def known(lines: Sequence[dict[str, Any]]) -> tuple[Entry, ...]:
    """Lines that were checked when they were given; a machine or pool that is gone since is nobody's."""
    vms = {name for line in lines for name in line.get("vms", ())}
    pools = {name for line in lines for name in line.get("pools", ())}
    return _entries(list(lines), sorted(vms), sorted(pools))


def _entries(lines: list[Any], vms: list[str], pools: list[str]) -> tuple[Entry, ...]:
    machines = [{"name": name, "vcpus": 1, "memory_bytes": 1} for name in vms]
    plant = {"hosts": [], "vms": machines, "pools": [{"name": name} for name in pools]}
    return read_plant(plant | {"calendar": lines}, strict=False).calendar
