"""One balancing round: mend what is broken, then the few best moves, each with its reason."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

from millwright.core.lifecycle import Movability

from .answers import (
    BalanceState,
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
from .failure import verdict
from .frame import Bools, Frame
from .mend import mend, untouchable
from .model import HostState, Mode, Plant
from .policy import RETURN_RESTS, cooling, may_leave, modes, returns
from .propose import exchanges, propose
from .score import LEVELS, Level, effect, figures, over, seconds, worth
from .spare import keep_spare
from .state import State


@dataclass
class Making:
    """A round while it is made."""

    frame: Frame
    state: State
    level: Level
    before: BalanceState
    hot: dict[int, int]
    modes: list[Mode]
    moves: list[Move] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    touched: set[int] = field(default_factory=set)

    def add(self, unit: int, target: int, why: Why, text: str, mode: Mode, value: Effect) -> None:
        """Note the unit's move and make it in the state."""
        frame = self.frame
        source = int(self.state.at[unit])
        time = float(seconds(frame, unit, source)[target])
        approval = frame.moves[unit] is Movability.APPROVAL
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
        self.state.move(unit, target)
        self.touched.add(unit)


def balance(plant: Plant, state: BalanceState | None = None, now: datetime | None = None) -> Round:
    """Decide one round. Pure: the same plant, state and moment give the same round.

    `now`: the plant's own time, by which the calendar is laid over the plant first; nothing: the
    plant is taken as it is. Nothing is decided while moves run; the counters go on.
    """
    resolved = at(plant, now) if now is not None else plant
    settings = resolved.settings
    level = LEVELS[settings.level]
    frame = Frame(resolved)
    live = np.array([host.state is not HostState.DOWN for host in frame.hosts], np.bool_)
    table = State(frame)
    old = state or BalanceState()
    before = figures(table, level, live)
    hot = _hot(table, level, live, old)
    uneven = before.imbalance > level.imbalance
    imbalanced = old.imbalanced + 1 if hot or uneven else 0
    broken = violations(resolved)
    making = Making(frame, table, level, replace(old, number=old.number + 1), hot, modes(frame))
    if settings.moves_running:
        text = f"{settings.moves_running} moves are running; the next round decides"
        making.refused.append(Refusal("", (Code.MOVES_RUNNING,), text))
    else:
        good = settings.spare_hosts < 1 or verdict(table, settings.spare_hosts).ok
        _decide(making, imbalanced, uneven, broken)
        keep_spare(making, good)
    return _finish(making, imbalanced, broken, before, live)


def _hot(table: State, level: Level, live: Bools, old: BalanceState) -> dict[int, int]:
    """Hosts above the threshold and the rounds for which they have been."""
    above = np.flatnonzero((over(table.load, table.frame, level) > 1e-9) & live)
    names = table.frame.host_names
    return {int(host): old.hot.get(names[host], 0) + 1 for host in above}


def _decide(making: Making, imbalanced: int, uneven: bool, broken: tuple[Violation, ...]) -> None:
    settings = making.frame.plant.settings
    budget = settings.max_moves
    sustained = {host for host, rounds in making.hot.items() if rounds >= settings.sustain_rounds}
    even = making.level.even > 0 and uneven and imbalanced >= settings.sustain_rounds
    untouchable(making)
    for mode in (Mode.AUTOMATIC, Mode.RECOMMEND, Mode.SHADOW):
        if mode not in making.modes:
            continue
        # What is only watched does not use up what may be done.
        room = settings.max_moves if mode is Mode.SHADOW else budget
        begun = len(making.moves)
        mend(making, mode, room)
        left = room - (len(making.moves) - begun)
        if making.level.balances and left > 0 and (sustained or even):
            _improve(making, mode, left, sustained, even)
        if mode is not Mode.SHADOW:
            budget -= len(making.moves) - begun
    if making.level.balances and (sustained or even) and not (making.moves or making.refused):
        names = ", ".join(sorted(making.frame.host_names[host] for host in sustained))
        text = f"{names} above {making.level.threshold:.0%} of its CPUs" if names else "uneven"
        making.refused.append(
            Refusal(
                "",
                (Code.NO_GAIN,),
                f"{text}, and no move that is allowed is worth its cost and risk",
            )
        )
    if making.level.balances and (making.hot or uneven) and not (sustained or even):
        longest = max([*making.hot.values(), imbalanced if making.level.even else 0])
        if longest:
            making.refused.append(
                Refusal(
                    "",
                    (Code.NOT_SUSTAINED,),
                    f"the imbalance has lasted {longest} of {settings.sustain_rounds} rounds",
                )
            )


def _improve(making: Making, mode: Mode, budget: int, sustained: set[int], even: bool) -> None:
    frame, state, level = making.frame, making.state, making.level
    horizon = frame.plant.settings.horizon_s
    candidates = _candidates(making, mode, sustained, even)
    if not candidates:
        return
    least = level.least * horizon / 60.0
    barred = returns(frame, making.before, candidates)
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
            hot = making.hot.get(source, 0)
            why = Why.CONTENTION if hot else Why.EVEN
            told = effect(state, unit, target, value)
            making.add(
                unit,
                target,
                why,
                _reason(frame, unit, source, target, told, hot, level),
                mode,
                told,
            )
            made.extend([(unit, source)] * len(frame.units[unit]))
            candidates.discard(unit)
        if not rejected:
            break
    if level.even > 0 and budget - len(made) >= 2:
        for one, other in exchanges(
            state, candidates, level, horizon, (budget - len(made)) // 2, least
        ):
            if (one, int(state.at[other])) in barred or (other, int(state.at[one])) in barred:
                continue
            _exchange(making, one, other, mode)
    _take_back(making, made)


def _candidates(making: Making, mode: Mode, sustained: set[int], even: bool) -> set[int]:
    frame, state = making.frame, making.state
    found, cooled = set(), []
    for unit, place in enumerate(state.at.tolist()):
        if place < 0 or making.modes[unit] is not mode or unit in making.touched:
            continue
        if not even and place not in sustained:
            continue
        if frame.hosts[place].state in (HostState.DOWN, HostState.SUSPECT):
            continue
        if frame.moves[unit] in (Movability.NEVER, Movability.WINDOW) and may_leave(frame, unit):
            continue
        if unit in frame.tied:
            continue
        if cooling(frame, unit, making.before):
            cooled.append(unit)
            continue
        found.add(unit)
    for unit in cooled:
        name = frame.name_of(unit)
        making.refused.append(
            Refusal(name, (Code.COOLDOWN,), f"{name} moved a short time ago and rests")
        )
    return found


def _exchange(making: Making, one: int, other: int, mode: Mode) -> None:
    state = making.state
    here, there = int(state.at[one]), int(state.at[other])
    names = making.frame.host_names
    for unit, source, target in ((one, here, there), (other, there, here)):
        value = effect(
            state,
            unit,
            target,
            worth(state, unit, making.level, making.frame.plant.settings.horizon_s),
        )
        partner = making.frame.name_of(other if unit == one else one)
        text = (
            f"changes places with {partner}: {names[source]} and {names[target]} both end more even"
        )
        making.add(unit, target, Why.EVEN, text, mode, value)


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
    frame: Frame, unit: int, source: int, target: int, told: Effect, hot: int, level: Level
) -> str:
    here, there = frame.host_names[source], frame.host_names[target]
    lead = (
        f"{here} has been above {level.threshold:.0%} of its CPUs for {hot} rounds"
        if hot
        else f"{here} carries more than its share"
    )
    return (
        f"{lead}; {frame.name_of(unit)} takes {frame.demand[unit]:.2f} cores to {there}: "
        f"{told.source_before:.0%} → {told.source_after:.0%} here, "
        f"{told.target_before:.0%} → {told.target_after:.0%} there"
    )


def _finish(
    making: Making,
    imbalanced: int,
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
    following = BalanceState(
        old.number,
        imbalanced,
        {frame.host_names[host]: rounds_ for host, rounds_ in making.hot.items()},
        moved,
        {
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
    )
