"""The plant's calendar: what is promised, movable and balanced by shift or until a date, over what people set.

Its lines are those of a snapshot's `calendar`, in the plant's own time; later ones lie on top. They are read
wherever the plant is, so that rounds, drains, recoveries and what hosts give follow them.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.dates import WEEKDAYS_ABBR
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.core.balancing import Entry, Plant, Pool, SnapshotError, Vm, at, read_plant
from millwright.core.balancing.calendar import holds
from millwright.core.lifecycle import Movability
from millwright.environments.models import Machine
from millwright.settings import get_settings

from .models import Balancer, ResourcePool

#: Lines that a calendar has at most, and what people may set, as for machines and pools.
MOST_LINES = 200
BOUNDS = {"shares": (1, 100_000), "priority": (-1000, 1000), "reservation": (0, 1e6)}
BOUNDS["limit"] = BOUNDS["reservation"]


@dataclass(frozen=True, slots=True)
class Line:
    """One line as people read it, and whether it holds now."""

    name: str
    whom: str
    when: str
    what: str
    now: bool


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
    if not isinstance(lines, list) or len(lines) > MOST_LINES:
        text = _("a list of at most %(high)s lines is wanted")
        raise ValidationError({"calendar": text % {"high": MOST_LINES}})
    names = Machine.objects.filter(host__isnull=False).values_list("environment__name", "name")
    pools = ResourcePool.objects.values_list("name", flat=True)
    try:
        entries = _entries(
            lines, [f"{environment}/{name}" for environment, name in names], list(pools)
        )
    except SnapshotError as error:
        raise ValidationError({"calendar": str(error)}) from None
    for number, entry in enumerate(entries):
        if entry.labels:
            text = _("machines of the plant have no labels: name pools or machines")
            raise ValidationError({f"calendar[{number}].labels": text})
        for name, (low, high) in BOUNDS.items():
            value = getattr(entry, name)
            if value is not None and not low <= value <= high:
                text = _("%(value)s: from %(low)s to %(high)s")
                words = text % {"value": value, "low": low, "high": high}
                raise ValidationError({f"calendar[{number}].{name}": words})
    row = Balancer.objects.select_for_update().get_or_create(pk=1)[0]
    row.calendar = lines
    row.save(update_fields=("calendar",))
    record(actor, "balancer.calendar", row, lines=[line["name"] for line in lines], reason=reason)
    return lines


def laid(plant: Plant, lines: Sequence[dict[str, Any]], now: dt.datetime) -> Plant:
    """The plant as these lines have it at this moment."""
    if not lines:
        return plant
    return at(replace(plant, calendar=_known(lines)), _own_time(now))


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
    moment = _own_time(now or timezone.now())
    return [_line(entry, now=holds(entry, moment)) for entry in _known(kept())]


def _line(entry: Entry, *, now: bool) -> Line:
    days = ", ".join(str(WEEKDAYS_ABBR[day]) for day in sorted(entry.days))
    hours = f"{entry.start or '00:00'}–{entry.end or '24:00'}" if entry.start or entry.end else ""
    span = " – ".join((entry.since, entry.until)) if entry.since or entry.until else ""
    held = {"shares", "reservation", "limit", "priority", "movability", "mode", "window"}
    what = [
        f"{field.name} {value}" if field.name != "window" else field.name
        for field in fields(entry)
        if field.name in held and (value := getattr(entry, field.name)) not in (None, False)
    ]
    whom = (*entry.pools, *entry.vms, *sorted(entry.labels))
    return Line(
        entry.name,
        ", ".join(whom),
        " ".join(part for part in (days, hours, span) if part),
        ", ".join(what),
        now,
    )


def _own_time(now: dt.datetime) -> dt.datetime:
    return now.astimezone(get_settings().plant_zone)


def _known(lines: Sequence[dict[str, Any]]) -> tuple[Entry, ...]:
    """Lines that were checked when they were given; a machine or pool that is gone since is nobody's."""
    vms = {name for line in lines for name in line.get("vms", ())}
    pools = {name for line in lines for name in line.get("pools", ())}
    return _entries(list(lines), sorted(vms), sorted(pools))


def _entries(lines: list[Any], vms: list[str], pools: list[str]) -> tuple[Entry, ...]:
    machines = [{"name": name, "vcpus": 1, "memory_bytes": 1} for name in vms]
    plant = {"hosts": [], "vms": machines, "pools": [{"name": name} for name in pools]}
    return read_plant(plant | {"calendar": lines}).calendar
