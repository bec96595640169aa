"""Machines that change places: for evenness, or since a move that is worth it finds no room otherwise.

In the second case one of them goes over a third host if need be. Either is a circle, decided as a whole
and approved as a whole, since half of it was nobody's wish: only where an order of its moves is known in which every hard rule
holds at every moment, and where it is worth the migration more that it may cost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .answers import Circle, Effect, Schedule, Why
from .model import Mode
from .order import Task, arrange
from .policy import limits_of, returns
from .propose import exchange_gains
from .score import Level, cost, effect, worth
from .state import State
from .words import say, together

if TYPE_CHECKING:
    from .rounds import Making

#: pairs of which an order is looked for, the most useful first
ORDER_TRIES = 24
#: migrations of a circle: two, and one more over the third host
LEGS = 3


def close_circle(
    making: Making,
    one_of: set[int],
    other_of: set[int],
    mode: Mode,
    least: float,
) -> bool:
    """The most useful exchange for a move that lacks nothing but room; whether there is one.

    It is worth more than `least` (core-seconds), and one of the two goes over a third host if need be.
    """
    state, level = making.state, making.level
    horizon = state.frame.plant.settings.horizon_s
    barred = returns(making.frame, making.before, one_of | other_of) | making.rejected
    gains = exchange_gains(state, one_of, other_of, level, horizon, least)
    tries = 0
    for gain, one, other in gains:
        here, there = int(state.at[one]), int(state.at[other])
        if (one, there) in barred or (other, here) in barred:
            continue
        # Machines that have to stay together could be parted by the one of their steps that fails.
        if any(len(state.frame.units[unit]) > 1 for unit in (one, other)):
            continue
        if state.fits(one)[there] or not _worth_it(state, one, there, level, horizon, least):
            continue
        if not _fit_crosswise(state, one, other):
            continue
        tries += 1
        if tries > ORDER_TRIES:
            return False
        tasks = [Task(one, there), Task(other, here)]
        schedule = arrange(state, tasks, limits_of(state.frame.plant), search=False, eager=False)
        if schedule.dropped:
            continue
        if gain - _more(state, schedule) * (1 + level.margin) > least:
            _note(making, {one: there, other: here}, mode, schedule)
            return True
    return False


def exchange(making: Making, one: int, other: int, mode: Mode) -> bool:
    """Have two machines change places that have room for it; whether it was decided.

    What it is worth was asked before (`propose.exchanges`).
    """
    state = making.state
    here, there = int(state.at[one]), int(state.at[other])
    # Machines that have to stay together could be parted by the one of their steps that fails.
    if any(len(state.frame.units[unit]) > 1 for unit in (one, other)):
        return False
    if not _fit_crosswise(state, one, other):
        return False
    tasks = [Task(one, there), Task(other, here)]
    schedule = arrange(state, tasks, limits_of(state.frame.plant), search=False, eager=False)
    if schedule.dropped:
        return False
    _note(making, {one: there, other: here}, mode, schedule)
    return True


def _worth_it(
    state: State, unit: int, target: int, level: Level, horizon_s: float, least: float
) -> bool:
    """Whether the unit's going there would be made by itself, were there room."""
    value = worth(state, unit, level, horizon_s)
    price = float(value.cost[target] + value.risk[target])
    return bool(value.net[target] > least and value.benefit[target] > price * (1 + level.margin))


def _fit_crosswise(state: State, one: int, other: int) -> bool:
    """Whether each host takes the other machine once its own has gone; the state is left as it was."""
    here, there = int(state.at[one]), int(state.at[other])
    trial = state.copy()
    trial.drop(one)
    trial.drop(other)
    if not trial.fits(one)[there]:
        return False
    trial.take(one, there)
    return bool(trial.fits(other)[here])


def _more(state: State, schedule: Schedule) -> float:
    """Core-seconds that the way over the third host costs beyond the direct one."""
    frame, more = state.frame, 0.0
    for leg in schedule.legs:
        unit = int(frame.unit_of[frame.vm_index[leg.vm]])
        if leg.detour and frame.units[unit][0] == frame.vm_index[leg.vm]:
            aim = next(each.target for each in schedule.legs if each.source == leg.target)
            source, third = frame.host_index[leg.source], frame.host_index[leg.target]
            way = frame.host_index[aim]
            direct = float(cost(frame, unit, source)[way])
            more += float(cost(frame, unit, source)[third] + cost(frame, unit, third)[way]) - direct
    return more


def _note(making: Making, targets: dict[int, int], mode: Mode, schedule: Schedule) -> None:
    frame, level = making.frame, making.level
    one, other = targets
    here, there = frame.host_names[targets[other]], frame.host_names[targets[one]]
    aside = together(
        say("move.by_way_of", machine=leg.vm, host=leg.target)
        for leg in schedule.legs
        if leg.detour
    )
    hot = making.hot.get(targets[other], 0)
    full = making.hot_memory.get(targets[other], 0)
    lead, why = say("move.even", host=here, other=there), Why.EVEN
    if hot:
        why = Why.CONTENTION
        lead = say("move.hot_cpus", host=here, threshold_ratio=level.threshold, count=hot)
    elif full:
        why = Why.MEMORY
        lead = say("move.hot_memory", host=here, threshold_ratio=level.memory_threshold, count=full)
    names = {"machine": frame.name_of(one), "host": there, "other": frame.name_of(other)}
    way = say("move.exchange_aside", why=aside, **names) if aside else say("move.exchange", **names)
    text = together((lead, way))
    number = len(making.circles) + 1
    making.circles.append(Circle(number, mode, schedule.legs, schedule.makespan_s, text))
    making.add_together(targets, why, text, mode, _effects(making, targets), number)


def _effects(making: Making, targets: dict[int, int]) -> dict[int, Effect]:
    """Each move's effect on top of the one before."""
    trial = making.state.copy()
    horizon = making.frame.plant.settings.horizon_s
    told = {}
    for unit, target in targets.items():
        told[unit] = effect(trial, unit, target, worth(trial, unit, making.level, horizon))
        trial.move(unit, target)
    return told
