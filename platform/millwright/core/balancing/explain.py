"""Why a machine is where it is, and why not elsewhere."""

from __future__ import annotations

import numpy as np

from .admit import answers_for
from .answers import BalanceState, Code, Explanation, Refusal
from .frame import Frame
from .model import HostState, Mode, Plant
from .policy import cooling, may_leave, modes
from .score import LEVELS, worth
from .state import State
from .words import say


def explain(plant: Plant, vm: str, state: BalanceState | None = None) -> Explanation:
    """Every host's answer for a machine that is there already, and what holds it where it is.

    Raises KeyError for an unknown machine.
    """
    frame = Frame(plant)
    table = State(frame)
    unit = int(frame.unit_of[frame.vm_index[vm]])
    here = int(table.at[unit])
    holds: list[Refusal] = []
    refusal = may_leave(frame, unit)
    if refusal is not None:
        holds.append(refusal)
    if modes(frame)[unit] is Mode.OFF:
        holds.append(Refusal(vm, (Code.MODE_OFF,), say("mode_off", machine=vm)))
    if state is not None and cooling(frame, unit, state):
        holds.append(Refusal(vm, (Code.COOLDOWN,), say("cooldown", machine=vm)))
    if here < 0:
        answers = answers_for(table, unit)
        good = [answer.host for answer in answers if answer.accepted]
        text = (
            say("why.no_host", machine=vm, host=good[0]) if good else say("why.nowhere", machine=vm)
        )
        return Explanation(vm, None, text, answers, tuple(holds))
    if frame.hosts[here].state in (HostState.DOWN, HostState.SUSPECT):
        return _away(table, unit, here, vm, holds)
    level, horizon = LEVELS[plant.settings.level], plant.settings.horizon_s
    mask = table.fits(unit)
    mask[here] = False
    net = np.where(mask, worth(table, unit, level, horizon).net, -np.inf)
    best = int(np.argmax(net))
    table.drop(unit)
    answers = answers_for(table, unit)
    where = frame.host_names[here]
    least = level.least * horizon / 60
    if not mask.any():
        text = say("why.stays", machine=vm, host=where)
    elif net[best] <= least or not level.balances:
        text = say(
            "why.best",
            machine=vm,
            host=where,
            name=frame.host_names[best],
            n_s=float(net[best]),
            limit_s=float(least),
        )
    else:
        text = say(
            "why.better",
            machine=vm,
            host=frame.host_names[best],
            n_s=float(net[best]),
            minutes=round(horizon / 60),
        )
    return Explanation(vm, where, text, answers, tuple(holds))


def _away(table: State, unit: int, here: int, vm: str, holds: list[Refusal]) -> Explanation:
    """Of a machine whose host does not answer: no move can take it from there."""
    where = table.frame.host_names[here]
    if table.frame.hosts[here].state is HostState.DOWN:
        text = say("why.down", machine=vm, host=where)
    else:
        text = say("why.suspect", machine=vm, host=where)
    table.drop(unit)
    return Explanation(vm, where, text, answers_for(table, unit), tuple(holds))
