"""Which hosts sleep while they are not needed, which is emptied for it, and which are woken before they are needed.

Pure: a plant, what is known of how its hosts sleep, a forecast and settings give the same answer each time. Only hosts
that are awake and up count as room; the death of as many hosts as the plant keeps to spare is survived by them alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from millwright.core.lifecycle import Movability

from .answers import Move
from .calendar import minutes
from .check import after
from .drain import drain_state
from .failure import verdict
from .forecast import HOUR, Demand, Forecast
from .frame import Frame
from .model import Host, HostState, Mode, Plant, RuleKind
from .policy import limits_of, modes
from .score import LEVELS
from .state import State
from .words import Said, say

#: a round may be late by so much, and the forecast's hours are cut sharp
LEAD = timedelta(minutes=15)
#: what an empty host that is awake costs, as a share of its CPUs at work
IDLE_RATIO = 0.4
#: after a host woke it is seen first what that was for
SETTLE = timedelta(hours=1)
#: hosts that are looked at more closely in a round, the cheapest first
TRIES = 4


@dataclass(frozen=True, slots=True)
class SleepSettings:
    """`headroom_ratio`: on top of what is expected; `begin`, `end`: "HH:MM" between which hosts may sleep, none: always."""

    headroom_ratio: float = 0.2
    keep_awake: int = 2
    least_hours: int = 3
    begin: str = ""
    end: str = ""


@dataclass(frozen=True, slots=True)
class Sleeper:
    """How a host sleeps. `since`: when its power changed last; `until`: when it shall be awake again."""

    host: str
    wake_s: float = 180.0
    watts: float = 0.0
    since: datetime | None = None
    until: datetime | None = None
    #: what keeps it from sleeping; nothing: it may
    why_not: Said | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """One host to put to sleep (until), to empty (moves, until) or to wake, and why."""

    host: str
    why: Said
    until: datetime | None = None
    moves: tuple[Move, ...] = ()


@dataclass(frozen=True, slots=True)
class Kept:
    """A host that stays as it is, and why."""

    host: str
    why: Said


@dataclass(frozen=True, slots=True)
class Consolidation:
    """One round's answer: at most one host sleeps or is emptied, as many as are needed wake."""

    wake: tuple[Order, ...] = ()
    sleep: Order | None = None
    empty: Order | None = None
    kept: tuple[Kept, ...] = ()


def consolidate(
    plant: Plant,
    sleepers: Iterable[Sleeper],
    expected: Forecast,
    now: datetime,
    settings: SleepSettings,
    *,
    wanted: Mapping[str, Said] | None = None,
    waking: Collection[str] = (),
    falling: Collection[str] = (),
) -> Consolidation:
    """Decide one round.

    `wanted`: hosts that somebody needs awake, and why. `waking`, `falling`: hosts on their way from sleep or to it;
    while there are any, or moves run, no other is put to sleep or emptied. Times are of one kind, as the forecast's.
    """
    return _Round(plant, sleepers, expected, now, settings, waking, falling).decide(wanted or {})


class _Round:
    def __init__(
        self,
        plant: Plant,
        sleepers: Iterable[Sleeper],
        expected: Forecast,
        now: datetime,
        settings: SleepSettings,
        waking: Collection[str],
        falling: Collection[str],
    ) -> None:
        self.plant, self.expected, self.now, self.settings = plant, expected, now, settings
        self.sleepers = {row.host: row for row in sleepers}
        self.hosts = {host.name: host for host in plant.hosts}
        self.waking = [host for host in plant.hosts if host.name in waking]
        self.busy = {*waking, *falling}
        self.awake = [host for host in plant.hosts if host.state is HostState.UP]
        self.asleep = [
            host
            for host in plant.hosts
            if host.state is HostState.ASLEEP
            and host.name in self.sleepers
            and host.name not in self.busy
        ]
        self._all_awake = _room(self.awake)
        self.guests: dict[str, int] = {}
        for vm in plant.vms:
            if vm.host is not None:
                self.guests[vm.host] = self.guests.get(vm.host, 0) + 1
        self.kept: list[Kept] = []

    def decide(self, wanted: Mapping[str, Said]) -> Consolidation:
        wake = self._wake(wanted)
        if wake:
            return Consolidation(wake=wake)
        if self.busy or self.plant.settings.moves_running:
            return Consolidation(kept=(Kept("", say("consolidate.busy")),))
        if (text := self._closed()) is not None:
            return Consolidation(kept=(Kept("", text),))
        candidates = self._candidates()
        for host, until in candidates:
            if not self.guests.get(host.name) and self._spares(self._without(host), host):
                return Consolidation(sleep=self._order(host, until), kept=tuple(self.kept))
        tried = 0
        for host, until in candidates:
            if self.guests.get(host.name) and tried < TRIES:
                tried += 1
                if (order := self._emptied(host, until)) is not None:
                    return Consolidation(empty=order, kept=tuple(self.kept))
        return Consolidation(kept=tuple(self.kept))

    # -- waking --------------------------------------------------------------

    def _wake(self, wanted: Mapping[str, Said]) -> tuple[Order, ...]:
        found: dict[str, Order] = {}
        for host in self.asleep:
            until = self.sleepers[host.name].until
            if host.name in wanted:
                found[host.name] = Order(host.name, wanted[host.name])
            elif until is not None and self.now + self._lead(host) >= until:
                found[host.name] = Order(host.name, say("consolidate.until", host=host.name))
            elif (lost := self._lost()) is not None:
                # Its machines may find room on none of those awake, and nobody knows how long it is gone.
                found[host.name] = Order(host.name, lost)
        rest = sorted(
            (host for host in self.asleep if host.name not in found),
            key=lambda host: (self.sleepers[host.name].wake_s, -host.cpus, host.name),
        )
        awake = [*self.awake, *self.waking, *(self.hosts[name] for name in found)]
        while rest:
            why = self._too_few(awake, rest[0])
            if why is None:
                break
            host = rest.pop(0)
            found[host.name] = Order(host.name, why)
            awake.append(host)
        if rest and not found and not self.busy and (why := self._in_danger()) is not None:
            found[rest[0].name] = Order(rest[0].name, why)
        return tuple(found.values())

    def _lost(self) -> Said | None:
        """A host is down with machines on it."""
        for host in self.plant.hosts:
            if host.state is HostState.DOWN and self.guests.get(host.name):
                return say("consolidate.lost", name=host.name)
        return None

    def _lead(self, host: Host) -> timedelta:
        return timedelta(seconds=self.sleepers[host.name].wake_s) + LEAD

    def _too_few(self, awake: Sequence[Host], next_one: Host) -> Said | None:
        """What is expected until this one could be awake, and is more than those awake have."""
        if len(awake) < self.settings.keep_awake:
            return say("consolidate.keep", count=self.settings.keep_awake)
        last = (self.now + self._lead(next_one) - self.expected.begins) // HOUR
        for index in range(last + 1):
            demand = self.expected.of(index)
            # By itself nobody sleeps over an hour that is not known; whom a person put to sleep, sleeps.
            if demand is not None and not self._enough(_room(awake), demand):
                return self._more(demand, index, _room(awake), "consolidate.more")
        return None

    def _in_danger(self) -> Said | None:
        """N+k is not kept by those awake."""
        k = self.plant.settings.spare_hosts
        if not k or verdict(State(Frame(self.plant)), k).room:
            return None
        return say("consolidate.danger", count=k)

    # -- sleeping ------------------------------------------------------------

    def _closed(self) -> Said | None:
        """Why no host may fall asleep now, whichever it is."""
        if self.expected.of(0) is None:
            return say("consolidate.no_history")
        if (lost := self._lost()) is not None:
            return lost
        begin, end = self.settings.begin, self.settings.end
        if begin and end and not _within(self.now, begin, end):
            return say("consolidate.hours", begin=begin, end=end)
        times = [self.sleepers[h.name].since for h in self.awake if h.name in self.sleepers]
        if any(since is not None and self.now - since < SETTLE for since in times):
            return say("consolidate.settling")
        if len(self.awake) <= self.settings.keep_awake:
            return say("consolidate.kept", count=self.settings.keep_awake)
        return None

    def _candidates(self) -> list[tuple[Host, datetime]]:
        """Hosts that are not needed for long enough, the cheapest to empty first, and until when."""
        found = []
        stuck = self._stuck()
        for host in self.awake:
            sleeper = self.sleepers.get(host.name)
            if sleeper is None:
                continue
            least = timedelta(hours=self.settings.least_hours)
            until, why = self._until(host)
            if sleeper.why_not is not None:
                why = sleeper.why_not
            elif sleeper.since is not None and self.now - sleeper.since < least:
                why = say("consolidate.lately", hours=self.settings.least_hours)
            elif host.name in stuck:
                why = say("consolidate.control", machine=stuck[host.name])
            elif until - self.now >= least:
                why = self._ruled(host)
            if why is not None:
                self.kept.append(Kept(host.name, why))
            else:
                found.append((host, until))
        memory: dict[str, int] = {}
        for vm in self.plant.vms:
            if vm.host is not None:
                memory[vm.host] = memory.get(vm.host, 0) + vm.memory_bytes
        return sorted(
            found,
            key=lambda row: (
                memory.get(row[0].name, 0),
                -self.sleepers[row[0].name].watts,
                row[0].name,
            ),
        )

    def _until(self, host: Host) -> tuple[datetime, Said | None]:
        """When the host is needed again, less the time that waking takes; and why that is too soon."""
        cpus, memory = self._all_awake
        own = _room((host,))
        room = (cpus - own[0], memory - own[1])
        until, why = self.expected.hour(len(self.expected.hours)), None
        for index in range(len(self.expected.hours)):
            demand = self.expected.of(index)
            if demand is None:
                until, why = self.expected.hour(index), say("consolidate.no_history")
                break
            if not self._enough(room, demand):
                until = self.expected.hour(index)
                why = self._more(demand, index, room, "consolidate.needed")
                break
        if self.settings.begin and self.settings.end:
            ends = _next(self.now, self.settings.end)
            if ends < until:
                until = ends
                why = say("consolidate.hours", begin=self.settings.begin, end=self.settings.end)
        until -= self._lead(host)
        return until, why if until - self.now < timedelta(hours=self.settings.least_hours) else None

    def _stuck(self) -> dict[str, str]:
        """By host one machine that does not move by itself."""
        frame = Frame(self.plant)
        by = modes(frame)
        found: dict[str, str] = {}
        for number, unit in enumerate(frame.units):
            here = int(frame.home[number])
            if here >= 0 and (
                frame.moves[number] is not Movability.FREE or by[number] in (Mode.OFF, Mode.SHADOW)
            ):
                found.setdefault(frame.host_names[here], frame.vms[unit[0]].name)
        return found

    def _ruled(self, host: Host) -> Said | None:
        """A hard rule that needs it, or another host of its failure domain, awake."""
        rest = [other for other in self.awake if other is not host]
        domains = {other.domain or other.name for other in rest}
        names = {other.name for other in rest}
        for rule in self.plant.rules:
            if not rule.hard:
                continue
            needed = rule.minimum or len(rule.vms)
            if (
                (rule.kind is RuleKind.SPREAD and len(domains) < needed)
                or (rule.kind is RuleKind.APART and len(rest) < len(rule.vms))
                or (
                    rule.kind is RuleKind.ON_HOSTS
                    and host.name in rule.hosts
                    and not names & set(rule.hosts)
                )
            ):
                return say("consolidate.rule", name=rule.name)
        return None

    def _without(self, host: Host, moves: Sequence[Move] = ()) -> Plant:
        """The plant with this host asleep, after these moves."""
        moved = after(self.plant, moves)
        return replace(
            moved,
            hosts=tuple(
                replace(row, state=HostState.ASLEEP) if row.name == host.name else row
                for row in moved.hosts
            ),
        )

    def _spares(self, plant: Plant, host: Host) -> bool:
        """The other hosts alone survive what they survived with it."""
        k = plant.settings.spare_hosts
        if not k or verdict(State(Frame(plant)), k).room:
            return True
        self.kept.append(Kept(host.name, say("consolidate.spare", count=k)))
        return False

    def _emptied(self, host: Host, until: datetime) -> Order | None:
        frame = Frame(self.plant)
        state = State(frame)
        made = drain_state(state, [frame.host_index[host.name]], limits_of(self.plant))
        if not made.possible:
            self.kept.append(Kept(host.name, say("consolidate.stays", why=made.blockers[0].text)))
            return None
        hours = (until - self.now) / HOUR
        saved = IDLE_RATIO * host.cpus * hours * 3600
        cost = sum(move.effect.cost + move.effect.risk for move in made.moves)
        level = LEVELS[self.plant.settings.level]
        if saved <= cost * (1 + level.margin):
            text = say("consolidate.no_gain", saved_s=saved, cost_s=cost, hours=hours)
            self.kept.append(Kept(host.name, text))
            return None
        then = self._without(host, made.moves)
        if (full := _crowded(self.plant, then, level.threshold)) is not None:
            self.kept.append(
                Kept(host.name, say("consolidate.crowded", name=full, limit_ratio=level.threshold))
            )
            return None
        if not self._spares(then, host):
            return None
        why = say(
            "consolidate.empty",
            host=host.name,
            count=len(made.moves),
            until=_at(until),
            hours=hours,
            saved_s=saved,
            cost_s=cost,
        )
        return Order(host.name, why, until, made.moves)

    def _order(self, host: Host, until: datetime) -> Order:
        hours = (until - self.now) / HOUR
        return Order(
            host.name,
            say("consolidate.sleep", host=host.name, until=_at(until), hours=hours),
            until,
        )

    # -- sums ----------------------------------------------------------------

    def _enough(self, room: tuple[float, float], demand: Demand) -> bool:
        """These CPUs and this memory are what is expected and the headroom."""
        cpus, memory = room
        more = 1 + self.settings.headroom_ratio
        return demand.cpus * more <= cpus and demand.memory_bytes * more <= memory

    def _more(self, demand: Demand, index: int, room: tuple[float, float], code: str) -> Said:
        cpus, memory = room
        return say(
            code,
            at=_at(self.expected.hour(index)),
            cpus=float(demand.cpus),
            free=float(cpus),
            wanted_bytes=float(demand.memory_bytes),
            free_bytes=float(memory),
            headroom_ratio=self.settings.headroom_ratio,
        )


def _room(hosts: Iterable[Host]) -> tuple[float, float]:
    """CPUs and memory of these hosts together, less what is set aside."""
    rows = list(hosts)
    return (
        sum(host.cpus - host.cpus_aside for host in rows),
        float(sum(host.memory_bytes - host.memory_aside_bytes for host in rows)),
    )


def _crowded(before: Plant, after: Plant, threshold: float) -> str | None:
    """A host that would be contended for CPUs by the moves; nothing: none."""
    then, now = State(Frame(after)), State(Frame(before))
    usable = np.array([max(host.cpus - host.cpus_aside, 1e-9) for host in after.hosts])
    over = (then.load > threshold * usable) & (then.load > now.load + 1e-9)
    found = np.flatnonzero(over)
    return after.hosts[int(found[0])].name if len(found) else None


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def _within(now: datetime, begin: str, end: str) -> bool:
    minute, first, last = now.hour * 60 + now.minute, minutes(begin), minutes(end)
    return first <= minute < last if first < last else minute >= first or minute < last


def _next(now: datetime, text: str) -> datetime:
    """The next moment at which the day has this time."""
    at = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(minutes=minutes(text))
    return at if at > now else at + timedelta(days=1)
