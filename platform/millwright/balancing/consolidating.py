"""Hosts that sleep while they are not needed: what rounds are told, remember of the demand, decide and do.

How a host is emptied for it is in `emptying`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Avg, F, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from millwright.accounts.permissions import require
from millwright.audit.actions import record
from millwright.core.balancing import (
    BalanceState,
    BalancingError,
    Consolidation,
    Demand,
    Emptying,
    Forecast,
    Mode,
    Order,
    Plant,
    Said,
    Sleeper,
    SleepSettings,
    begins,
    consolidate,
    forecast,
    from_calendar,
    minutes,
    parts_of,
    ready_from,
    say,
)
from millwright.core.lifecycle import HostPower
from millwright.environments.models import DemandSample
from millwright.inventory.models import Host
from millwright.inventory.power import ask_sleep, ask_wake, sleeps, wake_s, why_not_asleep

from . import emptying, foreseen, hours, recommending
from .models import Consolidating, DemandHour, HostDrain
from .plant import SHORT, machines_on_hosts

#: Seconds between two rounds.
EVERY_S = 300
#: Hours that are kept: what a forecast looks at, and a day.
KEPT = dt.timedelta(days=29)
#: Least and most of what is told in numbers.
BOUNDS = {"headroom_percent": (0, 200), "keep_awake": (1, 1000), "least_hours": (1, 48)}
#: Hosts that are asked in one round whether they can be put to sleep, or emptied for it.
TRIES = 4
#: What was decided is a person's to approve for so long: rounds come every five minutes.
FRESH = dt.timedelta(minutes=15)
#: Hosts of an answer that are kept and shown.
SHOWN = 50


def told() -> Consolidating:
    """The one row, made at first use."""
    return Consolidating.objects.get_or_create(pk=1)[0]


@transaction.atomic
def set_consolidation(
    actor: Any,
    mode: str | None = None,
    reason: str = "",
    *,
    begin: str | None = None,
    end: str | None = None,
    **numbers: int | None,
) -> Consolidating:
    """Say what rounds do with hosts that are not needed: nothing, note it, say it, put them to sleep and wake them.

    `begin`, `end`: "HH:MM" between which they may sleep, both empty: always. What is None stays.

    Raises:
        PermissionRefused: it is for those who keep the pool.
        ValidationError: no such mode or time, or a number out of `BOUNDS`.
    """
    require(actor, "pool")
    if mode is not None and mode not in set(Mode):
        raise ValidationError(
            {"mode": _("%(value)r: one of %(known)s") % {"value": mode, "known": ", ".join(Mode)}}
        )
    wanted: dict[str, Any] = {
        name: number for name, number in numbers.items() if number is not None
    }
    for name, number in wanted.items():
        low, high = BOUNDS[name]
        if not low <= number <= high:
            values = {"value": number, "low": low, "high": high}
            raise ValidationError({name: _("%(value)s: from %(low)s to %(high)s") % values})
    row = Consolidating.objects.select_for_update().get(pk=told().pk)
    for name, text in (("begin", begin), ("end", end)):
        if text is not None:
            _check_time(name, text)
            wanted[name] = text
    if bool(wanted.get("begin", row.begin)) != bool(wanted.get("end", row.end)):
        raise ValidationError({"end": _("give both times, or none")})
    if mode is not None:
        wanted["mode"] = mode
    before = {name: getattr(row, name) for name in wanted if getattr(row, name) != wanted[name]}
    for name, value in wanted.items():
        setattr(row, name, value)
    if row.mode == Mode.OFF:
        row.answer = []
    row.save()
    if row.mode not in (Mode.RECOMMEND, Mode.AUTOMATIC) and (going := emptying.current()):
        emptying.call_off(going.pk, say("empty.mode", mode=row.mode), timezone.now(), actor)
    record(actor, "balancer.consolidation", row, **wanted, before=before, reason=reason)
    return row


def _check_time(name: str, text: str) -> None:
    try:
        if text:
            minutes(text)
    except BalancingError:
        values = {"value": text}
        raise ValidationError({name: _("%(value)r: a time like 06:00") % values}) from None


def consolidation_round(now: dt.datetime | None = None) -> int:
    """A round when one is due; returns how many hosts it put to sleep, woke or began to empty."""
    now = now or timezone.now()
    row = told()
    if row.last_round is not None and (now - row.last_round).total_seconds() < EVERY_S:
        return 0
    measured = _measure(now)
    row.last_round = now
    row.save(update_fields=("last_round",))
    if row.mode == Mode.OFF and not foreseen.wanted(now):
        return 0
    plant = emptying.plant_of(now)
    foreseen.note(now, measured, plant)
    if row.mode == Mode.OFF:
        return 0
    made, ready = decide(row, plant, measured, now)
    with transaction.atomic():
        # Who changed what rounds are told meanwhile is not overruled.
        kept = Consolidating.objects.select_for_update().get(pk=row.pk)
        if kept.mode != row.mode:
            return 0
        kept.answer = _answer(made, ready)
        kept.save(update_fields=("answer",))
        _go_on(made, now)
    if row.mode != Mode.AUTOMATIC:
        return 0
    done = sum(_do(order, "wake") for order in made.wake)
    if made.sleep is not None:
        done += _do(made.sleep, "sleep")
    if made.empty is not None and made.empty.mode is Mode.AUTOMATIC:
        done += _empty(made.empty, now)
    return done


def _go_on(made: Consolidation, now: dt.datetime) -> None:
    """What this round says of the host that is being emptied."""
    going = emptying.current()
    if going is None:
        return
    if made.call_off is not None and made.call_off.host == going.host.name:
        emptying.call_off(going.pk, made.call_off.why, now)
    elif made.going is not None and made.going.host == going.host.name:
        HostDrain.objects.filter(pk=going.pk, operation=None).update(sleep_until=made.going.until)


def _empty(order: Order, now: dt.datetime) -> int:
    """Begin it; what stands in the way by now is asked again in the next round."""
    if order.until is None:
        return 0
    try:
        emptying.begin(None, Host.objects.get(name=order.host), order.why, order.until, now)
    except ValidationError:
        return 0
    return 1


@transaction.atomic
def approve(actor: Any, name: str, reason: str = "", now: dt.datetime | None = None) -> HostDrain:
    """Empty the host that the last round has named, and let it sleep, on a person's word.

    Raises:
        PermissionRefused: it is for those who keep the pool.
        ValidationError: the last round has not named it, or was too long ago; or as `emptying.begin`.
    """
    require(actor, "pool")
    now = now or timezone.now()
    row = Consolidating.objects.select_for_update().get(pk=told().pk)
    fresh = row.last_round is not None and row.last_round > now - FRESH
    offers = [each for each in row.answer if each["what"] == "empty" and each["host"] == name]
    if not offers or not fresh:
        raise ValidationError(
            {"host": _("%(host)s is not what the last round would empty") % {"host": name}}
        )
    (offer,) = offers
    why = Said(offer["text"], offer["parts"])
    until = dt.datetime.fromisoformat(offer["until"])
    return emptying.begin(actor, Host.objects.get(name=name), why, until, now, reason)


def decide(
    row: Consolidating, plant: Plant, measured: Demand, now: dt.datetime
) -> tuple[Consolidation, dt.datetime | None]:
    """What a round would do now, and from when on enough is known (nothing: it is)."""
    here = timezone.localtime(now)
    past = foreseen.known()
    calendar = from_calendar(hours.known(hours.kept()), here)
    expected: Forecast = forecast(past, here, measured, calendar)
    hosts = {host.name: host for host in Host.objects.all()}
    powers = (HostPower.WAKING, HostPower.FALLING_ASLEEP)
    waking, falling = (
        [name for name, host in hosts.items() if host.power == power] for power in powers
    )
    resting = emptying.resting(now)
    sleepers = {
        name: replace(_sleeper(host), why_full=resting.get(name))
        for name, host in hosts.items()
        if sleeps(host) or host.power == HostPower.ASLEEP
    }
    going, state = emptying.current(), recommending.balancer().state
    settings = SleepSettings(
        row.headroom_percent / 100, row.keep_awake, row.least_hours, row.begin, row.end
    )
    full = emptying.full(now)
    for _attempt in range(TRIES):
        made = consolidate(
            plant,
            sleepers.values(),
            expected,
            here,
            settings,
            waking=waking,
            falling=falling,
            mode=Mode(row.mode),
            state=BalanceState.of(state) if state else None,
            emptying=Emptying(going.host.name, going.requested_by_id is not None)
            if going
            else None,
            full=full,
        )
        # What rows alone know (an operation at it, claims) is asked of the one that was chosen only.
        if made.sleep is not None and (why := why_not_asleep(hosts[made.sleep.host])) is not None:
            sleepers[made.sleep.host] = replace(sleepers[made.sleep.host], why_not=why)
            made = replace(made, sleep=None)
        elif made.empty is not None and (why := emptying.why_full(hosts[made.empty.host])):
            sleepers[made.empty.host] = replace(sleepers[made.empty.host], why_full=why)
            made = replace(made, empty=None)
        else:
            break
    ready = ready_from(past, here)
    return made, ready if ready > here else None


def _sleeper(host: Host) -> Sleeper:
    def local(at: dt.datetime | None) -> dt.datetime | None:
        return timezone.localtime(at) if at is not None else None

    return Sleeper(
        host.name,
        wake_s=float(wake_s(host)),
        watts=float(sleeps(host).get("watts") or 0),
        since=local(host.power_since),
        until=local(host.power_until),
    )


def _measure(now: dt.datetime) -> Demand:
    """What is wanted now, kept as this hour's where it is the most of it. Four queries."""
    used = (
        DemandSample.objects.filter(at__gt=now - SHORT, at__lte=now)
        .order_by()
        .values("machine_id")
        .annotate(mean=Avg(F("cpu_ratio") + F("wait_ratio")))
        .aggregate(total=Sum("mean"))["total"]
    )
    memory = machines_on_hosts().order_by().aggregate(total=Sum("memory_bytes"))["total"]
    found = Demand(float(used or 0.0), float(memory or 0))
    row, made = DemandHour.objects.get_or_create(
        at=begins(now), defaults={"cpus": found.cpus, "memory_bytes": int(found.memory_bytes)}
    )
    if made:
        DemandHour.objects.filter(at__lt=now - KEPT).delete()
    else:
        most = found.most(Demand(row.cpus, float(row.memory_bytes)))
        DemandHour.objects.filter(pk=row.pk).update(
            cpus=most.cpus, memory_bytes=int(most.memory_bytes)
        )
    return found


def _do(order: Order, what: str) -> int:
    """Have it done by the orchestrator; what stands in the way by now is asked again in the next round."""
    host = Host.objects.get(name=order.host)
    try:
        if what == "wake":
            ask_wake(None, host, reason=str(order.why))
        else:
            ask_sleep(None, host, reason=str(order.why), until=order.until)
    except ValidationError:
        return 0
    return 1


def _answer(made: Consolidation, ready: dt.datetime | None) -> list[dict[str, Any]]:
    """As it is kept: with codes and facts, for readers of any language; of a host to empty with its moves."""
    rows = [
        *(_row(order.host, "wake", order.why) for order in made.wake),
        *_orders("sleep", made.sleep),
        *_orders("empty", made.empty),
        *_orders("called_off", made.call_off),
        *_orders("emptying", made.going),
        *(_row(row.host, "kept", row.why) for row in made.kept[:SHOWN]),
    ]
    if (more := len(made.kept) - SHOWN) > 0:
        rows.append(_row("", "more", say("consolidate.others", count=more)))
    if ready is not None:
        rows.append(_row("", "kept", say("consolidate.ready", at=f"{ready:%Y-%m-%d %H:%M}")))
    return rows


def answer(row: Consolidating, going: HostDrain | None) -> list[dict[str, Any]]:
    """What the last round said, to be shown. Of a host that was being emptied then and is not any more it says what
    became of it. `going`: the one that is. One query where there is such a host, none else."""
    return [
        shown
        for each in row.answer
        for shown in (_became(each, going) if each["what"] == "emptying" else (each,))
    ]


def _became(each: dict[str, Any], going: HostDrain | None) -> Iterable[dict[str, Any]]:
    name = each["host"]
    if going is not None and going.host.name == name:
        yield each
        return
    rows = HostDrain.objects.exclude(state="active").filter(sleep_until__isnull=False)
    last = rows.filter(host__name=name).select_related("host").order_by("-ended_at", "-pk").first()
    if last is None:
        return
    if last.state != "done":
        yield _row(name, "called_off", last.remark)
    elif last.host.power in (HostPower.ASLEEP, HostPower.FALLING_ASLEEP):
        until = last.host.power_until or last.sleep_until or timezone.now()
        text = say(
            "consolidate.emptied", host=name, until=f"{timezone.localtime(until):%Y-%m-%d %H:%M}"
        )
        yield _row(name, "sleep", text, until)
    # One that has woken since is as any other: nothing of what the round said of it is true.


def _orders(what: str, order: Order | None) -> Iterable[dict[str, Any]]:
    if order is None:
        return
    moves = {
        "mode": str(order.mode),
        "moves": [
            {"machine": move.vm, "destination": move.target, "seconds": round(move.seconds, 1)}
            for move in order.moves
        ],
    }
    more = moves if what == "empty" else {}
    yield _row(order.host, what, order.why, order.until) | more


def _row(host: str, what: str, text: Said, until: dt.datetime | None = None) -> dict[str, Any]:
    return {
        "host": host,
        "what": what,
        "text": str(text),
        "parts": parts_of(text),
        "until": until.isoformat() if until is not None else None,
    }
