"""One balancing round: mend what is broken, then the few best moves, each with its reason."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

from millwright.core.lifecycle import Movability

from .answers import (
    BalanceState,
    Circle,
    Code,
    Effect,
    Figures,
    Move,
    Refusal,
    Round,
    Violation,
    Why,
)
from .calendar import at
from .check import violations
from .circles import LEGS, close_circle, exchange
from .failure import verdict
from .frame import Bools, Frame
from .mend import mend, untouchable
from .model import HostState, Mode, Plant
from .policy import RETURN_RESTS, cooling, may_leave, modes, returns
from .propose import exchanges, propose
from .score import (
    LEVELS,
    Level,
    Strain,
    cpu_strain,
    effect,
    figures,
    memory_strain,
    promise_strain,
    seconds,
    worth,
)
from .spare import keep_spare
from .state import State
from .words import Said, say, together


@dataclass
class Making:
    """A round while it is made."""

    frame: Frame
    state: State
    level: Level
    before: BalanceState
    hot: dict[int, int]
    hot_memory: dict[int, int]
    hot_promised: dict[int, int]
    modes: list[Mode]
    moves: list[Move] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    touched: set[int] = field(default_factory=set)
    #: units and hosts to which a person said no
    rejected: set[tuple[int, int]] = field(default_factory=set)
    circles: list[Circle] = field(default_factory=list)

    def add_together(
        self,
        targets: Mapping[int, int],
        why: Why,
        text: str,
        mode: Mode,
        values: Mapping[int, Effect],
        circle: int,
    ) -> None:
        """Note moves that make a circle, and make them at once: one by one they would find no room."""
        first = len(self.moves)
        sources = {unit: self.state.drop(unit) for unit in targets}
        for unit, target in targets.items():
            self.state.at[unit] = sources[unit]
            self._note(unit, target, why, text, mode, values[unit])
            self.state.at[unit] = -1
            self.state.take(unit, target)
        self.moves[first:] = [replace(move, circle=circle) for move in self.moves[first:]]

    def add(self, unit: int, target: int, why: Why, text: str, mode: Mode, value: Effect) -> None:
        """Note the unit's move and make it in the state."""
        self._note(unit, target, why, text, mode, value)
        self.state.move(unit, target)

    def _note(self, unit: int, target: int, why: Why, text: str, mode: Mode, value: Effect) -> None:
        frame = self.frame
        source = int(self.state.at[unit])
        time = float(seconds(frame, unit, source)[target])
        approval = frame.moves[unit] is Movability.APPROVAL
        if suffered := float(frame.disruption[unit]):
            text = together((text, say("move.suffered", suffered_s=suffered)))
        for member in frame.units[unit]:
            node = self.state.node_for(unit, member, target)
            self.moves.append(
                Move(
                    frame.vms[member].name,
                    frame.host_names[source],
                    frame.host_names[target],
                    why,
                    text,
                    time,
                    value,
                    mode,
                    approval,
                    node,
                )
            )
        self.touched.add(unit)


def balance(
    plant: Plant,
    state: BalanceState | None = None,
    now: datetime | None = None,
    *,
    rejected: Collection[tuple[str, str]] = (),
) -> Round:
    """Decide one round. Pure: the same plant, state and moment give the same round.

    `now`: the plant's own time, by which the calendar is laid over the plant first; nothing: the
    plant is taken as it is. `rejected`: machines and the hosts to which a person did not let them go; what
    else can be done is decided as if there were no such way. Nothing is decided while moves run; the
    counters go on.
    """
    resolved = at(plant, now) if now is not None else plant
    settings = resolved.settings
    level = LEVELS[settings.level]
    frame = Frame(resolved)
    live = np.array([not host.state.off for host in frame.hosts], np.bool_)
    table = State(frame)
    old = state or BalanceState()
    before = figures(table, level, live)
    hot = _hot(cpu_strain(table, level), frame, live, old.hot)
    memory = _hot(memory_strain(table, level), frame, live, old.hot_memory) if level.memory else {}
    promised = (
        _hot(promise_strain(table, level), frame, live, old.hot_promised) if level.promised else {}
    )
    uneven = _Uneven(
        before.imbalance > level.imbalance, before.memory_imbalance > level.memory_imbalance
    )
    following = replace(
        old,
        number=old.number + 1,
        imbalanced=old.imbalanced + 1 if hot or uneven.cpu else 0,
        imbalanced_memory=old.imbalanced_memory + 1 if memory or uneven.memory else 0,
    )
    broken = violations(resolved)
    making = Making(frame, table, level, following, hot, memory, promised, modes(frame))
    _bar(making, rejected)
    if settings.moves_running:
        text = say("moves_running", count=settings.moves_running)
        making.refused.append(Refusal("", (Code.MOVES_RUNNING,), text))
    else:
        good = verdict(table, settings.spare_hosts) if settings.spare_hosts else None
        _decide(making, uneven)
        keep_spare(making, good)
    return _finish(making, broken, before, live)


def _bar(making: Making, rejected: Collection[tuple[str, str]]) -> None:
    frame = making.frame
    for vm, host in sorted(set(rejected)):
        if vm in frame.vm_index and host in frame.host_index:
            making.rejected.add((int(frame.unit_of[frame.vm_index[vm]]), frame.host_index[host]))
            text = say("rejected", machine=vm, host=host)
            making.refused.append(Refusal(vm, (Code.REJECTED,), text))


@dataclass(frozen=True, slots=True)
class _Uneven:
    """Whether the pool is more uneven than the level bears, by resource."""

    cpu: bool
    memory: bool


def _hot(strain: Strain, frame: Frame, live: Bools, before: Mapping[str, int]) -> dict[int, int]:
    """Hosts above the threshold and the rounds for which they have been."""
    above = np.flatnonzero((strain.over(strain.load) > 1e-9) & live)
    return {int(host): before.get(frame.host_names[host], 0) + 1 for host in above}


def _decide(making: Making, uneven: _Uneven) -> None:
    settings, level = making.frame.plant.settings, making.level
    budget, patience = settings.max_moves, settings.sustain_rounds
    counted = making.before
    sustained = {
        host
        for hot in (making.hot, making.hot_memory)
        for host, rounds in hot.items()
        if rounds >= patience
    }
    ahead = {host for host, rounds in making.hot_promised.items() if rounds >= patience}
    even = (level.even > 0 and uneven.cpu and counted.imbalanced >= patience) or (
        level.memory_even > 0 and uneven.memory and counted.imbalanced_memory >= patience
    )
    untouchable(making)
    for mode in (Mode.AUTOMATIC, Mode.RECOMMEND, Mode.SHADOW):
        if mode not in making.modes:
            continue
        # What is only watched does not use up what may be done.
        room = settings.max_moves if mode is Mode.SHADOW else budget
        begun = len(making.moves)
        mend(making, mode, room)
        left = room - (len(making.moves) - begun)
        # Mending has emptied some of them.
        sustained |= _full(making)
        if level.balances and left > 0 and (sustained or ahead or even):
            _improve(making, mode, left, sustained, ahead, even)
        if mode is not Mode.SHADOW:
            budget -= len(making.moves) - begun
    if not level.balances:
        return
    if (sustained or even) and not (making.moves or making.refused):
        text = say("no_gain", why=_crowded(making, sustained))
        making.refused.append(Refusal("", (Code.NO_GAIN,), text))
    # A host that had promised too much for long is not told to wait.
    acted = sustained or even or any(move.why is Why.MEMORY for move in making.moves)
    if (making.hot or making.hot_memory or uneven.cpu or uneven.memory) and not acted:
        longest = max(
            *(0, *making.hot.values(), *making.hot_memory.values()),
            counted.imbalanced if level.even else 0,
            counted.imbalanced_memory if level.memory_even else 0,
        )
        if longest:
            text = say("not_sustained", count=longest, limit=patience)
            making.refused.append(Refusal("", (Code.NOT_SUSTAINED,), text))


def _full(making: Making) -> set[int]:
    """Hosts that are acted upon at once: who shares CPUs waits, but who finds no memory is killed.

    What guests have not told of is no reason for haste.
    """
    frame, state = making.frame, making.state
    placed = np.flatnonzero(state.at >= 0)
    used = np.bincount(state.at[placed], frame.told[placed], len(frame.hosts))
    ratio = used / frame.ordinary_usable
    return {host for host in making.hot_memory if ratio[host] > making.level.memory_full}


def _crowded(making: Making, sustained: set[int]) -> Said:
    """Which hosts have been above which threshold, for people."""
    level, told = making.level, []
    for hot, threshold, what in (
        (making.hot, level.threshold, "no_gain.cpus"),
        (making.hot_memory, level.memory_threshold, "no_gain.memory"),
    ):
        if names := sorted(making.frame.host_names[h] for h in sustained & hot.keys()):
            told.append(say(what, names=names, threshold_ratio=threshold))
    return together(told) or say("no_gain.uneven")


def _improve(
    making: Making, mode: Mode, budget: int, sustained: set[int], ahead: set[int], even: bool
) -> None:
    frame, state, level = making.frame, making.state, making.level
    horizon = frame.plant.settings.horizon_s
    candidates = _candidates(making, mode, sustained, ahead, even)
    if not candidates:
        return
    least = level.least * horizon / 60.0
    barred = returns(frame, making.before, candidates) | making.rejected
    made: list[tuple[int, int]] = []
    for _ in range(4):
        if budget - len(made) <= 0:
            break
        rejected = False
        proposals = propose(state, candidates, level, horizon, budget - len(made), barred)
        for unit, target in proposals:
            if len(frame.units[unit]) > budget - len(made):
                barred.add((unit, target))
                continue
            source = int(state.at[unit])
            value = worth(state, unit, level, horizon)
            net, price = float(value.net[target]), float(value.cost[target] + value.risk[target])
            enough = net > least and value.benefit[target] > price * (1 + level.margin)
            if not enough or not state.fits(unit)[target]:
                barred.add((unit, target))
                rejected = True
                continue
            told = effect(state, unit, target, value)
            # What most of the benefit is of is the reason.
            of_memory = float(value.memory[target]) > float(value.benefit[target]) / 2
            why, text = _reason(making, unit, source, target, told, of_memory)
            making.add(unit, target, why, text, mode, told)
            made.extend([(unit, source)] * len(frame.units[unit]))
            candidates.discard(unit)
        if not rejected:
            break
    bold = level.even > 0 or level.memory_even > 0
    if bold and budget - len(made) >= 2:
        for one, other in exchanges(
            state, candidates, level, horizon, (budget - len(made)) // 2, least
        ):
            if (one, int(state.at[other])) in barred or (other, int(state.at[one])) in barred:
                continue
            if exchange(making, one, other, mode):
                made.extend([(one, -1), (other, -1)])
    if not made and budget >= LEGS and (sustained or even):
        # No single move helps. What is only promised is worth no more than one.
        others = _candidates(making, mode, sustained, ahead, True, silent=True)
        close_circle(making, candidates, others, mode, least)
    _take_back(making, [(unit, source) for unit, source in made if source >= 0])


def _candidates(
    making: Making,
    mode: Mode,
    sustained: set[int],
    ahead: set[int],
    even: bool,
    *,
    silent: bool = False,
) -> set[int]:
    frame, state = making.frame, making.state
    found, cooled = set(), []
    for unit, place in enumerate(state.at.tolist()):
        if place < 0 or making.modes[unit] is not mode or unit in making.touched:
            continue
        if not even and place not in sustained and place not in ahead:
            continue
        if frame.hosts[place].state in (HostState.DOWN, HostState.SUSPECT):
            continue
        if frame.moves[unit] in (Movability.NEVER, Movability.WINDOW) and may_leave(frame, unit):
            continue
        if unit in frame.tied:
            continue
        if cooling(frame, unit, making.before):
            if even or place in sustained:
                cooled.append(unit)
            continue
        found.add(unit)
    for unit in () if silent else cooled:
        name = frame.name_of(unit)
        making.refused.append(Refusal(name, (Code.COOLDOWN,), say("cooldown", machine=name)))
    return found


def _take_back(making: Making, made: list[tuple[int, int]]) -> None:
    """Undo moves that the later ones have made needless: going back would cost no benefit."""
    frame, state = making.frame, making.state
    horizon = frame.plant.settings.horizon_s
    for unit, source in dict.fromkeys(reversed(made)):
        value = worth(state, unit, making.level, horizon)
        mine = next(m for m in making.moves if m.vm == frame.name_of(unit))
        lost = -float(value.benefit[source])
        if lost <= mine.effect.cost and state.fits(unit)[source]:
            names = set(frame.names_of(unit))
            state.move(unit, source)
            making.moves = [move for move in making.moves if move.vm not in names]
            making.touched.discard(unit)


def _reason(
    making: Making, unit: int, source: int, target: int, told: Effect, of_memory: bool
) -> tuple[Why, Said]:
    frame, level = making.frame, making.level
    here, there = frame.host_names[source], frame.host_names[target]
    hot = (making.hot_memory if of_memory else making.hot).get(source, 0)
    if of_memory and not hot and source in making.hot_promised:
        return Why.MEMORY, _ahead(making, unit, source, target)
    why = Why.EVEN if not hot else Why.MEMORY if of_memory else Why.CONTENTION
    if of_memory:
        what, threshold = "memory", level.memory_threshold
        taken = {"taken_bytes": float(frame.ordinary[unit]) * 2**20}
        ratios = (
            (told.memory_source_before, told.memory_source_after),
            (told.memory_target_before, told.memory_target_after),
        )
    else:
        what, threshold = "cpus", level.threshold
        taken = {"taken": float(frame.demand[unit])}
        ratios = (
            (told.source_before, told.source_after),
            (told.target_before, told.target_after),
        )
    lead = (
        say(f"move.hot_{what}", host=here, threshold_ratio=threshold, count=hot)
        if hot
        else say(f"move.uneven_{what}", host=here)
    )
    (before, after), (emptier, fuller) = ratios
    way = say(
        f"move.{what}",
        machine=frame.name_of(unit),
        host=there,
        before_ratio=before,
        after_ratio=after,
        then_before_ratio=emptier,
        then_after_ratio=fuller,
        **taken,
    )
    return why, together((lead, way))


def _ahead(making: Making, unit: int, source: int, target: int) -> Said:
    """The reason of a move for what hosts have promised of their memory, ahead of need."""
    frame, level = making.frame, making.level
    strain = promise_strain(making.state, level)
    want = float(strain.want[unit])
    (here, there), room = strain.load[[source, target]], strain.usable[[source, target]]
    lead = say(
        "move.promised",
        host=frame.host_names[source],
        threshold_ratio=level.memory_threshold,
        count=making.hot_promised[source],
    )
    way = say(
        "move.memory_promised",
        machine=frame.name_of(unit),
        host=frame.host_names[target],
        taken_bytes=want * 2**20,
        before_ratio=float(here / room[0]),
        after_ratio=float((here - want) / room[0]),
        then_before_ratio=float(there / room[1]),
        then_after_ratio=float((there + want) / room[1]),
    )
    return together((lead, way))


def _finish(
    making: Making,
    broken: tuple[Violation, ...],
    before: Figures,
    live: Bools,
) -> Round:
    frame, old = making.frame, making.before
    known = {vm.name for vm in frame.vms}
    rounds = frame.plant.settings.cooldown_rounds * RETURN_RESTS
    moved = {
        name: number
        for name, number in old.moved.items()
        if name in known and old.number - number <= rounds
    }
    names = frame.host_names
    following = replace(
        old,
        hot={names[host]: count for host, count in making.hot.items()},
        hot_memory={names[host]: count for host, count in making.hot_memory.items()},
        hot_promised={names[host]: count for host, count in making.hot_promised.items()},
        moved=moved,
        left={
            name: {host: number for host, number in hosts.items() if old.number - number <= rounds}
            for name, hosts in old.left.items()
            if name in moved
        },
    ).record(tuple(move for move in making.moves if move.mode is Mode.AUTOMATIC))
    return Round(
        tuple(making.moves),
        tuple(making.refused),
        broken,
        before,
        figures(making.state, making.level, live),
        following,
        tuple(making.circles),
    )
