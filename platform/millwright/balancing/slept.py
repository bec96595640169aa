"""What sleeping hosts save: hours asleep and energy, by host and by month, and wakes that came late or failed.

All of it is read from what is recorded anyway: the history of hosts' power, and the operations that put them to sleep
and wake them.
"""

from __future__ import annotations

import datetime as dt
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import (
    Case,
    CharField,
    F,
    Func,
    Max,
    OuterRef,
    Q,
    Subquery,
    TextField,
    When,
    Window,
)
from django.db.models.fields.json import KT
from django.db.models.functions import Cast
from django.utils.translation import gettext as _

from millwright.core.balancing.consolidate import LEAD
from millwright.core.lifecycle import HostPower, OperationKind, OperationState
from millwright.environments.models import Operation, StateTransition
from millwright.inventory.models import Host
from millwright.inventory.power import wake_s
from millwright.settings import get_settings

from . import history
from .consolidating import EVERY_S

#: Days of which it is told at once, and without a word.
MOST_DAYS, USUAL_DAYS = 100, 7
#: What a wake may take beyond what is expected: the pace of rounds and of orders.
GRACE = dt.timedelta(minutes=1)
#: Operations that began before the period may be about a sleep that lasts into it.
BEFORE = dt.timedelta(days=31)

_JOULES_PER_KWH = 3_600_000.0


@dataclass(frozen=True, slots=True)
class Saving:
    """One host. `watts`: what it takes awake and empty, by its policy now; nothing: not known, and so is `kwh`."""

    host: str
    asleep_s: float
    #: times that it fell asleep
    sleeps: int
    watts: float | None
    #: wakes later than they were to be, and tries to wake it that failed
    late: int
    failed: int

    @property
    def kwh(self) -> float | None:
        return None if self.watts is None else self.asleep_s * self.watts / _JOULES_PER_KWH


@dataclass(frozen=True, slots=True)
class Month:
    """One month of the period, in the plant's zone. `kwh`: of hosts whose watts are known; nothing: of none."""

    month: dt.date
    asleep_s: float
    kwh: float | None


@dataclass(frozen=True, slots=True)
class Savings:
    """A period: hosts that slept or were woken in vain in it, the longest asleep first."""

    since: dt.datetime
    until: dt.datetime
    hosts: tuple[Saving, ...]
    months: tuple[Month, ...]

    @property
    def asleep_s(self) -> float:
        return sum(row.asleep_s for row in self.hosts)

    @property
    def unknown_s(self) -> float:
        """Of hosts whose policy gives no watts: their energy is not known."""
        return sum(row.asleep_s for row in self.hosts if row.watts is None)

    @property
    def kwh(self) -> float | None:
        """Of hosts whose watts are known; nothing: of none."""
        known = [row.kwh for row in self.hosts if row.kwh is not None]
        return sum(known) if known else None

    @property
    def late(self) -> int:
        return sum(row.late for row in self.hosts)

    @property
    def failed(self) -> int:
        return sum(row.failed for row in self.hosts)


def period(given: Mapping[str, Any], now: dt.datetime) -> tuple[dt.datetime, dt.datetime]:
    """Read `from` and `to` as people write them; without them the last seven days, today included.

    Raises:
        ValidationError: field by field what cannot be read, lies ahead or is too long.
    """
    asked = history.asked({name: given.get(name, "") for name in ("from", "to")})
    until = min(asked.until or now, now)
    # The end of a day is its own, and not the next one's beginning.
    midnight = (
        (until - dt.timedelta(microseconds=1))
        .astimezone(get_settings().plant_zone)
        .replace(hour=0, minute=0, second=0, microsecond=0)
    )
    since = asked.since or midnight - dt.timedelta(days=USUAL_DAYS - 1)
    if since >= now:
        raise ValidationError({"from": _("a time that is over is wanted")})
    if until - since > dt.timedelta(days=MOST_DAYS):
        raise ValidationError({"from": _("at most %(days)s days") % {"days": MOST_DAYS}})
    return since, until


def savings(since: dt.datetime, until: dt.datetime, now: dt.datetime) -> Savings:
    """What was saved from a moment to another, which are not ahead. Three queries, whatever the number of hosts."""
    hosts = {row.key: row for row in _hosts(since)}
    operations = _operations(since, until)
    zone = get_settings().plant_zone
    months: dict[dt.date, list[float]] = {}
    found = []
    rest = dict.fromkeys(hosts)
    for key, name, rows in _changes(since, until):
        rest.pop(key, None)
        host = hosts.get(key)
        was = rows[0][1]
        found.append((name, host, _Story(host, operations.get(key, ())).told(was, rows, since, until, now)))  # fmt: skip
    for key in rest:
        host = hosts[key]
        was = host.was or host.power
        if was != HostPower.AWAKE or key in operations:
            story = _Story(host, operations.get(key, ()))
            found.append((host.name, host, story.told(was, (), since, until, now)))
    told = []
    for name, host, (spans, sleeps, late, failed) in found:
        given = (host.policy.get("sleep") or {}).get("watts") if host is not None else None
        # Nothing is said of no watts: such a host takes some.
        watts = float(given) if given else None
        seconds = sum((end - begin).total_seconds() for begin, end in spans)
        if not (spans or sleeps or late or failed):
            continue
        told.append(Saving(host.name if host is not None else name, seconds, sleeps, watts, late, failed))  # fmt: skip
        for month, part in _by_month(spans, zone):
            sums = months.setdefault(month, [0.0, 0.0, 0.0])
            sums[0] += part
            if watts is not None:
                sums[1] += part * watts / _JOULES_PER_KWH
                sums[2] += 1
    told.sort(key=lambda row: (-row.asleep_s, row.host))
    return Savings(
        since,
        until,
        tuple(told),
        tuple(
            Month(month, seconds, kwh if any_known else None)
            for month, (seconds, kwh, any_known) in sorted(months.items())
        ),
    )


#: A change of a host's power: when, from what, to what.
_Change = tuple[dt.datetime, str, str]
_Span = tuple[dt.datetime, dt.datetime]


@dataclass(frozen=True, slots=True)
class _Order:
    """An operation that puts a host to sleep (until, by rounds) or wakes it."""

    kind: str
    state: str
    at: dt.datetime
    ended_at: dt.datetime | None
    by_rounds: bool
    until: dt.datetime | None


class _Story:
    """One host's sleep in a period."""

    def __init__(self, host: Any, orders: Sequence[_Order]) -> None:
        self._host, self._orders = host, orders
        self._sleeps = [order for order in orders if order.kind == OperationKind.SLEEP_HOST]
        self._slept_at = [order.at for order in self._sleeps]
        self._woken_at = [order.at for order in orders if order.kind == OperationKind.WAKE_HOST]

    def told(
        self,
        was: str,
        rows: Sequence[_Change],
        since: dt.datetime,
        until: dt.datetime,
        now: dt.datetime,
    ) -> tuple[list[_Span], int, int, int]:
        """When it slept, how often it fell asleep, how many wakes came late, and how many tries failed."""
        spans: list[_Span] = []
        sleeps = late = 0
        state, at = was, since
        # On its way from sleep at the beginning, it fell asleep before.
        fell = since if was in (HostPower.ASLEEP, HostPower.WAKING) else None
        for when, _before, after in rows:
            if state == HostPower.ASLEEP:
                spans.append((at, when))
            if after == HostPower.ASLEEP and fell is None:
                fell, sleeps = when, sleeps + 1
            elif after == HostPower.AWAKE:
                late += fell is not None and self._late(fell, when)
                fell = None
            state, at = after, when
        # Of one that has left the pool nobody knows what became of it.
        if state == HostPower.ASLEEP and self._host is not None:
            spans.append((at, until))
        if fell is not None and until >= now and self._host is not None:
            late += self._late(fell, now)
        failed = sum(
            order.kind == OperationKind.WAKE_HOST
            and order.state == OperationState.FAILED
            and order.ended_at is not None
            and since <= order.ended_at < until
            for order in self._orders
        )
        return spans, sleeps, late, failed

    def _late(self, fell: dt.datetime, awake: dt.datetime) -> bool:
        """Whether it was awake (or is not yet) after the moment by which it was to be.

        That is when its sleep was to end, or as long after an order to wake it as it is expected to take. Rounds end a
        sleep a quarter of an hour before the hour that needs the host: after that quarter only it is missed.
        """
        before = bisect_right(self._slept_at, fell)
        slept = self._sleeps[before - 1] if before else None
        takes = dt.timedelta(seconds=wake_s(self._host)) if self._host is not None else dt.timedelta()  # fmt: skip
        after = bisect_left(self._woken_at, slept.at if slept is not None else fell)
        told = next((at for at in self._woken_at[after : after + 1] if at <= awake), None)
        ends = slept.until if slept is not None else None
        if ends is not None and slept is not None:
            early = takes + LEAD + dt.timedelta(seconds=EVERY_S)
            if told is None or told >= ends - early:
                return awake > ends + (LEAD if slept.by_rounds else GRACE)
        return told is not None and awake > told + takes + GRACE


def _hosts(since: dt.datetime) -> Iterator[Any]:
    """Hosts with `key`, as the history knows them, and `was`: their power at that moment, empty if it is as now."""
    first = (
        StateTransition.objects.filter(
            subject_type="host", subject_id=OuterRef("key"), aspect="power", at__gte=since
        )
        .order_by("at", "pk")
        .values("before")[:1]
    )
    rows: Any = Host.objects.annotate(key=Cast("pk", CharField())).annotate(was=Subquery(first))
    yield from rows.only("name", "policy", "power")


def _changes(
    since: dt.datetime, until: dt.datetime
) -> Iterator[tuple[str, str, Sequence[_Change]]]:
    """Each host's changes of power in the period, oldest first: its key, its name then, the changes."""
    rows = (
        StateTransition.objects.filter(
            subject_type="host", aspect="power", at__gte=since, at__lt=until
        )
        # On its way to sleep a host is as awake as before.
        .exclude(after=HostPower.FALLING_ASLEEP)
        .order_by("subject_id", "at", "pk")
        .values_list("subject_id", "subject_name", _Written("at"), "before", "after")
    )
    for key, group in groupby(rows.iterator(chunk_size=5000), key=itemgetter(0)):
        listed = list(group)
        yield (
            key,
            listed[-1][1],
            [(_moment(at), before, after) for _, _, at, before, after in listed],
        )


def _operations(since: dt.datetime, until: dt.datetime) -> Mapping[str, Sequence[_Order]]:
    """By host's key what put it to sleep and woke it, oldest first; of what was before only the last sleep, and what
    came after that or ended in the period."""
    earlier = When(kind=OperationKind.SLEEP_HOST, created_at__lt=since, then=F("created_at"))
    rows = (
        Operation.objects.filter(
            kind__in=(OperationKind.SLEEP_HOST, OperationKind.WAKE_HOST),
            host__isnull=False,
            created_at__gte=since - BEFORE,
            created_at__lt=until,
        )
        .annotate(last=Window(Max(Case(earlier)), partition_by=F("host_id")))
        .filter(Q(created_at__gte=since) | Q(ended_at__gte=since) | Q(created_at__gte=F("last")))
        .order_by("created_at")
        .values_list(
            "host_id",
            "kind",
            "state",
            _Written("created_at"),
            _Written("ended_at"),
            "requested_by",
            KT("payload__until"),
        )
    )
    found: dict[str, list[_Order]] = defaultdict(list)
    for host, kind, state, at, ended, who, text in rows.iterator(chunk_size=5000):
        found[str(host)].append(
            _Order(
                kind,
                state,
                _moment(at),
                _moment(ended) if ended else None,
                who is None,
                dt.datetime.fromisoformat(text) if text else None,
            )
        )
    return found


class _Written(Func):
    """A moment as text, in UTC and saying so: many are read so in a fraction of the time that moments take."""

    output_field = TextField()
    template = "CAST(%(expressions)s AS text) || '+00:00'"

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """Whatever style and zone the server writes dates in."""
        template = (
            "to_char(%(expressions)s AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US\"+00:00\"')"
        )
        return self.as_sql(compiler, connection, template=template, **context)


_moment = dt.datetime.fromisoformat


def _by_month(spans: Iterable[_Span], zone: dt.tzinfo) -> Iterator[tuple[dt.date, float]]:
    """Seconds in each month that a span touches."""
    for begin, end in spans:
        at = begin
        while at < end:
            month = at.astimezone(zone).date().replace(day=1)
            following = (month + dt.timedelta(days=32)).replace(day=1)
            edge = min(end, dt.datetime.combine(following, dt.time(), zone))
            yield month, (edge - at).total_seconds()
            at = edge
