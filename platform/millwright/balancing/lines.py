"""Lines of the plant's calendar, one by one: written, put in order, removed, and taken back.

What stands against a line is told while it is typed. A line that is wrong is not taken; one that never holds,
says nothing, or says something else than another line of the same machines at the same time, is, and says so.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.core.balancing import Entry, Pool, Vm
from millwright.core.balancing.calendar import (
    bounds,
    concerns,
    first_meeting,
    minutes,
    moment,
    next_change,
    pools_above,
)
from millwright.core.balancing.errors import SnapshotError
from millwright.core.balancing.model import Mode
from millwright.core.lifecycle import Movability
from millwright.environments.models import Machine

from . import hours
from .models import ResourcePool

#: Of two lines with one of these, the later one holds: for each pool that both name, or each machine.
_DIVIDED = ("shares", "reservation", "limit")
_OF_MACHINES = ("priority", "movability", "mode")
MOST_NAME = 48


@dataclass(frozen=True, slots=True)
class Draft:
    """A line as somebody writes it: texts as they were typed, names of pools and machines."""

    name: str = ""
    pools: tuple[str, ...] = ()
    vms: tuple[str, ...] = ()
    days: tuple[int, ...] = ()
    start: str = ""
    end: str = ""
    since: str = ""
    until: str = ""
    shares: str = ""
    reservation: str = ""
    limit: str = ""
    priority: str = ""
    movability: str = ""
    mode: str = ""
    window: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is wrong with a draft, by field, what it would be in vain, and which lines say otherwise."""

    errors: Mapping[str, list[str]] = field(default_factory=dict)
    #: why it changes nothing, or nothing any more
    vain: Sequence[str] = ()
    #: the other line, and what both say at the same time
    overlaps: Sequence[tuple[str, str]] = ()
    #: when it begins or ends to hold, in words
    when: str = ""


def mark(lines: Sequence[Mapping[str, Any]]) -> str:
    """A short text that is another one when the lines are others."""
    text = json.dumps(list(lines), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def draft_of(line: Mapping[str, Any]) -> Draft:
    """A kept line as a form shows it: times in the plant's own."""

    def text(name: str) -> str:
        value = line.get(name)
        return "" if value is None else f"{value:g}" if isinstance(value, float) else str(value)

    now = hours.own_time(timezone.now())
    since, until = (
        "" if at is None else hours.own_time(at).replace(tzinfo=None).isoformat()[:16]
        for at in bounds(line.get("since", ""), line.get("until", ""), now)
    )
    end = line.get("end", "")
    if end == "24:00":
        # A field for times does not know it; the end of the day is the beginning of the next.
        end = "00:00" if line.get("start") else ""
    return Draft(
        name=line["name"],
        pools=tuple(line.get("pools", ())),
        vms=tuple(line.get("vms", ())),
        days=tuple(line.get("days", ())),
        start=line.get("start", ""),
        end=end,
        since=since,
        until=until,
        **{name: text(name) for name in (*_DIVIDED, *_OF_MACHINES)},
        window=bool(line.get("window")),
    )


def check(draft: Draft, old: str = "") -> Verdict:
    """What stands against a draft, which may be half written. A fixed number of queries.

    `old`: the name of the line that it changes.
    """
    return _judge(draft, old, hours.kept())[1]


@transaction.atomic
def save_line(actor: Any, draft: Draft, old: str = "", reason: str = "", was: str = "") -> None:
    """Write a line at the end, or change the one called `old` where it stands.

    `was`: what `mark` said of that line alone when the form was shown; empty: no matter.

    Raises:
        PermissionRefused: the calendar is for those who keep the pool.
        ValidationError: what is wrong, by field; or somebody else changed the line meanwhile.
    """
    require(actor, "pool")
    row = hours.locked()
    lines = list(row.calendar)
    at = _place(lines, old) if old else len(lines)
    if old and was and mark([lines[at]]) != was:
        raise ValidationError({"calendar": _meanwhile()})
    line, verdict = _judge(draft, old, lines)
    if verdict.errors or line is None:
        raise ValidationError({name: list(texts) for name, texts in verdict.errors.items()})
    after = [*lines[:at], line, *lines[at + 1 :]]
    hours.keep(actor, row, after, reason, tolerated=lines)


@transaction.atomic
def move_line(actor: Any, name: str, by: int, was: str = "") -> None:
    """Put a line so many places further down (later lines lie on top), or up with a negative number.

    Raises:
        PermissionRefused: the calendar is for those who keep the pool.
        ValidationError: there is no such line, or the calendar is not as `was` marks it.
    """
    require(actor, "pool")
    row = hours.locked()
    lines = _unchanged(row.calendar, was)
    at = _place(lines, name)
    line = lines.pop(at)
    lines.insert(min(max(at + by, 0), len(lines)), line)
    if lines != row.calendar:
        hours.keep(actor, row, lines, "", tolerated=row.calendar)


@transaction.atomic
def remove_line(actor: Any, name: str, reason: str = "") -> None:
    """Remove a line; the trail keeps what it said.

    Raises:
        PermissionRefused: the calendar is for those who keep the pool.
        ValidationError: there is no such line.
    """
    require(actor, "pool")
    row = hours.locked()
    lines = list(row.calendar)
    del lines[_place(lines, name)]
    hours.keep(actor, row, lines, reason, tolerated=row.calendar)


@transaction.atomic
def put_back(actor: Any, reason: str = "", was: str = "") -> None:
    """The calendar as it was before the last change; a second time brings that change back.

    Raises:
        PermissionRefused: the calendar is for those who keep the pool.
        ValidationError: it was never changed, or it is not as `was` marks it.
    """
    require(actor, "pool")
    row = hours.locked()
    _unchanged(row.calendar, was)
    if row.calendar_before is None:
        raise ValidationError({"calendar": _("the calendar was never changed")})
    before = list(row.calendar_before)
    hours.keep(actor, row, before, reason, tolerated=[*row.calendar, *before])


def _unchanged(lines: Sequence[dict[str, Any]], was: str) -> list[dict[str, Any]]:
    if was and mark(lines) != was:
        raise ValidationError({"calendar": _meanwhile()})
    return list(lines)


def _meanwhile() -> str:
    return _("somebody changed it meanwhile: look at it again")


def gone(name: str) -> list[str]:
    """What to tell who was changing a line that somebody removed or renamed meanwhile."""
    text = _("there is no line %(name)r any more: if you save it now, it becomes a new one")
    return [_meanwhile(), text % {"name": name}]


def _place(lines: Sequence[Mapping[str, Any]], name: str) -> int:
    for number, line in enumerate(lines):
        if line["name"] == name:
            return number
    raise ValidationError({"calendar": _("there is no line %(name)r") % {"name": name}})


def _judge(
    draft: Draft, old: str, lines: Sequence[dict[str, Any]]
) -> tuple[dict[str, Any] | None, Verdict]:
    """The draft as a line, if it can be one, and what stands against it."""
    errors: dict[str, list[str]] = {}

    def wrong(name: str, text: str) -> None:
        errors.setdefault(name, []).append(text)

    line = _line(draft, wrong)
    others = [each for each in lines if each["name"] != old]
    if not draft.name or len(draft.name) > MOST_NAME:
        text = _("%(value)r: from 1 to %(most)s characters")
        wrong("name", text % {"value": draft.name, "most": MOST_NAME})
    elif any(each["name"] == draft.name for each in others):
        wrong("name", _("a line is named %(name)r already") % {"name": draft.name})
    if not old and len(lines) >= hours.MOST_LINES:
        wrong("name", _("at most %(most)s lines") % {"most": hours.MOST_LINES})
    if not draft.pools and not draft.vms:
        wrong("whom", _("name at least one pool or machine"))
    mine = next((each for each in lines if each["name"] == old), {})
    vms, pools = hours.known_names()
    for name in draft.vms:
        if name not in vms and name not in mine.get("vms", ()):
            wrong("vms", _("no machine that runs in the pool is named %(name)r") % {"name": name})
    for name in draft.pools:
        if name not in pools and name not in mine.get("pools", ()):
            wrong("pools", _("no pool is named %(name)r") % {"name": name})
    entry = Entry("")
    if not errors:
        try:
            entry = hours.known([line])[0]
        except SnapshotError as error:
            wrong(error.field.rpartition(".")[2], f"{error.value!r}: {error.rule}")
        for name, text in hours.faults(entry):
            wrong(name, text)
    if errors:
        return None, Verdict(errors)
    return line, _among(entry, old, hours.known(lines), vms)


def _line(draft: Draft, wrong: Any) -> dict[str, Any]:
    """The draft in the calendar's own form: what is not said is left out."""
    line: dict[str, Any] = {"name": draft.name}
    for name, kind in (
        ("shares", int),
        ("reservation", float),
        ("limit", float),
        ("priority", int),
    ):
        text = getattr(draft, name).strip()
        if text:
            try:
                line[name] = _number(kind, text)
            except ValueError:
                words = (
                    _("%(value)r is not a whole number")
                    if kind is int
                    else _("%(value)r is not a number")
                )
                wrong(name, words % {"value": text})
    for name in ("start", "end"):
        text = getattr(draft, name)
        try:
            if text and minutes(text) is not None:
                line[name] = text
        except SnapshotError:
            wrong(name, _("%(value)r: a time like 06:00 is wanted") % {"value": text})
    for name in ("since", "until"):
        text = getattr(draft, name)
        try:
            if text and moment(text):
                line[name] = text
        except SnapshotError:
            words = _("%(value)r: a moment like 2026-05-04T06:00 is wanted")
            wrong(name, words % {"value": text})
    for name, known in (("movability", Movability), ("mode", Mode)):
        text = getattr(draft, name)
        if text and text not in set(known):
            words = _("%(value)r: one of %(known)s")
            wrong(name, words % {"value": text, "known": ", ".join(known)})
        elif text:
            line[name] = text
    if any(not 0 <= day <= 6 for day in draft.days):
        wrong("days", _("0 (Monday) to 6 (Sunday)"))
    for name, value in asdict(replace(draft, window=False)).items():
        if name in ("pools", "vms", "days") and value:
            line[name] = sorted(set(value)) if name == "days" else list(dict.fromkeys(value))
    if draft.window:
        line["window"] = True
    return line


def _number(kind: type, text: str) -> int | float:
    if kind is int:
        return int(text)
    value = float(text.replace(",", "."))
    return int(value) if value.is_integer() and abs(value) < 1e9 else value


def _among(entry: Entry, old: str, entries: Sequence[Entry], present: set[str]) -> Verdict:
    """A sound line beside the others. Two queries."""
    now = hours.own_time(timezone.now())
    vain, overlaps = [], []
    if not any(getattr(entry, name) not in (None, False) for name in hours.SAID):
        vain.append(
            _("It says nothing of them: choose at least one of the things below “what then holds”.")
        )
    if first_meeting((entry,), now) is None:
        vain.append(_never(entry, now))
    below, vms = _machines()
    concerned = {vm.name for vm in vms if concerns(entry, vm, below)}
    if not concerned & present and not (set(entry.pools) & set(below)):
        vain.append(_("None of those whom it is for is in the pool any more."))
    before = True
    for other in entries:
        if other.name == old:
            before = False
            continue
        said = _both(entry, other, concerned, vms, below)
        at = first_meeting((entry, other), now) if said else None
        if at is None:
            continue
        # A new line is the last one, and lies on top.
        wins = entry.name if before or not old else other.name
        text = _("%(names)s: both say it at %(moment)s; %(line)s holds, because it comes later")
        overlaps.append(
            (
                other.name,
                text % {"names": ", ".join(said), "moment": hours.moment_words(at), "line": wins},
            )
        )
    return Verdict({}, vain, overlaps, when(entry, now))


def _never(entry: Entry, now: dt.datetime) -> str:
    since, until = bounds(entry.since, entry.until, now)
    if since is not None and until is not None and until <= since:
        return _("It never holds: it ends before it begins.")
    if until is not None and until <= now:
        return _("It holds no more: it ended at %(moment)s.") % {
            "moment": hours.moment_words(until)
        }
    return _("It never holds: none of its days and hours lies between its beginning and its end.")


def when(entry: Entry, now: dt.datetime) -> str:
    """When it begins or ends to hold, for people; empty: for ever, or never again."""
    change = next_change(entry, now)
    if change is None:
        return _("It holds from now on, without an end.") if _held(entry, now) else ""
    text = (
        _("It holds now, until %(moment)s.")
        if _held(entry, now)
        else _("It holds next from %(moment)s.")
    )
    return text % {"moment": hours.moment_words(change)}


def _held(entry: Entry, now: dt.datetime) -> bool:
    return first_meeting((entry,), now) == now


def _machines() -> tuple[dict[str, frozenset[str]], list[Vm]]:
    """Pools with all that are above each, and machines as far as a calendar asks. Two queries."""
    rows = {pool.pk: pool for pool in ResourcePool.objects.all()}
    pools = [
        Pool(row.name, parent=rows[row.parent_id].name if row.parent_id else "")
        for row in rows.values()
    ]
    columns = ("environment__name", "name", "pool_id")
    machines = Machine.objects.filter(host__isnull=False).values_list(*columns)
    vms = [
        Vm(f"{environment}/{name}", 1, 1, pool=rows[pool].name if pool else "")
        for environment, name, pool in machines
    ]
    return pools_above(pools), vms


def _both(
    entry: Entry,
    other: Entry,
    concerned: set[str],
    vms: Sequence[Vm],
    below: dict[str, frozenset[str]],
) -> list[str]:
    """What both lines say, differently, of a pool or a machine."""
    differ = [
        name
        for name in (*_DIVIDED, *_OF_MACHINES)
        if None not in (getattr(entry, name), getattr(other, name))
        and getattr(entry, name) != getattr(other, name)
    ]
    if not differ:
        return []
    named = bool(set(entry.pools) & set(other.pools) or set(entry.vms) & set(other.vms))
    same = named or any(vm.name in concerned and concerns(other, vm, below) for vm in vms)
    words = {
        "shares": _("shares"),
        "reservation": _("reserved CPUs"),
        "limit": _("CPU limit"),
        "priority": _("priority"),
        "movability": _("what may move it"),
        "mode": _("balancing"),
    }
    return [words[name] for name in differ if (named if name in _DIVIDED else same)]
