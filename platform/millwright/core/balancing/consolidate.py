"""Which hosts sleep while they are not needed, which is emptied for it, and which are woken before they are needed.

Pure: a plant, what is known of how its hosts sleep, a forecast and settings give the same answer each time. Only hosts
that are awake and up count as room; the death of as many hosts as the plant keeps to spare is survived by them alone.
A host that is being emptied is asked about each time: what made it needless has to hold until it sleeps.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from millwright.core.lifecycle import Movability

from .answers import BalanceState, Move
from .calendar import minutes
from .check import after
from .drain import drain_state
from .failure import verdict
from .forecast import HOUR, Demand, Forecast
from .frame import Frame
from .model import Host, HostState, Mode, Plant, RuleKind
from .policy import MILD, cooling, limits_of, modes, returns
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
    #: what keeps it from being emptied for it
    why_full: Said | None = None


@dataclass(frozen=True, slots=True)
class Emptying:
    """The host that is being emptied so that it can sleep. `approved`: a person said so, and not rounds by themselves."""

    host: str
    approved: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """One host to put to sleep (until), to empty (moves, until) or to wake, and why.

    `mode`: how boldly it is emptied, the mildest of the round's mode and those of its machines.
    """

    host: str
    why: Said
    until: datetime | None = None
    moves: tuple[Move, ...] = ()
    mode: Mode = Mode.AUTOMATIC


@dataclass(frozen=True, slots=True)
class Kept:
    """A host that stays as it is, and why."""

    host: str
    why: Said


@dataclass(frozen=True, slots=True)
class Consolidation:
    """One round's answer: at most one host sleeps or is emptied, as many as are needed wake.

    Of a host that is being emptied: `going`, it goes on, until when it is not needed; or `call_off`, and why.
    """

    wake: tuple[Order, ...] = ()
    sleep: Order | None = None
    empty: Order | None = None
    going: Order | None = None
    call_off: Order | None = None
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
    mode: Mode = Mode.AUTOMATIC,
    state: BalanceState | None = None,
    emptying: Emptying | None = None,
    full: Said | None = None,
) -> Consolidation:
    """Decide one round.

    `wanted`: hosts that somebody needs awake, and why. `waking`, `falling`: hosts on their way from sleep or to it;
    while there are any, or moves run, no other is put to sleep or emptied. Times are of one kind, as the forecast's.
    `mode`: the boldest by which a host is emptied; `state`: what balancing rounds tell each other, so that nobody
    moves who has moved lately; `full`: why no host is emptied now, whichever it is.
    """
    made = _Round(plant, sleepers, expected, now, settings, waking, falling, mode, state, full)
    return made.decide(wanted or {}, emptying)


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
        mode: Mode,
        state: BalanceState | None,
        full: Said | None,
    ) -> None:
        self.mode, self.before, self.full = mode, state or BalanceState(), full
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

    def decide(self, wanted: Mapping[str, Said], emptying: Emptying | None) -> Consolidation:
        if emptying is not None and emptying.host in self.hosts:
            return self._emptying(emptying, wanted)
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
        order = self._to_empty([row for row in candidates if self.guests.get(row[0].name)])
        return Consolidation(empty=order, kept=tuple(self.kept))

    # -- emptying ------------------------------------------------------------

    def _to_empty(self, candidates: Sequence[tuple[Host, datetime]]) -> Order | None:
        """The cheapest that may be emptied, what may be done by itself before what a person is asked for."""
        if candidates and self.full is not None:
            self.kept.append(Kept("", self.full))
            return None
        rows = []
        for host, until in candidates:
            milder = self.milder.get(host.name)
            if (why := self.sleepers[host.name].why_full) is not None:
                self.kept.append(Kept(host.name, why))
            else:
                rows.append((milder[0] if milder else self.mode, host, until))
            if why is None and milder is not None:
                text = say("consolidate.mode", machine=milder[1], mode=str(milder[0]))
                self.kept.append(Kept(host.name, text))
        rows.sort(key=lambda row: -MILD.index(row[0]))
        for mode, host, until in rows[:TRIES]:
            if (order := self._emptied(host, until)) is not None:
                return replace(order, mode=mode)
        return None

    def _emptying(self, emptying: Emptying, wanted: Mapping[str, Said]) -> Consolidation:
        """Whether a host that is being emptied is still not needed, and all that is needed else."""
        host = self.hosts[emptying.host]
        self.awake = [row for row in self.awake if row is not host]
        self._all_awake = _room(self.awake)
        until, why = self._unwanted(host, emptying, wanted)
        if why is None:
            text = say("consolidate.emptying", host=host.name, until=_at(until))
            return Consolidation(
                wake=self._wake(wanted), going=Order(host.name, text, until), kept=tuple(self.kept)
            )
        if host.state in (HostState.UP, HostState.DRAINING):
            # It takes machines again: nobody is woken for what it bears.
            self.awake.append(host)
        return Consolidation(wake=self._wake(wanted), call_off=Order(host.name, why))

    def _unwanted(
        self, host: Host, emptying: Emptying, wanted: Mapping[str, Said]
    ) -> tuple[datetime, Said | None]:
        """Until when it is not needed, and why it is to take machines again after all.

        It was chosen for so many hours; while it is emptied they pass, so that half of them are enough.
        """
        if host.name not in self.sleepers:
            return self.now, say("power.may_not", host=host.name)
        least = timedelta(hours=self.settings.least_hours) / 2
        until, why = self._until(host, least)
        begin, end = self.settings.begin, self.settings.end
        if (lost := self._lost()) is not None:
            return until, lost
        if host.name in wanted:
            return until, wanted[host.name]
        if len(self.awake) < self.settings.keep_awake:
            return until, say("consolidate.kept", count=self.settings.keep_awake)
        if begin and end and not _within(self.now, begin, end):
            return until, say("consolidate.hours", begin=begin, end=end)
        if why is not None:
            return until, why
        if (why := self._stuck(approved=emptying.approved).get(host.name)) is not None:
            return until, why
        if (why := self._ruled(host)) is not None:
            return until, why
        state = State(Frame(self.plant))
        made = drain_state(state, [state.frame.host_index[host.name]], limits_of(self.plant))
        if made.possible and not self._spares(self._without(host, made.moves), host):
            return until, self.kept.pop().why
        return until, None

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
            until, why = self._until(host, least)
            if sleeper.why_not is not None:
                why = sleeper.why_not
            elif sleeper.since is not None and self.now - sleeper.since < least:
                why = say("consolidate.lately", hours=self.settings.least_hours)
            elif host.name in stuck:
                why = stuck[host.name]
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

    def _until(self, host: Host, least: timedelta) -> tuple[datetime, Said | None]:
        """When the host is needed again, less the time that waking takes; and why that is sooner than `least`."""
        cpus, memory = self._all_awake
        own = _room((host,) if host in self.awake else ())
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
        return until, why if until - self.now < least else None

    def _stuck(self, *, approved: bool = True) -> dict[str, Said]:
        """By host why it cannot be emptied for one machine on it; and in `milder` what its machines want asked first.

        `approved`: a person is asked, or was.
        """
        frame = Frame(self.plant)
        by = modes(frame)
        # What is only noted may be noted of whoever is watched.
        least = Mode.SHADOW if self.mode is Mode.SHADOW else Mode.RECOMMEND
        if not approved:
            least = Mode.AUTOMATIC
        found: dict[str, Said] = {}
        self.milder: dict[str, tuple[Mode, str]] = {}
        for number, unit in enumerate(frame.units):
            here = int(frame.home[number])
            if here < 0:
                continue
            host, machine, mode = frame.host_names[here], frame.vms[unit[0]].name, by[number]
            if frame.moves[number] is not Movability.FREE:
                found.setdefault(host, say("consolidate.control", machine=machine))
            elif MILD.index(mode) < MILD.index(least):
                text = say("consolidate.mode", machine=machine, mode=str(mode))
                found.setdefault(host, text)
            elif MILD.index(mode) < MILD.index(self.milder.get(host, (self.mode, ""))[0]):
                self.milder[host] = (mode, machine)
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
        if (why := self._rests(frame, host)) is not None:
            self.kept.append(Kept(host.name, why))
            return None
        made = drain_state(state, [frame.host_index[host.name]], limits_of(self.plant))
        if not made.possible:
            self.kept.append(Kept(host.name, say("consolidate.stays", why=made.blockers[0].text)))
            return None
        if (why := self._in_the_way(frame, host, made.moves)) is not None:
            self.kept.append(Kept(host.name, why))
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

    def _rests(self, frame: Frame, host: Host) -> Said | None:
        """A machine on it that has moved too lately to move again."""
        here = frame.host_index[host.name]
        for number in np.flatnonzero(frame.home == here).tolist():
            if cooling(frame, number, self.before):
                return say("consolidate.rests", machine=frame.name_of(number))
        return None

    def _in_the_way(self, frame: Frame, host: Host, moves: Sequence[Move]) -> Said | None:
        """A machine that would go back to a host that it left lately, or make room and does not move by itself."""
        by, mode = modes(frame), self.milder.get(host.name, (self.mode, ""))[0]
        units = {int(frame.unit_of[frame.vm_index[move.vm]]): move for move in moves}
        barred = returns(frame, self.before, units)
        for number, move in units.items():
            if (number, frame.host_index[move.target]) in barred:
                return say("consolidate.returns", machine=move.vm, host=move.target)
            if MILD.index(by[number]) < MILD.index(mode):
                return say("consolidate.room", machine=move.vm, mode=str(by[number]))
        return None

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
